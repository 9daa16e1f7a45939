//! Models that give the class itself, by `ArgMax` or `TopK`, as they are deployed on devices.

use std::path::Path;

use ndarray::{ArrayD, arr1};
use onnx_bnnprune::onnx::proto::{ModelProto, NodeProto};
use onnx_bnnprune::onnx::{Model, Tensor, save};
use onnx_bnnprune::verify::Optimization;

use crate::common::{digit_bytes, few_digits, fixture, json, network, node, quick, refused, tool};
use crate::graphs::{run, undeclared_any};

/// The ways of it: the nodes that `logits` go through, and what the graph gives then.
fn ways() -> Vec<(Vec<NodeProto>, Vec<&'static str>)> {
    let arg_max = |keep: i64| {
        node(
            "ArgMax",
            &["digits"],
            &["class"],
            &[("axis", &[1]), ("keepdims", &[keep])],
        )
    };
    let top = || node("TopK", &["digits", "one"], &["value", "class"], &[]);
    let to_float = node("Cast", &["class"], &["number"], &[("to", &[1])]);
    let shares = node("Softmax", &["before"], &["digits"], &[]);
    vec![
        (vec![arg_max(0)], vec!["class"]),
        (vec![arg_max(1), to_float], vec!["number"]),
        (vec![top()], vec!["class"]),
        (vec![shares, top()], vec!["value", "class"]),
        (vec![arg_max(0)], vec!["class", "digits"]),
    ]
}

/// The digits network that gives classes so.
fn of_classes(path: &Path, nodes: &[NodeProto], outputs: &[&str]) -> ModelProto {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let old = graph.output.remove(0).name().to_owned();
    let name = if nodes[0].op_type() == "Softmax" {
        "before"
    } else {
        "digits"
    };
    graph.node.push(node("Identity", &[&old], &[name], &[]));
    graph
        .initializer
        .push(Tensor::I64(arr1(&[1i64]).into_dyn()).to_proto("one"));
    let ones = Tensor::F32(ArrayD::ones(vec![10]));
    graph.initializer.push(ones.to_proto("ones"));
    graph.node.extend(nodes.iter().cloned());
    graph
        .output
        .extend(outputs.iter().map(|name| undeclared_any(name)));
    save(&model, path).unwrap();
    model
}

/// The share of test digits whose class the model's output `class` (or `number`) says.
fn accuracy(model: &ModelProto) -> f64 {
    let (images, labels) = digit_bytes();
    let x: ArrayD<f32> = images.mapv(|v| f32::from(v) / 255.0).into_dyn();
    let names = model.graph.as_ref().unwrap().output.iter();
    let place = names
        .map(|o| o.name())
        .position(|n| n == "class" || n == "number");
    let said = run(model, &x, Optimization::Off).remove(place.unwrap());
    let right = said
        .iter()
        .zip(&labels)
        .filter(|(a, b)| **a as usize == **b)
        .count();
    right as f64 / labels.len() as f64
}

#[test]
fn classes_are_measured_learned_from_and_written_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    for (nodes, outputs) in ways() {
        let (path, out) = (dir.path().join("c.onnx"), dir.path().join("o.onnx"));
        let model = of_classes(&path, &nodes, &outputs);
        let mut c = tool();
        c.arg("eval")
            .arg(&path)
            .arg("--data")
            .arg(fixture("digits_test.npz"))
            .arg("--json");
        let found = c.assert().success();
        let found: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
        let expected = accuracy(&model);
        assert!(expected > 0.9, "{expected}");
        assert_eq!(found["accuracy"].as_f64(), Some(expected), "{outputs:?}");
        let report = dir.path().join("r.json");
        let mut c = tool();
        c.arg(&path).arg(&out).arg("--data").arg(few_digits());
        c.arg("--val").arg(fixture("digits_test.npz"));
        c.args([
            "--ratio=0.3",
            "--max-drop=none",
            "--mask-epochs=1",
            "--main-epochs=1",
        ]);
        c.args(["--final-epochs=1", "--report"]).arg(&report);
        c.assert().success();
        let found = json(&report);
        let written = Model::load(&out).unwrap().proto;
        let names = written
            .graph
            .as_ref()
            .unwrap()
            .output
            .iter()
            .map(|o| o.name());
        assert_eq!(names.collect::<Vec<_>>(), outputs);
        assert_eq!(
            found["accuracy"]["after"].as_f64(),
            Some(accuracy(&written)),
            "{outputs:?}"
        );
        assert!(found["totals"]["pruned_ratio"].as_f64().unwrap() > 0.15);
    }
}

/// Other commands take them, too.
#[test]
fn classes_are_compared_and_converted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (nodes, outputs) = ways().remove(0);
    of_classes(&at("c.onnx"), &nodes, &outputs);
    let data = fixture("digits_test.npz");
    let mut c = tool();
    c.arg("convert")
        .arg(at("c.onnx"))
        .arg(at("p.onnx"))
        .args(["--to", "packed"]);
    c.assert().success();
    let mut c = tool();
    c.arg("verify")
        .arg(at("c.onnx"))
        .arg(at("p.onnx"))
        .arg("--data")
        .arg(&data);
    c.assert().success();
    let mut c = quick(&at("c.onnx"), &at("o.onnx"));
    c.arg("--save-masked").arg(at("m.onnx"));
    c.assert().success();
    let mut c = tool();
    c.arg("verify")
        .arg(at("m.onnx"))
        .arg(at("o.onnx"))
        .arg("--data")
        .arg(&data);
    c.assert().success();
    for name in ["p.onnx", "m.onnx", "o.onnx"] {
        let graph = Model::load(&at(name)).unwrap().proto.graph.unwrap();
        let names: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
        assert_eq!(names, outputs, "{name}");
    }
    let mut c = quick(&at("c.onnx"), &at("none.onnx"));
    c.arg("--dry-run").assert().success();
}

/// Nothing goes: the file is copied, whatever was put in front of its outputs meanwhile.
#[test]
fn what_stays_whole_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("c.onnx"), dir.path().join("o.onnx"));
    let (nodes, outputs) = ways().remove(0);
    of_classes(&path, &nodes, &outputs);
    let mut c = tool();
    c.arg(&path).arg(&out).args(["--method", "none"]);
    c.assert().success();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&out).unwrap());
}

/// An integer that no scores lie in front of is none of two classes.
#[test]
fn an_integer_is_not_taken_for_a_logit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.onnx");
    let sum = node("MatMul", &["digits", "ones"], &["sum"], &[]);
    let whole = node("Cast", &["sum"], &["class"], &[("to", &[7])]);
    of_classes(&path, &[sum, whole], &["class"]);
    let mut c = quick(&path, &dir.path().join("o.onnx"));
    refused(&mut c, 2, &["c.onnx", "[N, classes]"]);
}
