//! What the black-box tests share.
#![allow(dead_code)] // each test file uses a part of it

pub mod schema;

use std::path::{Path, PathBuf};
use std::sync::Once;

use assert_cmd::Command;
use ndarray::{Array1, Array4};
use onnx_bnnprune::data::{Dataset, LoadOptions, Pixels, Preprocess, load};
use onnx_bnnprune::onnx::proto::tensor_shape_proto::dimension;
use onnx_bnnprune::onnx::proto::{AttributeProto, NodeProto, ValueInfoProto, type_proto};
use onnx_bnnprune::onnx::{Model, to_bytes};
use onnx_bnnprune::verify::{BatchedSession, OrtRuntime, Runtime as _, Samples, SessionOptions};

/// Every binary digits network.
pub const NETWORKS: [&str; 4] = ["vgg", "nin", "resnet", "folded"];

/// A file of `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A binary digits network.
pub fn network(name: &str) -> PathBuf {
    fixture(&format!("digits_{name}.onnx"))
}

/// The tool.
pub fn tool() -> Command {
    let mut c = Command::cargo_bin("onnx-bnnprune").unwrap();
    c.current_dir(env!("CARGO_MANIFEST_DIR"));
    c
}

/// The main job on a digits network, with a training short enough for a test: the fewer digits are learned from.
pub fn quick(model: &Path, out: &Path) -> Command {
    let mut c = quick_rule(model, out);
    c.args(["--mask-epochs", "2"]);
    c
}

/// The same for a rule, which trains no masks.
pub fn quick_rule(model: &Path, out: &Path) -> Command {
    let mut c = tool();
    c.arg(model)
        .arg(out)
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .arg("--val")
        .arg(few_digits())
        // So short a training may cost more than a budget allows.
        .args([
            "--main-epochs",
            "1",
            "--final-epochs",
            "1",
            "--max-drop",
            "none",
        ]);
    c
}

/// 400 of the digits that the fixtures were trained on: enough to judge short trainings by, and soon looked at.
pub fn few_digits() -> PathBuf {
    static WRITTEN: Once = Once::new();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("few_digits.npz");
    WRITTEN.call_once(|| {
        let set = digits("digits_train.npz");
        let (Pixels::U8(images), Some(labels)) = (set.images, set.labels) else {
            panic!("the digits are bytes with labels")
        };
        let images = images.slice_move(ndarray::s![..400, .., .., ..]);
        // Other tests' processes may write, or read, the same.
        let own = path.with_extension(std::process::id().to_string());
        write_npz(&own, &images, Some(&labels[..400]));
        std::fs::rename(&own, &path).unwrap();
    });
    path
}

/// Writes a network for the digits and trains it until it knows some: what guesses is refused by the main job.
pub fn write_trained(model: &onnx_bnnprune::onnx::proto::ModelProto, path: &Path) {
    onnx_bnnprune::onnx::save(model, path).unwrap();
    let mut c = tool();
    c.arg("train").arg(path).arg(path).arg("--in-place");
    c.arg("--data").arg(fixture("digits_train.npz"));
    c.arg("--val").arg(fixture("digits_test.npz"));
    c.args(["--epochs", "8", "--lr", "0.01"]).assert().success();
}

/// ONNX Runtime; a test without it fails.
pub fn runtime() -> OrtRuntime {
    OrtRuntime::new(None).expect("ONNX Runtime is needed: run scripts/test.sh, which installs it")
}

/// A model in ONNX Runtime.
pub fn session(path: &Path) -> BatchedSession {
    let model = Model::load(path).unwrap();
    let session = runtime().load(&to_bytes(&model.proto), &SessionOptions::default());
    BatchedSession::new(session.unwrap())
}

/// The digits that no fixture was trained on.
pub fn test_digits() -> Dataset {
    digits("digits_test.npz")
}

fn digits(name: &str) -> Dataset {
    let options = LoadOptions {
        preprocess: gray(),
        channels: Some(1),
        ..LoadOptions::default()
    };
    load(&fixture(name), &options, &|_, _| true).unwrap()
}

