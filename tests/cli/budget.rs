//! What pruning may cost: no run ends well with a network worse than that.

use std::path::{Path, PathBuf};

use predicates::prelude::*;

use crate::common::{fixture, json, network, refused, tool};

/// A job on the digits that learns next to nothing, with further options.
fn job(name: &str, dir: &Path, options: &[&str]) -> assert_cmd::Command {
    let mut c = tool();
    c.arg(network(name))
        .arg(dir.join("out.onnx"))
        .arg("--data")
        .arg(fixture("digits_train.npz"))
        .arg("--val")
        .arg(fixture("digits_test.npz"))
        .arg("--report")
        .arg(dir.join("report.json"))
        .args(["--mask-epochs", "1"])
        .args(options);
    c
}

/// Nearly all filters gone, nothing retrained.
const RUINOUS: [&str; 6] = [
    "--ratio",
    "0.8",
    "--main-epochs",
    "0",
    "--final-epochs",
    "0",
];

#[test]
fn a_network_that_lost_too_much_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "digits_vgg.onnx",
        "accuracy falls by",
        "--max-drop",
        "out.onnx was not written",
    ];
    refused(&mut job("vgg", dir.path(), &RUINOUS), 1, &words);
    assert!(!dir.path().join("out.onnx").exists());
    let report = json(&dir.path().join("report.json"));
    let budget = &report["budget"];
    assert_eq!(budget["measure"], "accuracy");
    assert_eq!(budget["max_drop"], 0.01);
    assert_eq!(budget["met"], false);
    assert!(budget["drop"].as_f64().unwrap() > 0.05, "{budget}");
    assert!(report["output"].is_null());
    // Nothing is left behind either.
    let left = std::fs::read_dir(dir.path()).unwrap();
    let left: Vec<PathBuf> = left.map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [dir.path().join("report.json")]);
}

#[test]
fn whoever_lets_it_pass_is_told_and_loses_no_learning() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    let with = |budget: &[&str]| {
        let mut c = job("vgg", dir.path(), &RUINOUS);
        c.arg("--checkpoint").arg(&saved).args(budget);
        c
    };
    refused(&mut with(&[]), 1, &["--max-drop none", "checkpoint"]);
    assert!(saved.join("checkpoint.bin").exists());
    with(&["--max-drop", "none"])
        .assert()
        .success()
        .stderr(predicate::str::contains("continuing from"))
        .stderr(predicate::str::contains("begun with --max-drop 1:"))
        .stdout(predicate::str::contains("accuracy fell by"));
    assert!(dir.path().join("out.onnx").exists());
    let report = json(&dir.path().join("report.json"));
    assert!(report["budget"].is_null());
}

#[test]
fn filters_are_given_back_until_the_budget_holds() {
    let options = [
        "--alpha",
        "4",
        "--max-share",
        "0.95",
        "--main-epochs",
        "1",
        "--final-epochs",
        "1",
    ];
    let share = |ratio: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        job("nin", dir.path(), &options)
            .args(ratio)
            .assert()
            .success();
        json(&dir.path().join("report.json"))
    };
    let (free, held) = (
        share(&["--max-drop", "none"]),
        share(&["--max-drop", "0.5"]),
    );
    let pruned = |r: &serde_json::Value| r["totals"]["pruned_ratio"].as_f64().unwrap();
    let drop = |r: &serde_json::Value| {
        let accuracy = |key: &str| r["accuracy"][key].as_f64().unwrap();
        accuracy("before") - accuracy("after")
    };
    assert!(drop(&free) > 0.02, "{}", free["accuracy"]);
    assert!(drop(&held) <= 0.005 + 1e-9, "{}", held["accuracy"]);
    assert!(pruned(&held) > 0.0 && pruned(&held) < pruned(&free));
    let attempts = held["budget"]["attempts"].as_array().unwrap();
    assert!(attempts.len() > 1, "{attempts:?}");
    let last = attempts.last().unwrap();
    assert!(last["drop"].as_f64().unwrap() <= 0.005 + 1e-9);
    assert!(last["pruned"].as_u64() < attempts[0]["pruned"].as_u64());
}

