//! Reports and `docs/report.schema.json`: what stands in the one stands in the other.

use serde_json::Value;

use crate::common::schema::{check, faults};
use crate::common::{fixture, json, network, quick, tool};

fn printed(args: &[&str]) -> Value {
    let done = tool().args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn what_commands_print_as_json_is_as_the_schema_says() {
    let vgg = network("vgg").display().to_string();
    let data = fixture("digits_test.npz").display().to_string();
    let found = printed(&["eval", &vgg, "--data", &data, "--json"]);
    check("Evaluation", &found);
    let top = |key: &str| found[key].as_f64().unwrap();
    assert!(top("top5") > top("accuracy") && top("top5") <= 1.0);
    check("Verification", &printed(&["verify", &vgg, &vgg, "--json"]));
    check("CheckReport", &printed(&["check", &vgg, "--json"]));
    for name in crate::common::NETWORKS {
        let path = network(name).display().to_string();
        check("Inspection", &printed(&["inspect", &path, "--json"]));
    }
}

#[test]
fn a_report_with_a_key_too_many_or_too_few_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    quick(&network("vgg"), &dir.path().join("o.onnx"))
        .args(["--main-lr", "0.0004", "--mean", "0.1", "--std", "0.7"])
        .arg("--report")
        .arg(&path)
        .assert()
        .success();
    let report = json(&path);
    // Not in single precision blown up to double: 0.00039999998989515007.
    assert_eq!(report["settings"]["training"]["main_lr"], 0.0004);
    assert_eq!(report["settings"]["data"]["mean"], serde_json::json!([0.1]));
    assert_eq!(report["settings"]["data"]["std"], serde_json::json!([0.7]));
    let mut lacking = report.clone();
    lacking["accuracy"].as_object_mut().unwrap().remove("after");
    assert!(!faults("Report", &lacking).is_empty());
    let mut more = report.clone();
    let stage = more["stages"][0].as_object_mut().unwrap();
    stage.insert("unheard_of".to_owned(), 1.into());
    assert!(!faults("Report", &more).is_empty());
    let mut other = report.clone();
    other["totals"]["kept"] = "many".into();
    assert!(!faults("Report", &other).is_empty());
    // What is measured anew in each epoch, and where the time went.
    let stage = &report["stages"][0];
    assert_eq!(stage["mask_epochs"].as_array().unwrap().len(), 2);
    assert_eq!(stage["retraining"].as_array().unwrap().len(), 1);
    let last = report["final_retraining"].as_array().unwrap();
    assert_eq!(last.len(), 1);
    for share in ["accuracy", "training_accuracy"] {
        let share = last[0][share].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&share), "{last:?}");
    }
    let laps = report["timings"].as_array().unwrap();
    let sum: f64 = laps.iter().map(|l| l["seconds"].as_f64().unwrap()).sum();
    let all = report["seconds"].as_f64().unwrap();
    assert!(sum <= all && sum > 0.9 * all, "{sum} of {all}");
    let command = report["run"]["command"].as_array().unwrap();
    assert_eq!(command[0], "onnx-bnnprune");
    assert!(command.contains(&"--main-lr".into()));
}
