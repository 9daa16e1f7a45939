//! Whatever can be known before learning is said before learning; what fails behind it loses nothing.

use std::path::Path;
use std::time::Duration;

use crate::common::{digit_bytes, fixture, network, quick, refused, set_dim, tool};
use assert_cmd::Command;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, ModelProto, NodeProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataType, type_proto,
};

/// The default training takes minutes; a refusal has to come long before.
const SOON: Duration = Duration::from_secs(60);

fn vgg() -> ModelProto {
    Model::load(&network("vgg")).unwrap().proto
}

fn save(model: &ModelProto, path: &Path) {
    onnx_bnnprune::onnx::save(model, path).unwrap();
}

/// The main job with the default training, which nobody would wait for.
fn long(model: &Path, out: &Path) -> Command {
    let mut c = tool();
    c.arg(model)
        .arg(out)
        .arg("--data")
        .arg(fixture("digits_train.npz"))
        .timeout(SOON);
    c
}

/// The VGG with pixels of another type, which it turns into floats and divides by 255.
fn with_input(kind: DataType) -> ModelProto {
    let mut model = vgg();
    let graph = model.graph.as_mut().unwrap();
    let old = graph.input[0].name().to_owned();
    graph.input[0].name = Some("pixels".to_owned());
    let shape = graph.input[0].r#type.as_mut().unwrap().value.as_mut();
    if let Some(type_proto::Value::TensorType(tensor)) = shape {
        tensor.elem_type = Some(kind as i32);
    }
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("front_{op}")),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let mut cast = node("Cast", &["pixels"], "floats");
    cast.attribute.push(AttributeProto {
        name: Some("to".to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(DataType::Float as i64),
        ..AttributeProto::default()
    });
    graph.node.insert(0, cast);
    let div = node("Div", &["floats", "c255"], &old);
    graph.node.insert(1, div);
    graph.initializer.push(TensorProto {
        name: Some("c255".to_owned()),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(255f32.to_le_bytes().to_vec().into()),
        ..TensorProto::default()
    });
    model
}

#[test]
fn a_model_newer_than_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let (new, out) = (dir.path().join("new.onnx"), dir.path().join("o.onnx"));
    let mut model = vgg();
    model.ir_version = Some(99);
    save(&model, &new);
    let words = ["new.onnx", "IR version", "newer runtime"];
    refused(&mut long(&new, &out), 2, &words);
    let mut c = tool();
    c.arg("train").arg(&new).arg(&out).arg("--data");
    c.arg(fixture("digits_train.npz")).timeout(SOON);
    refused(&mut c, 2, &words);
    assert!(!out.exists());
}

#[test]
fn pixels_are_fed_as_they_are_to_a_model_that_takes_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, out) = (dir.path().join("bytes.onnx"), dir.path().join("o.onnx"));
    save(&with_input(DataType::Uint8), &bytes);
    let accuracy = |model: &Path, args: &[&str]| {
        let mut c = tool();
        c.arg("eval").arg(model).arg("--data");
        c.arg(fixture("digits_test.npz"))
            .args(["--runs", "1", "--json"])
            .args(args);
        let done = c.output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{text}");
        let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        found["accuracy"].as_f64().unwrap()
    };
    let right = accuracy(&network("vgg"), &[]);
    assert!(right > 0.9);
    assert_eq!(accuracy(&bytes, &[]), right);
    assert_eq!(accuracy(&bytes, &["--scale", "1"]), right);
    let mut c = tool();
    c.args(["eval", "--mean", "0.5", "--data"]);
    c.arg(fixture("digits_test.npz")).arg(&bytes);
    refused(&mut c, 2, &["--mean", "'pixels'", "uint8"]);
    tool()
        .arg("verify")
        .args([&bytes, &bytes])
        .assert()
        .success();
    let masks = dir.path().join("m.json");
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[0, 1, 2])]);
    let mut c = tool();
    c.arg(&bytes)
        .arg(&out)
        .arg("--masks")
        .arg(&masks)
        .assert()
        .success();
    std::fs::remove_file(&out).unwrap();
    quick(&bytes, &out)
        .args(["--ratio", "0.2", "-q"])
        .assert()
        .success();
    assert!(accuracy(&out, &[]) > right - 0.1);
}

