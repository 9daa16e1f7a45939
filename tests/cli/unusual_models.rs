//! Models that are no usual classifiers of pictures: one output, other channels than those of colours.

use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis, concatenate};
use onnx_bnnprune::onnx::proto::NodeProto;
use onnx_bnnprune::onnx::{Model, Tensor, save};

use crate::common::{
    digit_bytes, json, network, node, quick, quick_rule, refused, set_dim, tool, write_npz,
};

/// The digits network with a `Slice` in front or at the end, from and to these positions of an axis; it then has so
/// many channels there.
fn with_slice(
    path: &Path,
    ends: [i64; 2],
    (axis, channels): (i64, usize),
    at_the_end: bool,
) -> PathBuf {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    for (name, value) in [("from", ends[0]), ("to", ends[1]), ("along", axis)] {
        let value = Tensor::I64(ndarray::Array1::from(vec![value]).into_dyn());
        graph.initializer.push(value.to_proto(name));
    }
    let value = match at_the_end {
        true => &mut graph.output[0],
        false => &mut graph.input[0],
    };
    let name = value.name().to_owned();
    set_dim(value, 1, channels);
    let inner = format!("{name}/inner");
    for node in &mut graph.node {
        let (read, written) = (node.input.iter_mut(), node.output.iter_mut());
        for n in read.chain(written).filter(|n| **n == name) {
            n.clone_from(&inner);
        }
    }
    let (input, output) = match at_the_end {
        true => (inner, name),
        false => (name, inner),
    };
    let lists = ["from", "to", "along"].map(str::to_owned);
    let slice = NodeProto {
        op_type: Some("Slice".to_owned()),
        input: [vec![input], lists.to_vec()].concat(),
        output: vec![output],
        ..NodeProto::default()
    };
    match at_the_end {
        true => graph.node.push(slice),
        false => graph.node.insert(0, slice),
    }
    save(&model, path).unwrap();
    path.to_owned()
}

/// The test digits, and beside each as many empty channels.
fn with_empty_channels(path: &Path, empty: usize, labelled: bool) -> PathBuf {
    let (images, labels) = digit_bytes();
    let (n, _, h, w) = images.dim();
    let more = Array4::<u8>::zeros((n, empty, h, w));
    let x = concatenate(Axis(1), &[images.view(), more.view()]).unwrap();
    write_npz(path, &x, labelled.then_some(&labels[..]));
    path.to_owned()
}

#[test]
fn images_of_other_channels_come_as_arrays() {
    let dir = tempfile::tempdir().unwrap();
    let model = with_slice(&dir.path().join("four.onnx"), [0, 1], (1, 4), false);
    let data = with_empty_channels(&dir.path().join("four.npz"), 3, true);
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let mut c = tool();
    c.arg(&model).arg(&out).arg("--data").arg(&data);
    c.args([
        "--ratio=0.3",
        "--mask-epochs=1",
        "--main-epochs=1",
        "--final-epochs=2",
    ]);
    c.args(["--max-drop=none", "--flip", "--report"])
        .arg(&report);
    c.assert().success();
    let report = json(&report);
    assert!(report["accuracy"]["after"].as_f64().unwrap() > 0.8);
    assert!(report["totals"]["pruned_ratio"].as_f64().unwrap() > 0.2);
    // Pictures have no fourth channel.
    let mut c = tool();
    c.arg(&model).arg(&out);
    c.arg("--data")
        .arg(crate::common::fixture("digits_png"))
        .arg("--max-drop=none");
    refused(&mut c, 2, &["four.onnx", "1 or 3 channels", ".npz"]);
}

