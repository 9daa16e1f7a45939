//! What a user is told: names that were meant, what figures are of, and what to do.

use crate::common::{fixture, json, network, refused, tool, write_masks};
use onnx_bnnprune::graph::Graph;
use onnx_bnnprune::onnx::{Model, save};

#[test]
fn a_layer_that_does_not_exist_brings_those_with_names_like_it() {
    let dir = tempfile::tempdir().unwrap();
    let (masks, out) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
    let mut c = tool();
    c.args([network("vgg"), out.clone()])
        .args(["--keep", "conv1"]);
    refused(&mut c, 2, &["--keep conv1", "did you mean '/conv1/Conv'"]);
    write_masks(&masks, &[("/conv2/Cnov", 48, &[1])]);
    let mut c = tool();
    c.args([network("vgg"), out]).arg("--masks").arg(&masks);
    refused(&mut c, 2, &["'/conv2/Cnov'", "did you mean '/conv2/Conv'"]);
}

#[test]
fn an_argument_too_many_is_named() {
    for (arguments, words) in [
        (
            vec!["prune", "a.onnx", "b.onnx"],
            ["'b.onnx'", "'prune' is no command"],
        ),
        (
            vec!["a.onnx", "b.onnx", "c.onnx"],
            ["'c.onnx'", "IN.onnx and OUT.onnx"],
        ),
    ] {
        refused(tool().args(arguments), 2, &words);
    }
}

#[test]
fn channels_that_do_not_fit_are_named_as_typed() {
    let mut c = tool();
    c.arg("eval")
        .arg(network("vgg"))
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .args(["--channels", "rgb"]);
    refused(&mut c, 2, &["--channels rgb does not fit", "1 channels"]);
}

#[test]
fn layers_too_small_to_round_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = tool();
    c.arg(network("vgg")).arg(dir.path().join("o.onnx")).args([
        "--method",
        "none",
        "--round-to",
        "64",
    ]);
    let text = String::from_utf8(c.output().unwrap().stdout).unwrap();
    let line = text.lines().find(|l| l.contains("/conv1/Conv: ")).unwrap();
    assert!(
        line.contains("has 40 filters") && line.contains("--round-to"),
        "{line}"
    );
}

#[test]
fn an_unchanged_model_is_as_fast_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.json");
    let mut c = tool();
    c.arg(network("vgg"))
        .arg(dir.path().join("o.onnx"))
        .args(["--method", "none", "--report"])
        .arg(&report);
    let text = String::from_utf8(c.output().unwrap().stdout).unwrap();
    assert!(text.contains("the model is unchanged"), "{text}");
    assert_eq!(json(&report)["latency_ms"]["ratio"], 1.0);
}

#[test]
fn of_several_outputs_the_one_that_counts_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.onnx");
    let model = Model::load(&network("vgg")).unwrap().proto;
    let inner = model.graph.as_ref().unwrap().node[0].output[0].clone();
    let two = crate::graphs::with_outputs(&model, &[]);
    let mut two = two;
    let shape = crate::graphs::undeclared(&inner);
    two.graph.as_mut().unwrap().output.push(shape);
    save(&two, &path).unwrap();
    let first = two.graph.as_ref().unwrap().output[0].name.clone().unwrap();
    let mut c = tool();
    c.arg("eval")
        .arg(&path)
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .args(["--runs", "1"]);
    let done = c.output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{stderr}");
    let said = format!("the model has 2 outputs; accuracy and learning go by the first, '{first}'");
    assert!(stderr.contains(&said), "{stderr}");
}

#[test]
fn no_two_nodes_go_by_one_name() {
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let nodes = &mut model.graph.as_mut().unwrap().node;
    // The first has no name, and its output is the second one's name, whose output is the third's.
    nodes[0].name = None;
    nodes[1].name = nodes[0].output.first().cloned();
    nodes[2].name = nodes[1].output.first().cloned();
    let graph = Graph::new(&model).unwrap();
    let mut labels: Vec<&str> = graph.order().iter().map(|&n| graph.label(n)).collect();
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count, "{labels:?}");
}

#[test]
fn a_dry_run_has_nothing_to_save() {
    let dir = tempfile::tempdir().unwrap();
    let (out, saved) = (dir.path().join("o.onnx"), dir.path().join("saved"));
    for (option, file) in [
        ("--checkpoint", &saved),
        ("--save-masks", &saved),
        ("--save-masked", &saved),
    ] {
        let mut dry = crate::common::quick(&network("vgg"), &out);
        dry.arg("--dry-run").arg(option).arg(file);
        crate::common::refused(&mut dry, 2, &[option, "--dry-run"]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_set_that_only_verifies_may_be_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let masks = dir.path().join("m.json");
    write_masks(&masks, &[("/conv1/Conv", 40, &[1])]);
    let digits = fixture("digits_test.npz");
    let mut c = tool();
    c.args([network("vgg"), dir.path().join("o.onnx")])
        .arg("--masks")
        .arg(&masks)
        .arg("--data")
        .arg(&digits)
        .arg("--val")
        .arg(&digits);
    c.assert().success();
}