#[test]
fn an_input_type_that_images_cannot_feed() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("in.onnx"), dir.path().join("o.onnx"));
    save(&with_input(DataType::Int64), &model);
    refused(&mut long(&model, &out), 2, &["'pixels'", "int64", "Cast"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    // Nobody, not even root, makes files there.
    let mut c = long(&network("vgg"), Path::new("/proc/o.onnx"));
    refused(&mut c, 2, &["/proc/o.onnx", "cannot be written"]);
    for option in ["--report", "--save-masks", "--save-masked"] {
        let mut c = long(&network("vgg"), &out);
        refused(
            c.args([option, "/proc/file"]),
            2,
            &["/proc/file", "cannot be written"],
        );
    }
    let mut c = tool();
    c.args(["train", "--report", "/proc/file", "--data"]);
    c.arg(fixture("digits_train.npz"))
        .arg(network("vgg"))
        .arg(&out);
    refused(c.timeout(SOON), 2, &["/proc/file", "cannot be written"]);
}

/// Files may not grow beyond some KiB, as on a disk that is all but full.
#[cfg(unix)]
#[test]
fn too_little_disk() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec '{}' '{}' o.onnx --data '{}' -q",
        env!("CARGO_BIN_EXE_onnx-bnnprune"),
        network("vgg").display(),
        fixture("digits_train.npz").display(),
    );
    let mut c = Command::new("sh");
    c.current_dir(dir.path())
        .args(["-c", &script])
        .timeout(SOON);
    refused(&mut c, 2, &["o.onnx", "cannot be written"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Standard output that takes nothing.
#[cfg(target_os = "linux")]
fn into_nothing(command: &mut std::process::Command) -> (Option<i32>, String) {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let child = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(full.unwrap())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let done = child.unwrap().wait_with_output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[cfg(target_os = "linux")]
fn quick_command(args: &[&str]) -> std::process::Command {
    let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
    c.args(["--data", fixture("digits_train.npz").to_str().unwrap()])
        .args(["--ratio", "0.2", "--mask-epochs", "2", "--main-epochs", "1"])
        .args([
            "--max-drop",
            "none",
            "--final-epochs",
            "1",
            "-q",
            network("vgg").to_str().unwrap(),
        ])
        .args(args);
    c
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_loses_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut c = quick_command(&[out.to_str().unwrap(), "--report", "-"]);
    let (code, text) = into_nothing(&mut c);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("/conv1/Conv") && text.contains("written"),
        "{text}"
    );
    assert!(text.contains("-: cannot be written"), "{text}");
    assert!(out.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_learned_is_kept_if_the_output_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (code, text) = into_nothing(quick_command(&["-"]).env("TMPDIR", dir.path()));
    assert_eq!(code, Some(2), "{text}");
    let (model, masks) = (at("-.unfinished.onnx"), at("-.unfinished.masks.json"));
    assert!(text.contains(model.to_str().unwrap()), "{text}");
    let mut c = tool();
    c.arg(&model).arg(at("o.onnx")).arg("--masks").arg(&masks);
    c.arg("--data").arg(fixture("digits_test.npz"));
    c.assert().success();
    // With a checkpoint, the repaired command goes on from there.
    let saved = at("saved");
    let (code, text) = into_nothing(&mut quick_command(&[
        "-",
        "--checkpoint",
        saved.to_str().unwrap(),
    ]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("checkpoint in"), "{text}");
    let other = at("p.onnx");
    let args = [
        other.to_str().unwrap(),
        "--checkpoint",
        saved.to_str().unwrap(),
    ];
    let done = quick_command(&args).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("continued from a checkpoint"), "{text}");
    assert!(std::fs::read(at("o.onnx")).unwrap().len() > 1000 && other.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_trained_network_is_kept_if_the_output_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_onnx-bnnprune"));
    c.arg("train")
        .arg(network("vgg"))
        .args(["-", "--epochs", "1", "-q", "--data"]);
    c.arg(fixture("digits_train.npz")).env("TMPDIR", dir.path());
    let (code, text) = into_nothing(&mut c);
    assert_eq!(code, Some(2), "{text}");
    let kept = dir.path().join("-.unfinished.onnx");
    assert!(text.contains(kept.to_str().unwrap()), "{text}");
    assert!(Model::load(&kept).is_ok());
}

#[test]
fn options_without_effect_on_such_a_model_or_such_data() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let out = at("o.onnx");
    refused(
        long(&network("folded"), &out).args(["--to", "onnx"]),
        2,
        &["--to onnx"],
    );
    let mut c = long(&network("vgg"), &out);
    refused(
        c.arg("--inference-mode"),
        2,
        &["--inference-mode", "training mode"],
    );
    let mut c = long(&network("vgg"), &out);
    refused(
        c.args(["--crop-padding", "100"]),
        2,
        &["--crop-padding 100", "8x8"],
    );
    for option in [["--crop", "4"], ["--resize", "8"]] {
        let mut c = long(&network("vgg"), &out);
        refused(c.args(option), 2, &[option[0], "digits_train.npz"]);
    }
    // Floats are the input as they are.
    let floats = at("f.npz");
    write_floats(&floats);
    for option in [["--mean", "0.5"], ["--std", "0.25"], ["--scale", "3"]] {
        let mut c = tool();
        c.arg("eval").arg(network("vgg")).arg("--data").arg(&floats);
        refused(c.args(option), 2, &[option[0], "f.npz", "floats"]);
    }
    let one = at("one.onnx");
    let mut model = vgg();
    let graph = model.graph.as_mut().unwrap();
    set_dim(&mut graph.input[0], 0, 1);
    set_dim(&mut graph.output[0], 0, 1);
    save(&model, &one);
    let mut c = tool();
    c.arg("eval")
        .arg(&one)
        .arg("--data")
        .arg(fixture("digits_test.npz"));
    refused(c.args(["--batch", "8"]), 2, &["--batch 8", "one.onnx"]);
}

/// The test digits as floats from 0 to 1.
fn write_floats(path: &Path) {
    let (images, labels) = digit_bytes();
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(path).unwrap());
    npz.add_array("x", &images.mapv(|v| f32::from(v) / 255.0))
        .unwrap();
    let labels: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
    npz.add_array("y", &ndarray::Array1::from(labels)).unwrap();
    npz.finish().unwrap();
}
