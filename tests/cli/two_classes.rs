//! Classifiers of two classes with one output, a logit or a probability: what they say is counted as a user would.

use std::path::{Path, PathBuf};

use ndarray::{Array2, Array4};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, Tensor, save};
use onnx_bnnprune::verify::Optimization;

use crate::common::{digit_bytes, json, network, node, quick, refused, tool, write_npz};
use crate::graphs::{declare, run};

/// The digits network, of which one number says whether the digit is 5 or more; above 0 unless a `head` makes it
/// a share. `flat`: one number, and not a row of one, a sample.
fn large_or_small(path: &Path, head: &[&str], flat: bool) -> ModelProto {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let logits = graph.output.remove(0).name().to_owned();
    let each = Array2::from_shape_fn((10, 1), |(k, _)| if k >= 5 { 6.0f32 } else { -6.0 });
    graph
        .initializer
        .push(Tensor::F32(each.into_dyn()).to_proto("each"));
    graph
        .node
        .push(node("Softmax", &[&logits], &["shares"], &[]));
    graph
        .node
        .push(node("MatMul", &["shares", "each"], &["large"], &[]));
    let mut last = "large".to_owned();
    for op in head {
        graph.node.push(node(op, &[&last], &[op], &[]));
        (*op).clone_into(&mut last);
    }
    if flat {
        let whole = Tensor::I64(ndarray::arr1(&[-1i64]).into_dyn());
        graph.initializer.push(whole.to_proto("whole"));
        graph
            .node
            .push(node("Reshape", &[&last, "whole"], &["flat"], &[]));
        "flat".clone_into(&mut last);
    }
    let sizes: &[i64] = if flat { &[] } else { &[1] };
    graph.output.push(declare(&last, sizes));
    save(&model, path).unwrap();
    model
}

/// The test digits, labelled as large (1) or small, or not at all.
fn digits(path: &Path, labelled: bool) -> (PathBuf, Array4<u8>, Vec<usize>) {
    let (images, labels) = digit_bytes();
    let truth: Vec<usize> = labels.iter().map(|&k| usize::from(k >= 5)).collect();
    write_npz(path, &images, labelled.then_some(&truth[..]));
    (path.to_owned(), images, truth)
}

/// Every way of one output: what it ends in, whether it is flat, and above what it says that a digit is large.
const WAYS: [(&[&str], bool, f32); 5] = [
    (&[], false, 0.0),
    (&[], true, 0.0),
    (&["Sigmoid"], false, 0.5),
    (&["Sigmoid"], true, 0.5),
    (&["HardSigmoid"], false, 0.5),
];

#[test]
fn one_number_is_counted_as_its_end_says() {
    let dir = tempfile::tempdir().unwrap();
    let (data, x, truth) = digits(&dir.path().join("two.npz"), true);
    let x = x.mapv(|v| f32::from(v) / 255.0).into_dyn();
    for (head, flat, threshold) in WAYS {
        let path = dir.path().join("one.onnx");
        let model = large_or_small(&path, head, flat);
        let output = run(&model, &x, Optimization::Off).remove(0);
        let said = output.iter().map(|&z| usize::from(z > threshold));
        let right = said.zip(&truth).filter(|(a, b)| a == *b).count();
        let expected = right as f64 / truth.len() as f64;
        assert!(expected > 0.9, "{expected}");
        let mut c = tool();
        c.arg("eval")
            .arg(&path)
            .arg("--data")
            .arg(&data)
            .arg("--json");
        let found: serde_json::Value =
            serde_json::from_slice(&c.assert().success().get_output().stdout).unwrap();
        assert_eq!(
            found["accuracy"].as_f64(),
            Some(expected),
            "{head:?} {flat}"
        );
        assert_eq!(found["classes"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn one_number_is_learned_from_and_judged() {
    let dir = tempfile::tempdir().unwrap();
    let (data, ..) = digits(&dir.path().join("two.npz"), true);
    for (head, flat, _) in WAYS {
        let (path, out) = (dir.path().join("one.onnx"), dir.path().join("out.onnx"));
        large_or_small(&path, head, flat);
        let report = dir.path().join("r.json");
        let mut c = tool();
        c.arg(&path).arg(&out).arg("--data").arg(&data);
        c.args([
            "--ratio=0.3",
            "--max-drop=5",
            "--mask-epochs=1",
            "--main-epochs=1",
        ]);
        c.args(["--final-epochs=2", "--seed=1", "--report"])
            .arg(&report);
        c.assert().success();
        let found = json(&report);
        assert!(
            found["accuracy"]["after"].as_f64().unwrap() > 0.85,
            "{head:?} {flat}"
        );
        assert!(found["agreement"].as_f64().unwrap() > 0.85);
        assert!(found["totals"]["pruned_ratio"].as_f64().unwrap() > 0.15);
    }
}

/// A probability says by itself that it tells two classes apart; a number that may be anything does not.
#[test]
fn without_labels_only_a_probability_is_one_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    let (data, ..) = digits(&dir.path().join("x.npz"), false);
    let (path, out) = (dir.path().join("one.onnx"), dir.path().join("out.onnx"));
    let run = || {
        let mut c = tool();
        c.arg(&path).arg(&out).arg("--data").arg(&data);
        c.args(["--ratio=0.2", "--max-drop=none", "--mask-epochs=1"]);
        c.args(["--main-epochs=1", "--final-epochs=1"]);
        c
    };
    large_or_small(&path, &["Sigmoid"], false);
    run().assert().success();
    large_or_small(&path, &[], false);
    std::fs::remove_file(&out).unwrap();
    refused(
        &mut run(),
        2,
        &["one.onnx", "one output", "labels", "Sigmoid"],
    );
    assert!(!out.exists());
}

/// A probability that nothing but its values shows is not taken for a logit, of which each would be above 0.
#[test]
fn a_probability_by_its_values_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, ..) = digits(&dir.path().join("two.npz"), true);
    let (path, out) = (dir.path().join("one.onnx"), dir.path().join("out.onnx"));
    large_or_small(&path, &["Sigmoid", "Abs"], false);
    let mut learned = tool();
    learned.arg(&path).arg(&out).arg("--data").arg(&data);
    let mut asked = tool();
    asked.arg("eval").arg(&path).arg("--data").arg(&data);
    for c in [&mut learned, &mut asked] {
        refused(c, 2, &["one.onnx", "within 0 and 1", "Sigmoid"]);
    }
    assert!(!out.exists());
}

/// Labels of ten digits are none of one output.
#[test]
fn more_classes_than_two_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.onnx");
    large_or_small(&path, &[], false);
    let mut c = quick(&path, &dir.path().join("out.onnx"));
    refused(&mut c, 2, &["0 to 9", "one.onnx", "tells 2 apart"]);
}