#[test]
fn without_labels_agreement_with_the_original_counts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("unlabelled");
    std::fs::create_dir(&folder).unwrap();
    let images = walkdir::WalkDir::new(fixture("digits_png"));
    let images = images.into_iter().filter_map(Result::ok);
    let images = images.filter(|e| e.path().extension().is_some_and(|x| x == "png"));
    for (i, image) in images.enumerate() {
        std::fs::copy(image.path(), folder.join(format!("{i}.png"))).unwrap();
    }
    let mut c = tool();
    c.arg(network("vgg")).arg(dir.path().join("out.onnx"));
    c.arg("--data").arg(&folder).args(["--mask-epochs", "1"]);
    c.args(RUINOUS);
    refused(&mut c, 1, &["agreement falls by", "10.00 of --max-drop"]);
}

#[test]
fn given_masks_have_a_budget_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let masks = dir.path().join("m.json");
    let pruned: Vec<usize> = (0..44).collect();
    let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
        "layers": {"/conv2/Conv": {"filters": 48, "pruned": pruned}}});
    std::fs::write(&masks, text.to_string()).unwrap();
    let with = |options: &[&str]| {
        let mut c = tool();
        c.arg(network("vgg")).arg(dir.path().join("out.onnx"));
        c.arg("--data").arg(fixture("digits_test.npz"));
        c.arg("--masks").arg(&masks).args(options);
        c
    };
    let words = ["accuracy falls by", "leave filters out of the masks file"];
    refused(&mut with(&["--max-drop", "1"]), 1, &words);
    assert!(!dir.path().join("out.onnx").exists());
    let loud = predicate::str::contains("--masks takes filters out and retrains nothing");
    with(&["--report"])
        .arg(dir.path().join("report.json"))
        .assert()
        .success()
        .stdout(loud);
    // Nothing has to be kept from learning, so all images tell.
    let report = json(&dir.path().join("report.json"));
    assert_eq!(report["accuracy"]["samples"], 450);
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    with(&["--val-split", "0.2", "--report"])
        .arg(dir.path().join("report.json"))
        .assert()
        .success();
    let report = json(&dir.path().join("report.json"));
    assert_eq!(report["accuracy"]["samples"], 90);
}

#[test]
fn what_cannot_go_is_said_before_learning() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["vgg", "nin", "resnet", "folded"] {
        let options = ["--ratio", "0.99"];
        let words = ["--ratio asks for more than can go", "is the most"];
        refused(&mut job(name, dir.path(), &options), 2, &words);
        assert!(!dir.path().join("out.onnx").exists());
    }
    // What is said to be the most is accepted.
    let mut c = job("vgg", dir.path(), &["--ratio", "0.953", "--dry-run"]);
    c.assert().success();
}

/// More than a layer has are no multiple of what stays: nothing is learned for it.
#[test]
fn what_rounding_leaves_whole_is_not_learned() {
    let dir = tempfile::tempdir().unwrap();
    job("vgg", dir.path(), &["--round-to", "100"])
        .assert()
        .success()
        .stderr(predicate::str::contains("learning").not());
    let report = json(&dir.path().join("report.json"));
    assert_eq!(report["stages"].as_array().unwrap().len(), 0);
    let text = report.to_string();
    assert!(text.contains("keeps multiples of 100 filters (--round-to), and has 40"));
    let written = std::fs::read(dir.path().join("out.onnx")).unwrap();
    assert_eq!(written, std::fs::read(network("vgg")).unwrap());
}

#[test]
fn a_budget_without_data_or_beyond_all_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    let mut c = tool();
    c.arg(network("vgg")).arg(&out).args(["--max-drop", "1"]);
    refused(&mut c, 2, &["--max-drop has no effect"]);
    for wrong in ["-1", "101", "half"] {
        let option = format!("--max-drop={wrong}");
        job("vgg", dir.path(), &[&option]).assert().code(2);
    }
}
