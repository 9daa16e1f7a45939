//! `train`: a network trained as it is, interrupted and continued.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use assert_cmd::cargo::CommandCargoExt as _;

use crate::common::{fixture, json, network, refused, tool};
use onnx_bnnprune::onnx::Model;

fn train(model: &Path, out: &Path, epochs: &str) -> assert_cmd::Command {
    let mut c = tool();
    c.arg("train")
        .arg(model)
        .arg(out)
        .arg("--data")
        .arg(fixture("digits_train.npz"))
        .arg("--val")
        .arg(fixture("digits_test.npz"))
        .args(["--epochs", epochs, "--batch-size", "64"]);
    c
}

/// A digits network whose binary weights of one layer are negated: it has to be trained again.
fn spoilt(dir: &Path) -> PathBuf {
    use onnx_bnnprune::onnx::{Model, Tensor};
    let path = dir.join("spoilt.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let weight = tensors.iter_mut().filter(|t| t.dims.len() == 4).nth(2);
    let weight = weight.unwrap();
    let name = weight.name.clone();
    let negated = match Tensor::from_proto(weight).unwrap() {
        Tensor::F32(x) => Tensor::F32(-x),
        other => panic!("{other:?}"),
    };
    *weight = negated.to_proto(name.as_deref().unwrap_or_default());
    onnx_bnnprune::onnx::save(&model, &path).unwrap();
    path
}

#[test]
fn a_spoilt_network_learns_again_and_the_report_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("out.onnx"), dir.path().join("r.json"));
    let model = spoilt(dir.path());
    let mut c = train(&model, &out, "6");
    c.args(["--lr", "3e-3", "--warm-up", "1", "--report"])
        .arg(&report);
    let text = c.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("accuracy") && text.contains("written"),
        "{text}"
    );
    let report = json(&report);
    let accuracy = |key: &str| report["accuracy"][key].as_f64().unwrap();
    assert!(accuracy("before") < 0.8, "{}", accuracy("before"));
    assert!(accuracy("after") > 0.9, "{}", accuracy("after"));
    assert_eq!(report["accuracy"]["samples"], 450);
    let epochs = report["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 6);
    assert!(epochs[5]["loss"].as_f64() < epochs[0]["loss"].as_f64());
    assert!(epochs[5]["accuracy"].as_f64().unwrap() > 0.9);
    assert!(report["agreement_with_native"].as_f64().unwrap() > 0.99);
    // What eval measures of the file is what the report says.
    let eval = tool()
        .arg("eval")
        .arg(&out)
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .args(["--runs", "1", "--json"])
        .output()
        .unwrap();
    let eval: serde_json::Value = serde_json::from_slice(&eval.stdout).unwrap();
    assert_eq!(eval["accuracy"].as_f64().unwrap(), accuracy("after"));
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes_at_another_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    train(&network("vgg"), &at("whole.onnx"), "12")
        .args(["--flip", "--threads", "2"])
        .assert()
        .success();
    let saved = at("saved");
    let command = |threads: &str| {
        let mut c = train(&network("vgg"), &at("parts.onnx"), "12");
        c.args(["--flip", "--threads", threads, "--checkpoint-every", "0"])
            .arg("--checkpoint")
            .arg(&saved);
        c
    };
    // Started by hand, so that it can be stopped on the way.
    let mut first = Command::cargo_bin("onnx-bnnprune").unwrap();
    first.args(command("1").get_args());
    first.current_dir(env!("CARGO_MANIFEST_DIR"));
    first.stderr(std::process::Stdio::null());
    let mut child = first.spawn().unwrap();
    let begun = Instant::now();
    while !saved.join("checkpoint.bin").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !at("parts.onnx").exists(),
        "it was done before it was stopped"
    );
    let done = command("2").output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{stderr}");
    assert!(stderr.contains("continuing from"), "{stderr}");
    let bytes = |name: &str| std::fs::read(at(name)).unwrap();
    assert_eq!(bytes("whole.onnx"), bytes("parts.onnx"));
    assert!(!saved.join("checkpoint.bin").exists());
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let mut no_data = tool();
    no_data.arg("train").arg(network("vgg")).arg(&out);
    refused(&mut no_data, 2, &["train needs --data"]);
    let float = fixture("digits_float.onnx");
    refused(
        &mut train(&float, &out, "1"),
        2,
        &["digits_float.onnx", "has no binary layer"],
    );
    let same = network("vgg");
    refused(&mut train(&same, &same, "1"), 2, &["both input and output"]);
    let mut report = train(&same, &out, "1");
    report.arg("--report").arg(fixture("digits_train.npz"));
    refused(&mut report, 2, &["--report would overwrite --data"]);
    let mut config = train(&same, &out, "1");
    config.arg("--save-config").arg(&same);
    refused(&mut config, 2, &["--save-config would overwrite IN"]);
    let mut config = train(&same, &out, "1");
    config.arg("--save-config").arg(&out);
    refused(&mut config, 2, &["--save-config", "OUT"]);
    let mut single = tool();
    single
        .arg("train")
        .arg(&same)
        .arg(&out)
        .args(["--data", "d.npz", "--batch-size=1"]);
    let done = single.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--batch-size") && said.contains("from 2"),
        "{said}"
    );
    assert!(!out.exists());
}

#[test]
fn a_network_that_training_ruins_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("in.onnx");
    std::fs::copy(network("vgg"), &model).unwrap();
    let before = std::fs::read(&model).unwrap();
    let mut c = train(&model, &model, "1");
    c.args(["--in-place", "--lr", "10"]);
    refused(&mut c, 1, &["training ruined the network", "--lr"]);
    assert_eq!(std::fs::read(&model).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn in_place_is_of_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let mut c = train(&network("vgg"), &out, "1");
    c.arg("--in-place");
    refused(&mut c, 2, &["--in-place", "another file than the input"]);
    assert!(!out.exists());
}

#[test]
fn a_qonnx_file_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let input = fixture("dialects/brevitas_conv.qonnx.onnx");
    let mut c = tool();
    c.arg("train").arg(&input).arg(&out);
    c.arg("--data").arg(fixture("digits_png"));
    let text = c.args(["--val-split", "0.3", "--epochs", "1", "-q"]);
    let text = text.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("BipolarQuant of ±1"), "{text}");
    let count = |path: &Path| {
        let model = Model::load(path).unwrap().proto;
        let graph = model.graph.as_ref().unwrap();
        let quantisers = graph.node.iter();
        let quantisers = quantisers.filter(|n| n.op_type() == "BipolarQuant");
        quantisers.count()
    };
    // Of two layers' activations and weights.
    assert_eq!((count(&input), count(&out)), (4, 4));
    let mut inspect = tool();
    inspect.args(["inspect", "--json"]).arg(&out);
    let found = inspect.assert().success().get_output().stdout.clone();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let layers = found["layers"].as_array().unwrap();
    let binary = layers.iter().filter(|l| l["binary"] == true);
    assert_eq!(binary.count(), 2, "{found}");
}
