//! `check`: good files pass, each kind of bad one is named.

use std::path::Path;

use crate::common::{fixture, json, network, tool};
use crate::graphs::{Attr, Builder};
use onnx_bnnprune::onnx::proto::{ModelProto, NodeProto, OperatorSetIdProto};
use onnx_bnnprune::onnx::to_bytes;
use predicates::prelude::*;

/// A convolution and a Relu.
fn model() -> ModelProto {
    let mut b = Builder::new(&[2, 4, 4]);
    let w = b.weight(&[3, 2, 1, 1], vec![1.0, -1.0, 1.0, 1.0, -1.0, -1.0]);
    let conv = b.node("Conv", &["x", &w], vec![]);
    let relu = b.node("Relu", &[&conv], vec![]);
    let mut model = b.model(&[]);
    let output = crate::graphs::declare(&relu, &[3, 4, 4]);
    model.graph.as_mut().unwrap().output.push(output);
    model
}

fn write(model: &ModelProto, dir: &Path, name: &str) {
    std::fs::write(dir.join(name), to_bytes(model)).unwrap();
}

#[test]
fn fixtures_pass_and_are_summed_up() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let out = tool()
        .args(["check", "--json", "--junit"])
        .arg(&junit)
        .args(crate::common::NETWORKS.map(network))
        .assert()
        .success();
    let found: serde_json::Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    assert_eq!(
        (&found["checked"], &found["passed"]),
        (&4.into(), &4.into())
    );
    let vgg = found["models"].as_array().unwrap().iter();
    let vgg = vgg
        .map(|m| &m["summary"])
        .find(|s| s["binary_filters"] == 40 + 48 + 64);
    assert_eq!(vgg.unwrap()["binary_layers"], 3);
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(
        xml.contains("tests=\"4\"") && xml.contains("failures=\"0\""),
        "{xml}"
    );
}

#[test]
fn folders_are_walked_and_hold_dialects() {
    tool()
        .arg("check")
        .arg(fixture("dialects"))
        .assert()
        .stdout(predicate::str::contains("models checked"))
        .stdout(predicate::str::contains("brevitas").or(predicate::str::contains("larq")));
}

/// What breaks a model, and a word of what is said.
type Fault = (&'static str, fn(&mut ModelProto), &'static str);

const FAULTS: [Fault; 12] = [
    ("no-ir", |m| m.ir_version = None, "ir_version"),
    ("future-ir", |m| m.ir_version = Some(99), "ir_version 99"),
    (
        "domain",
        |m| nodes(m)[0].domain = Some("my.domain".into()),
        "my.domain",
    ),
    (
        "twice",
        |m| {
            let opset = OperatorSetIdProto {
                version: Some(17),
                ..OperatorSetIdProto::default()
            };
            m.opset_import.push(opset);
        },
        "twice",
    ),
    (
        "order",
        |m| nodes(m).reverse(),
        "which nothing before it produces",
    ),
    (
        "dangling",
        |m| nodes(m)[1].input[0] = "gone".into(),
        "'gone'",
    ),
    (
        "ssa",
        |m| {
            let copy = nodes(m)[0].clone();
            nodes(m).push(copy);
        },
        "exists already",
    ),
    (
        "output",
        |m| m.graph.as_mut().unwrap().output[0].name = Some("nowhere".into()),
        "'nowhere'",
    ),
    (
        "attribute",
        |m| nodes(m)[1].op_type = Some("MaxPool".into()),
        "lacks the attribute 'kernel_shape'",
    ),
    (
        "operator",
        |m| nodes(m)[1].op_type = Some("Relux".into()),
        "Relux",
    ),
    (
        "initializer",
        |m| {
            let g = m.graph.as_mut().unwrap();
            let copy = g.initializer[0].clone();
            g.initializer.push(copy);
        },
        "exists twice",
    ),
    (
        "infinite",
        |m| nodes(m)[1].op_type = Some("Log".into()),
        "not finite",
    ),
];

fn nodes(m: &mut ModelProto) -> &mut Vec<NodeProto> {
    &mut m.graph.as_mut().unwrap().node
}

#[test]
fn every_kind_of_fault_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    write(&model(), dir.path(), "good.onnx");
    tool().arg("check").arg(dir.path()).assert().success();
    for (name, fault, word) in FAULTS {
        let mut broken = model();
        fault(&mut broken);
        let file = format!("{name}.onnx");
        write(&broken, dir.path(), &file);
        tool()
            .arg("check")
            .arg(dir.path().join(&file))
            .assert()
            .code(1)
            .stdout(predicate::str::contains(file.as_str()))
            .stdout(predicate::str::contains(word));
    }
    std::fs::write(dir.path().join("cut.onnx"), &to_bytes(&model())[..50]).unwrap();
    let junit = dir.path().join("junit.xml");
    tool()
        .env("GITHUB_ACTIONS", "true")
        .args(["check", "--junit"])
        .arg(&junit)
        .arg(dir.path())
        .assert()
        .code(1)
        .stdout(predicate::str::contains("14 models checked, 13 bad"))
        .stdout(predicate::str::contains("::error file="));
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(
        xml.contains("tests=\"14\"") && xml.contains("failures=\"13\""),
        "{xml}"
    );
}

#[test]
fn a_declared_shape_that_cannot_be_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut b = Builder::new(&[2, 4, 4]);
    let w = b.weight(&[3, 2, 1, 1], vec![1.0; 6]);
    let conv = b.node(
        "Conv",
        &["x", &w],
        vec![("strides", Attr::Ints(vec![1, 1]))],
    );
    let mut wrong = b.model(&[&conv]);
    let graph = wrong.graph.as_mut().unwrap();
    let mut info = crate::graphs::declare(&conv, &[5, 4, 4]);
    std::mem::swap(&mut graph.output[0], &mut info);
    write(&wrong, dir.path(), "shape.onnx");
    tool()
        .arg("check")
        .arg(dir.path())
        .assert()
        .code(1)
        .stdout(predicate::str::contains("declared as"));
}

#[test]
fn a_baseline_holds_models_to_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    std::fs::copy(network("vgg"), at("m.onnx")).unwrap();
    let check = || {
        let mut c = tool();
        c.arg("check").arg(at("m.onnx"));
        c
    };
    check()
        .arg("--write-baseline")
        .arg(at("b.json"))
        .assert()
        .success();
    assert_eq!(json(&at("b.json"))["format"], "onnx-bnnprune-baseline/1");
    check()
        .arg("--baseline")
        .arg(at("b.json"))
        .assert()
        .success();
    std::fs::copy(network("resnet"), at("m.onnx")).unwrap();
    check()
        .arg("--baseline")
        .arg(at("b.json"))
        .assert()
        .code(1)
        .stdout(predicate::str::contains("baseline"));
    std::fs::write(at("b.json"), "{}").unwrap();
    check()
        .arg("--baseline")
        .arg(at("b.json"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("b.json"));
}

#[test]
fn nothing_to_check_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        tool()
            .arg("check")
            .arg(&path)
            .assert()
            .code(2)
            .stderr(predicate::str::contains(path.display().to_string()));
    }
}
