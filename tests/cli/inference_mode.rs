//! Models that were exported in training mode: refused where that makes them random, or put into
//! inference mode.

use std::path::Path;

use crate::common::{refused, tool};
use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn, arr0};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, Tensor, save};
use onnx_bnnprune::rewrite::to_inference_mode;
use onnx_bnnprune::verify::Optimization;

fn values(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37 % 23) as f32 - 11.0) / 8.0)
        .collect()
}

/// conv (filter 1 zero) → BatchNormalization → Dropout → Flatten → MatMul; in training mode or not.
fn model(training: bool) -> ModelProto {
    let mut b = Builder::new(&[2, 4, 4]);
    let mut w = values(8);
    w[2..4].fill(0.0);
    let w = b.weight(&[4, 2, 1, 1], w);
    let x = b.node("Conv", &["x", &w], vec![]);
    let p: Vec<String> = [1.5, 0.25, 0.5, 2.0]
        .map(|v| b.weight(&[4], vec![v; 4]))
        .into();
    let inputs: Vec<&str> = std::iter::once(&x).chain(&p).map(String::as_str).collect();
    let norm = match training {
        true => {
            let mode = vec![("training_mode", Attr::Int(1))];
            b.split("BatchNormalization", &inputs, 3, mode).remove(0)
        }
        false => b.node("BatchNormalization", &inputs, vec![]),
    };
    let ratio = b.weight(&[], vec![0.5]);
    let mode = b.constant(&Tensor::Bool(arr0(true).into_dyn()));
    let mut inputs = vec![norm.as_str(), &ratio];
    if training {
        inputs.push(&mode);
    }
    let drop = b.node("Dropout", &inputs, vec![]);
    let flat = b.node("Flatten", &[&drop], vec![]);
    let w = b.weight(&[64, 3], values(192));
    let y = b.node("MatMul", &[&flat, &w], vec![]);
    b.model(&[&y])
}

#[test]
fn the_rewritten_model_is_the_one_in_inference_mode() {
    let (left, names) = to_inference_mode(&model(true)).unwrap();
    assert_eq!(names.len(), 2);
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 2, 4, 4]), values(64)).unwrap();
    let level = Optimization::Off;
    assert_eq!(run(&left, &x, level), run(&model(false), &x, level));
    let graph = left.graph.unwrap();
    assert!(graph.node.iter().all(|n| n.output.len() == 1));
    // What said that it trains is gone.
    let kinds: Vec<i32> = graph.initializer.iter().map(|t| t.data_type()).collect();
    assert!(!kinds.contains(&9), "{kinds:?}");
    let plain = model(false);
    assert_eq!(to_inference_mode(&plain).unwrap(), (plain, vec![]));
}

#[test]
fn statistics_that_something_reads_cannot_go() {
    let mut m = model(true);
    let graph = m.graph.as_mut().unwrap();
    let mean = graph.node[1].output[1].clone();
    graph.output.push(crate::graphs::undeclared(&mean));
    let why = to_inference_mode(&m).unwrap_err().to_string();
    assert!(why.contains("whose statistics are read"), "{why}");
}

#[test]
fn a_random_model_is_refused_or_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    save(&model(true), &input).unwrap();
    let run_tool = |flags: &[&str], out: &Path| {
        let mut c = tool();
        c.arg(&input).arg(out).arg("-q").args(flags);
        c
    };
    let words = ["in.onnx", "Dropout in training mode", "--inference-mode"];
    refused(&mut run_tool(&[], &out), 2, &words);
    assert!(!out.exists());
    let report = dir.path().join("report.json");
    let mut c = run_tool(&["--inference-mode", "--report"], &out);
    c.arg(&report).assert().success();
    let nodes = Model::load(&out).unwrap().proto.graph.unwrap().node;
    assert!(nodes.iter().all(|n| n.output.len() == 1));
    let text = std::fs::read_to_string(&report).unwrap();
    assert!(text.contains("was in training mode, runs in inference mode now"));
    // The filter that is zero is gone.
    let pruned = Model::load(&out).unwrap().proto;
    let weight = &pruned.graph.as_ref().unwrap().initializer[0];
    assert_eq!(weight.dims, [3, 2, 1, 1]);
}

#[test]
fn old_operator_sets_are_learned_from_and_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    let mut old = Model::load(&crate::common::network("vgg")).unwrap().proto;
    old.opset_import[0].version = Some(10);
    // There it has no such attribute yet.
    for node in &mut old.graph.as_mut().unwrap().node {
        node.attribute.retain(|a| a.name() != "training_mode");
    }
    save(&old, &input).unwrap();
    let mut c = crate::common::quick(&input, &out);
    c.arg("-q").assert().success();
    assert_eq!(
        Model::load(&out).unwrap().proto.opset_import,
        old.opset_import
    );
    let mut older = model(false);
    older.opset_import[0].version = Some(9);
    // Nothing says that it trains.
    for node in &mut older.graph.as_mut().unwrap().node {
        if node.op_type() == "Dropout" {
            node.input.truncate(1);
        }
    }
    save(&older, &input).unwrap();
    tool().arg(&input).arg(&out).arg("-q").assert().success();
    assert_eq!(
        Model::load(&out).unwrap().proto.opset_import,
        older.opset_import
    );
}