#[test]
fn one_output_without_labels_is_neither_learned_nor_judged() {
    let dir = tempfile::tempdir().unwrap();
    let model = with_slice(&dir.path().join("one.onnx"), [1, 2], (1, 1), true);
    let data = with_empty_channels(&dir.path().join("plain.npz"), 0, false);
    let masks = dir.path().join("masks.json");
    quick_rule(&network("vgg"), &dir.path().join("other.onnx"))
        .args(["--method", "random", "--ratio", "0.5", "--save-masks"])
        .arg(&masks)
        .assert()
        .success();
    let run = |options: &[&str]| {
        let mut c = tool();
        c.arg(&model).arg(dir.path().join("o.onnx"));
        c.arg("--data").arg(&data).args(options);
        c
    };
    let words = ["one.onnx", "one output", "labels", "Sigmoid"];
    for options in [
        &["--ratio", "0.3"][..],
        &["--method", "random", "--ratio", "0.3"],
        &["--dry-run"],
    ] {
        refused(&mut run(options), 2, &words);
    }
    let given = format!("--masks={}", masks.display());
    refused(&mut run(&[&given, "--max-drop=5"]), 2, &words);
    assert!(!dir.path().join("o.onnx").exists());
    run(&[&given]).assert().success();
}

#[test]
fn a_share_that_nothing_may_give_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = quick_rule(&network("vgg"), &dir.path().join("o.onnx"));
    c.args(["--method", "random", "--ratio", "0.3", "--keep", "*"]);
    refused(&mut c, 2, &["--ratio 0 is the most"]);
}

#[test]
fn a_tolerant_network_on_other_pixels_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.json");
    let mut c = quick_rule(&network("vgg"), &dir.path().join("o.onnx"));
    c.args(["--method", "random", "--ratio", "0.1", "--mean", "0.4"]);
    c.arg("--report").arg(&report).assert().success();
    let found = json(&report);
    // Nine in ten are right all the same, and nearly all with the pixels that it was trained on.
    assert!(found["accuracy"]["before"].as_f64().unwrap() > 0.9);
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("neither --mean nor --std"), "{warnings}");
}

/// Heads that somebody took the outputs off, their nodes left: they are no reason not to learn, also where they read
/// what is pruned.
#[test]
fn branches_that_no_output_depends_on_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let layers: Vec<NodeProto> = graph
        .node
        .iter()
        .filter(|n| n.op_type() == "Conv")
        .cloned()
        .collect();
    for (k, layer) in layers.into_iter().enumerate() {
        let beside = format!("beside{k}");
        let mean = format!("mean{k}");
        let behind = node("ReduceMean", &[layer.output[0].as_str()], &[&mean], &[]);
        graph.node.push(behind);
        graph.node.push(NodeProto {
            name: Some(beside.clone()),
            output: vec![beside],
            ..layer
        });
    }
    // What a converter may leave, too: nodes behind their readers.
    graph.node.reverse();
    let (path, out) = (dir.path().join("m.onnx"), dir.path().join("o.onnx"));
    save(&model, &path).unwrap();
    let report = dir.path().join("r.json");
    let mut c = quick(&path, &out);
    c.args(["--ratio=0.3", "--report"]).arg(&report);
    let done = c.assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(
        said.contains("no output depends on them") && said.contains("order of execution"),
        "{said}"
    );
    let found = json(&report);
    assert!(found["totals"]["pruned_ratio"].as_f64().unwrap() >= 0.3);
    let looked = tool().arg("inspect").arg(&path).arg("--json").output();
    let looked: serde_json::Value = serde_json::from_slice(&looked.unwrap().stdout).unwrap();
    let mut layers = looked["layers"].as_array().unwrap().iter();
    assert!(layers.all(|l| l["binary"] == l["prunable"]), "{looked}");
    let written = Model::load(&out).unwrap().proto.graph.unwrap();
    assert!(written.node.iter().all(|n| !n.name().starts_with("beside")));
    tool().arg("check").arg(&out).assert().success();
    // Untouched, it stays what it was.
    let mut c = tool();
    c.arg(&path).arg(&out).args(["--method", "none"]);
    c.assert().success();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&out).unwrap());
}