/// The test digits as bytes `[N, 1, 8, 8]`, and what class each is of.
pub fn digit_bytes() -> (Array4<u8>, Vec<usize>) {
    let set = test_digits();
    match set.images {
        Pixels::U8(images) => (images, set.labels.unwrap()),
        _ => panic!("the digits are bytes"),
    }
}

/// The digits' preprocessing: the tool's defaults.
pub fn gray() -> Preprocess {
    Preprocess {
        channels: onnx_bnnprune::data::Channels::Gray,
        ..Preprocess::default()
    }
}

/// Outputs of a model on the first `count` test digits, `[count, 10]`.
pub fn logits(path: &Path, count: usize) -> ndarray::ArrayD<f32> {
    let (data, preprocess) = (test_digits(), gray());
    let indices: Vec<usize> = (0..count).collect();
    let samples = Samples::Images {
        data: &data,
        indices: &indices,
        preprocess: &preprocess,
    };
    let mut session = session(path);
    let inputs = samples.batch(session.inputs(), 0..count).unwrap();
    session.run(&inputs).unwrap().remove(0).1
}

/// Largest difference of two arrays.
pub fn max_abs_diff(a: &ndarray::ArrayD<f32>, b: &ndarray::ArrayD<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

/// A JSON file; a report is held against the schema.
pub fn json(path: &Path) -> serde_json::Value {
    let json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    schema::check_file(&json);
    json
}

/// Writes a masks file.
pub fn write_masks(path: &Path, layers: &[(&str, usize, &[usize])]) {
    let layers: serde_json::Map<String, serde_json::Value> = layers
        .iter()
        .map(|&(name, filters, pruned)| {
            let mask = serde_json::json!({"filters": filters, "pruned": pruned});
            (name.to_owned(), mask)
        })
        .collect();
    let file = serde_json::json!({"format": "onnx-bnnprune-masks/1", "layers": layers});
    std::fs::write(path, file.to_string()).unwrap();
}

/// Writes the VGG with an attribute that no runtime knows: it can be read, but not loaded.
pub fn write_refused(path: &Path) {
    use onnx_bnnprune::onnx::proto::{AttributeProto, attribute_proto::AttributeType};
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let node = nodes.iter_mut().find(|n| n.op_type() == "MaxPool").unwrap();
    node.attribute.push(AttributeProto {
        name: Some("nonsense".to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..AttributeProto::default()
    });
    onnx_bnnprune::onnx::save(&model, path).unwrap();
}

/// Runs a command that must fail: checks its exit code and the words in its one-line error.
pub fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let done = command.output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("onnx-bnnprune: "))
        .collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    for w in words {
        assert!(errors[0].contains(w), "'{w}' is not in: {}", errors[0]);
    }
}

/// A node with integer attributes.
pub fn node(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[(&str, &[i64])],
) -> NodeProto {
    let attribute = |&(name, values): &(&str, &[i64])| match values {
        [value] => AttributeProto::int(name, *value),
        _ => AttributeProto::ints(name, values),
    };
    NodeProto {
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        attribute: attributes.iter().map(attribute).collect(),
        ..NodeProto::of(op, inputs.iter().copied(), "")
    }
}

/// Sets a dimension of a graph's input or output.
pub fn set_dim(value: &mut ValueInfoProto, axis: usize, size: usize) {
    let kind = value.r#type.as_mut().unwrap().value.as_mut();
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        panic!("not a tensor")
    };
    let dim = &mut tensor.shape.as_mut().unwrap().dim[axis];
    dim.value = Some(dimension::Value::DimValue(size as i64));
}

/// Writes an archive of images, labelled or not.
pub fn write_npz(path: &Path, images: &Array4<u8>, labels: Option<&[usize]>) {
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(path).unwrap());
    npz.add_array("x", images).unwrap();
    if let Some(labels) = labels {
        let labels: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
        npz.add_array("y", &Array1::from(labels)).unwrap();
    }
    npz.finish().unwrap();
}
