//! Tensors of a model as native inference and tract compute them, for `scripts/ties.py`.
//!
//! ```text
//! cargo run --release --example tensors -- MODEL.onnx IMAGES.npy FOLDER NAME...
//! ```
//!
//! Writes `FOLDER/native/NAME.npy` and `FOLDER/tract/NAME.npy`, f32. tract is a feature, on by
//! default.

use std::path::{Path, PathBuf};

use clap::Parser;
use ndarray::ArrayD;
use onnx_bnnprune::engine::Inference;
use onnx_bnnprune::network::Network;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::{ModelProto, ValueInfoProto};
use onnx_bnnprune::pipeline::View;

#[derive(Parser)]
struct Args {
    model: PathBuf,
    images: PathBuf,
    folder: PathBuf,
    names: Vec<String>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let model = Model::load(&args.model)?.proto;
    let x: ArrayD<f32> = ndarray_npy::read_npy(&args.images)?;
    for name in &args.names {
        let model = with_output(&model, name)?;
        let native = native(&args.model, &model, x.clone());
        save(&args.folder.join("native"), name, &native?)?;
        #[cfg(feature = "tract")]
        save(&args.folder.join("tract"), name, &tract(&model, x.clone())?)?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, y: &ArrayD<f32>) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    Ok(ndarray_npy::write_npy(
        folder.join(format!("{name}.npy")),
        y,
    )?)
}

/// The model with one tensor as its only output.
fn with_output(model: &ModelProto, name: &str) -> Result<ModelProto, Failure> {
    let mut model = model.clone();
    let graph = model.graph.as_mut().ok_or("no graph")?;
    let known = graph.value_info.iter().chain(&graph.output);
    let known = known.into_iter().find(|v| v.name() == name);
    graph.output = vec![known.cloned().unwrap_or_else(|| ValueInfoProto {
        name: Some(name.to_owned()),
        ..ValueInfoProto::default()
    })];
    Ok(model)
}

fn native(path: &Path, model: &ModelProto, x: ArrayD<f32>) -> Result<ArrayD<f32>, Failure> {
    let view = View::new(path, model)?;
    let network = Network::import(&view.graph, &view.facts, &view.layers)?;
    Ok(Inference::of(&network).infer_output(x)?)
}

#[cfg(feature = "tract")]
fn tract(model: &ModelProto, x: ArrayD<f32>) -> Result<ArrayD<f32>, Failure> {
    use onnx_bnnprune::verify::{Runtime, SessionOptions, TractRuntime};
    use prost::Message;

    let options = SessionOptions::default();
    let mut session = TractRuntime.load(&model.encode_to_vec(), &options)?;
    let input = session.inputs().first().ok_or("no input")?.name.clone();
    let outputs = session.run(&[(input, x)])?;
    Ok(outputs.into_iter().next().ok_or("no output")?.1)
}
