//! Rules that choose filters without learning, from the command line.

use std::collections::BTreeSet;

use onnx_bnnprune::subsidiary::RULES;

use crate::common::{fixture, json, network, quick, quick_rule, refused, tool};

#[test]
fn every_rule_prunes_as_many_filters_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    for rule in RULES {
        quick_rule(&network("vgg"), &at("o.onnx"))
            .args(["--method", rule.name(), "--ratio", "0.3"])
            .arg("--report")
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        let settings = &report["settings"];
        assert_eq!(settings["method"], rule.name());
        assert_eq!(settings["training"]["selector"]["rule"], rule.name());
        let stages = report["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 3, "{}", rule.name());
        for stage in stages {
            let filters = stage["filters"].as_u64().unwrap();
            let gone = (filters as f64 * 0.3).round() as u64;
            assert_eq!(stage["kept"], filters - gone, "{}: {stage}", rule.name());
        }
    }
}

/// With next to no learning the filters that go are those of lowest rank; and learning goes on from there.
#[test]
fn masks_may_start_at_the_ranks_of_a_rule() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    let pruned = |args: &[&str]| -> Vec<BTreeSet<u64>> {
        let mut c = tool();
        c.arg(network("vgg")).arg(at("o.onnx")).arg("--data");
        c.arg(fixture("digits_test.npz"))
            .args(["--ratio", "0.3", "--max-drop", "none", "-q"])
            .args(["--main-epochs", "0", "--final-epochs", "0"])
            .arg("--save-masks")
            .arg(at("m.json"))
            .args(args)
            .assert()
            .success();
        let masks = json(&at("m.json"));
        let layers = masks["layers"].as_object().unwrap().values();
        let gone = layers.map(|l| l["pruned"].as_array().unwrap().iter());
        gone.map(|l| l.map(|f| f.as_u64().unwrap()).collect())
            .collect()
    };
    let nested = |a: &[BTreeSet<u64>], b: &[BTreeSet<u64>]| {
        let mut pairs = a.iter().zip(b);
        a.len() == b.len() && pairs.all(|(a, b)| a.is_subset(b) || b.is_subset(a))
    };
    let by_rule = pruned(&["--method", "magnitude"]);
    let at_ranks = |rate| {
        pruned(&[
            "--mask-epochs",
            "2",
            "--mask-lr",
            rate,
            "--mask-start",
            "magnitude",
        ])
    };
    assert!(nested(&at_ranks("1e-9"), &by_rule));
    assert!(!nested(&at_ranks("0.3"), &by_rule));
    assert!(!nested(&pruned(&["--mask-epochs", "2"]), &by_rule));
    let mut scattered = quick(&network("resnet"), &at("o.onnx"));
    scattered.args(["--residual", "scatter", "--mask-start", "hamming"]);
    refused(&mut scattered, 2, &["--mask-start hamming", "--residual"]);
}

#[test]
fn the_help_and_a_wrong_name_list_the_rules() {
    let help = tool().arg("--help").output().unwrap();
    let wrong = tool()
        .args(["a", "b", "--method", "best"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let texts = [help.stdout, wrong.stderr].map(|t| String::from_utf8(t).unwrap());
    for text in texts {
        let names = RULES.iter().map(|r| r.name());
        for name in names.chain(["subsidiary", "none"]) {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}
