//! Runs a network in the form `ops` in ONNX Runtime, with the crate `ort`.
//!
//! ```text
//! ORT_DYLIB_PATH=libonnxruntime.so cargo run --release --example operators MODEL.ops.onnx libonnx_bnnprune_ops.so
//! ```

use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(library)) = (arguments.next(), arguments.next()) else {
        return Err("give MODEL and LIBRARY".into());
    };
    let runtime = std::env::var("ORT_DYLIB_PATH")?;
    let environment: Environment = ort::init_from(runtime)?.build()?;
    let mut session = Session::builder(&environment)?
        .with_operator_library(library)
        .map_err(|e| e.to_string())?
        .commit_from_file(model)?;
    let name = session.inputs()[0].name().to_owned();
    let shape = match session.inputs()[0].dtype() {
        ort::value::ValueType::Tensor { shape, .. } => shape.iter().map(|&d| d.max(1)).collect(),
        _ => vec![1],
    };
    let count = shape.iter().product::<i64>();
    let image = Tensor::from_array((shape, vec![0.0f32; usize::try_from(count)?]))?;
    let outputs = session.run(ort::inputs![name.as_str() => image])?;
    println!("{:?}", outputs[0].try_extract_array::<f32>()?);
    Ok(())
}
