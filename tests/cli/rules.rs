//! Rules that choose filters without learning, from the command line.

use onnx_bnnprune::subsidiary::RULES;

use crate::common::{json, network, quick_rule, tool};

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
