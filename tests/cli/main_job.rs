//! The main job as a user runs it: prune, verify in ONNX Runtime, write, report.

use crate::common::{fixture, json, logits, max_abs_diff, network, quick, quick_rule, tool};
use predicates::prelude::*;

#[test]
fn every_network_is_pruned_and_equals_its_masked_model_in_onnx_runtime() {
    for name in crate::common::NETWORKS {
        let dir = tempfile::tempdir().unwrap();
        let at = |f: &str| dir.path().join(f);
        quick(&network(name), &at("out.onnx"))
            .args(["--alpha", "0.3", "--save-masked"])
            .arg(at("masked.onnx"))
            .arg("--save-masks")
            .arg(at("masks.json"))
            .arg("--report")
            .arg(at("report.json"))
            .assert()
            .success()
            .stdout(predicate::str::contains("filters"));
        let report = json(&at("report.json"));
        let masks = json(&at("masks.json"));
        let pruned = report["totals"]["pruned_ratio"].as_f64().unwrap();
        assert!(pruned > 0.0, "{name}: nothing was pruned");
        assert_eq!(report["verification"]["passed"], true);
        assert_eq!(report["verification"]["runtime"], "ONNX Runtime");
        assert_eq!(report["accuracy"]["samples"], 400);
        assert_eq!(masks["format"], "onnx-bnnprune-masks/1");
        let small = std::fs::metadata(at("out.onnx")).unwrap().len();
        assert!(small < std::fs::metadata(network(name)).unwrap().len());
        // Every masked filter is physically gone, or the report explains it.
        for layer in report["layers"].as_array().unwrap() {
            let stayed = layer["masked_but_kept"].as_u64().unwrap();
            assert!(
                stayed == 0 || layer["reason"].is_string(),
                "{name}: {layer}"
            );
        }
        let (masked, out) = (
            logits(&at("masked.onnx"), 450),
            logits(&at("out.onnx"), 450),
        );
        let beyond = ndarray::Zip::from(&masked).and(&out).fold(0, |n, a, b| {
            n + usize::from((a - b).abs() > 1e-4 * a.abs().max(1.0))
        });
        let ties = report["verification"]["ties"].as_u64().unwrap() as usize;
        assert!(
            beyond <= ties * 10,
            "{name}: {beyond} logits differ, {ties} ties"
        );
    }
}

#[test]
fn the_report_keeps_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    quick(&network("vgg"), &dir.path().join("o.onnx"))
        .arg("--report")
        .arg(&path)
        .assert()
        .success();
    let report = json(&path);
    for key in [
        "tool",
        "version",
        "input",
        "output",
        "layers",
        "totals",
        "accuracy",
        "verification",
        "agreement",
        "latency_ms",
        "settings",
        "seed",
        "seconds",
    ] {
        assert!(!report[key].is_null(), "{key}");
    }
    if cfg!(target_os = "linux") {
        let bytes = report["peak_memory_bytes"].as_u64().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
    for key in ["path", "sha256", "bytes", "opset"] {
        assert!(
            !report["input"][key].is_null() && !report["output"][key].is_null(),
            "{key}"
        );
    }
    for key in ["before", "after_masking", "after", "samples", "source"] {
        assert!(!report["accuracy"][key].is_null(), "{key}");
    }
    for key in [
        "filters",
        "kept",
        "pruned_ratio",
        "masked_but_kept",
        "params_before",
        "params_after",
        "macs_before",
        "macs_after",
    ] {
        assert!(report["totals"][key].is_number(), "{key}");
    }
    let totals = &report["totals"];
    let layers = report["layers"].as_array().unwrap();
    let kept: u64 = layers
        .iter()
        .filter(|l| l["kind"] == "binary Conv")
        .map(|l| l["kept"].as_u64().unwrap())
        .sum();
    assert_eq!(totals["kept"].as_u64(), Some(kept));
}

#[test]
fn gradients_in_8_bits_give_the_same_bytes_at_any_thread_count() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let mut files = Vec::new();
    for (threads, gradients) in [("1", "int8"), ("2", "int8"), ("2", "f32")] {
        quick(&network("vgg"), &out)
            .args(["--threads", threads, "--gradients", gradients, "--report"])
            .arg(&report)
            .assert()
            .success();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        assert_eq!(json["settings"]["training"]["gradients"], gradients);
        assert_eq!(json["verification"]["passed"], true);
        files.push(std::fs::read(&out).unwrap());
    }
    assert!(files[0] == files[1], "bytes at 1 and 2 threads");
    assert!(files[1] != files[2], "the option does nothing");
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_thread_count() {
    for name in ["vgg", "resnet"] {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for threads in ["1", "2"] {
            let (out, masks) = (dir.path().join("o.onnx"), dir.path().join("m.json"));
            quick(&network(name), &out)
                .args(["--seed", "7", "--threads", threads])
                .arg("--save-masks")
                .arg(&masks)
                .assert()
                .success();
            files.push((std::fs::read(out).unwrap(), std::fs::read(masks).unwrap()));
        }
        assert_eq!(files[0].1, files[1].1, "{name}: masks");
        assert!(files[0].0 == files[1].0, "{name}: bytes at 1 and 2 threads");
        let out = dir.path().join("o.onnx");
        quick(&network(name), &out)
            .args(["--seed", "8"])
            .assert()
            .success();
        assert!(
            std::fs::read(out).unwrap() != files[0].0,
            "{name}: the seed does nothing"
        );
    }
}

#[test]
fn without_data_only_what_cannot_matter_goes_and_an_unchanged_model_keeps_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    for name in crate::common::NETWORKS {
        tool()
            .args([network(name), out.clone()])
            .assert()
            .success()
            .stdout(predicate::str::contains("--data"));
        assert!(max_abs_diff(&logits(&network(name), 64), &logits(&out, 64)) < 1e-4);
    }
    // The VGG has no dead filter: its file is copied.
    let (before, after) = (network("vgg"), dir.path().join("v.onnx"));
    tool().args([&before, &after]).assert().success();
    assert!(std::fs::read(before).unwrap() == std::fs::read(after).unwrap());
}

#[test]
fn a_masks_file_is_obeyed_to_the_filter_in_both_removals() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    let masks = r#"{"format": "onnx-bnnprune-masks/1", "layers": {
        "/conv1/Conv": {"filters": 40, "pruned": [0, 3, 39]},
        "/conv2/Conv": {"filters": 48, "pruned": [5]}}}"#;
    std::fs::write(at("m.json"), masks).unwrap();
    for removal in ["drop", "fold"] {
        tool()
            .args([network("vgg"), at("o.onnx")])
            .args(["--removal", removal, "--masks"])
            .arg(at("m.json"))
            .arg("--save-masked")
            .arg(at("masked.onnx"))
            .arg("--report")
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        let of = |name: &str| {
            let layers = report["layers"].as_array().unwrap();
            layers.iter().find(|l| l["name"] == name).unwrap().clone()
        };
        let first = of("/conv1/Conv");
        if removal == "drop" {
            assert_eq!(first["pruned"], serde_json::json!([0, 3, 39]));
            assert_eq!(of("/conv2/Conv")["pruned"], serde_json::json!([5]));
        }
        let gone = first["pruned"].as_array().unwrap().len() as u64;
        assert_eq!(gone + first["masked_but_kept"].as_u64().unwrap(), 3);
        assert_eq!(of("/conv3/Conv")["pruned"], serde_json::json!([]));
        let (masked, out) = (logits(&at("masked.onnx"), 450), logits(&at("o.onnx"), 450));
        assert!(max_abs_diff(&masked, &out) < 1e-4, "{removal}");
        // Masking did something.
        assert!(
            max_abs_diff(&masked, &logits(&network("vgg"), 450)) > 1e-2,
            "{removal}"
        );
    }
}

#[test]
fn a_ratio_is_a_target_over_all_binary_filters_that_layers_share_by_need() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.json");
    quick(&network("vgg"), &dir.path().join("o.onnx"))
        .args(["--ratio", "0.3", "--flip", "--report"])
        .arg(&report)
        .assert()
        .success();
    let report = json(&report);
    let pruned = report["totals"]["pruned_ratio"].as_f64().unwrap();
    assert!((0.3..0.31).contains(&pruned), "{pruned}");
    let stages = report["stages"].as_array().unwrap();
    for stage in stages {
        assert!(stage["sensitivity"].as_f64().unwrap() > 0.0);
        for epoch in stage["mask_epochs"].as_array().unwrap() {
            let kept = epoch["kept"].as_f64().unwrap() * stage["filters"].as_f64().unwrap();
            assert_eq!(kept.round() as i64, stage["kept"].as_i64().unwrap());
        }
    }
    quick(&network("vgg"), &dir.path().join("o.onnx"))
        .args(["--ratio", "0.3", "--alpha", "1"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--alpha"));
}

#[test]
fn kept_layers_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    quick(&network("vgg"), &dir.path().join("o.onnx"))
        .args(["--keep", "/conv2/Conv", "--alpha", "0.5", "--report"])
        .arg(&path)
        .assert()
        .success();
    let report = json(&path);
    for layer in report["layers"].as_array().unwrap() {
        let kept = layer["kept"] == layer["filters"];
        match layer["name"].as_str().unwrap() {
            "/conv2/Conv" => assert!(kept),
            "/conv1/Conv" => assert!(!kept),
            _ => {}
        }
    }
}

#[test]
fn kept_layers_stay_whole_also_where_nothing_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    crate::common::write_masks(
        &at("m.json"),
        &[("/conv1/Conv", 40, &[0, 3]), ("/conv2/Conv", 48, &[5])],
    );
    tool()
        .args([network("vgg"), at("o.onnx")])
        .arg("--masks")
        .arg(at("m.json"))
        .arg("--save-masked")
        .arg(at("masked.onnx"))
        .assert()
        .success();
    // The masked model has filters that nothing reads.
    let kept = |keep: &[&str]| -> Vec<u64> {
        tool()
            .args([at("masked.onnx"), at("o.onnx")])
            .args(keep)
            .arg("--report")
            .arg(at("r.json"))
            .assert()
            .success();
        let report = json(&at("r.json"));
        let layers = report["layers"].as_array().unwrap().iter();
        let binary = layers.filter(|l| l["kind"] == "binary Conv");
        binary.map(|l| l["kept"].as_u64().unwrap()).collect()
    };
    assert_eq!(kept(&[]), [38, 47, 64]);
    assert_eq!(kept(&["--keep", "/conv1/Conv"]), [40, 47, 64]);
    // Nor does a masks file for other layers cut them.
    crate::common::write_masks(&at("m.json"), &[("/conv3/Conv", 64, &[0])]);
    let file = at("m.json").display().to_string();
    let args = ["--keep", "/conv1/Conv", "--masks", &file];
    assert_eq!(kept(&args), [40, 47, 63]);
}

#[test]
fn filters_are_kept_in_multiples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let kept = |command: &mut assert_cmd::Command| -> Vec<u64> {
        command.arg("--report").arg(&path).assert().success();
        let report = json(&path);
        let layers = report["layers"].as_array().unwrap().iter();
        let binary = layers.filter(|l| l["kind"] == "binary Conv");
        binary.map(|l| l["kept"].as_u64().unwrap()).collect()
    };
    let out = dir.path().join("o.onnx");
    let learned = kept(quick(&network("vgg"), &out).args(["--round-to", "16"]));
    // conv1 has 40 filters: all of them, where 48 would be needed.
    for (kept, filters) in learned.into_iter().zip([40, 48, 64]) {
        assert!(kept % 16 == 0 || kept == filters, "{kept} of {filters}");
    }
    // A masks file says what is masked; only what is cut follows the multiple.
    let masks = dir.path().join("m.json");
    let pruned: Vec<usize> = (0..20).collect();
    crate::common::write_masks(&masks, &[("/conv2/Conv", 48, &pruned)]);
    let mut c = tool();
    c.args([&network("vgg"), &out]).arg("--masks").arg(&masks);
    assert_eq!(kept(c.args(["--round-to", "8"])), [40, 32, 64]);
    assert_eq!(json(&path)["totals"]["masked_but_kept"], 4);
}

#[test]
fn the_report_of_a_masks_file_holds_its_accuracy_and_every_setting() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    crate::common::write_masks(&at("m.json"), &[("/conv2/Conv", 48, &[0, 1, 2, 3, 4, 5])]);
    tool()
        .args([network("vgg"), at("o.onnx")])
        .arg("--masks")
        .arg(at("m.json"))
        .arg("--data")
        .arg(fixture("digits_png"))
        .args(["--val-split", "0.5", "--keep", "/conv1/Conv"])
        .args(["--resize", "9x10", "--crop", "8"])
        .args(["--threads", "2", "--removal", "fold"])
        .arg("--report")
        .arg(at("r.json"))
        .assert()
        .success()
        .stdout(predicate::str::contains(", masked "));
    let report = json(&at("r.json"));
    let accuracy = &report["accuracy"];
    assert!(accuracy["masked"].is_number());
    assert_eq!(accuracy["after_masking"], accuracy["masked"]);
    let settings = &report["settings"];
    assert_eq!(settings["method"], "masks");
    assert_eq!(settings["masks"], at("m.json").display().to_string());
    assert_eq!(settings["keep"], serde_json::json!(["/conv1/Conv"]));
    assert_eq!(settings["removal"], "fold");
    assert_eq!(settings["threads"], 2);
    let data = &settings["data"];
    // Not given: what the model's one channel means.
    assert_eq!(data["channels"], "gray");
    let size = |height: u32, width: u32| serde_json::json!({"height": height, "width": width});
    assert_eq!(data["resize"], size(9, 10));
    assert_eq!(data["crop"], size(8, 8));
    let augment = serde_json::json!({"flip": false, "crop_padding": 0});
    assert_eq!(data["augment"], augment);
}

#[test]
fn the_report_names_the_rule_and_the_file_it_is_like() {
    let dir = tempfile::tempdir().unwrap();
    let at = |f: &str| dir.path().join(f);
    crate::common::write_masks(&at("m.json"), &[("/conv2/Conv", 48, &[0, 1])]);
    quick_rule(&network("vgg"), &at("o.onnx"))
        .args(["--method", "magnitude", "--like"])
        .arg(at("m.json"))
        .arg("--report")
        .arg(at("r.json"))
        .assert()
        .success()
        .stdout(predicate::str::contains("native network, 400 images"));
    let report = json(&at("r.json"));
    assert_eq!(report["settings"]["method"], "magnitude");
    let amount = &report["settings"]["training"]["selector"]["amount"];
    let file = at("m.json").display().to_string();
    assert_eq!(*amount, serde_json::json!({"like": {"path": file}}));
    assert_eq!(report["totals"]["kept"], 150);
}

#[test]
fn a_folder_of_images_works_as_well_as_npz() {
    let dir = tempfile::tempdir().unwrap();
    tool()
        .args([network("vgg"), dir.path().join("o.onnx")])
        .arg("--data")
        .arg(fixture("digits_png"))
        .args([
            "--val-split",
            "0.4",
            "--mask-epochs",
            "1",
            "--main-epochs",
            "1",
            "--final-epochs",
            "1",
        ])
        .args(["--flip", "--crop-padding", "1", "--max-drop", "none"])
        .assert()
        .success()
        .stdout(predicate::str::contains("accuracy"));
}

#[test]
fn a_dry_run_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    // The default training takes minutes.
    let mut c = tool();
    c.args([&network("vgg"), &out])
        .arg("--dry-run")
        .arg("--data");
    c.arg(fixture("digits_train.npz"))
        .timeout(std::time::Duration::from_secs(60));
    let done = c.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{text}");
    for word in [
        "can be pruned",
        "learning",
        "stages",
        "estimated time",
        "plan",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("NOTHING"), "{text}");
    // Where no filter may go, nothing would be learned.
    let mut c = tool();
    c.args([&network("vgg"), &out])
        .args(["--dry-run", "--keep", "*", "--data"]);
    let kept = c.arg(fixture("digits_train.npz")).output().unwrap();
    let text = String::from_utf8(kept.stdout).unwrap();
    assert!(
        kept.status.success() && text.contains("kept (--keep)"),
        "{text}"
    );
    assert!(
        !text.contains("estimated time") && !text.contains("stages"),
        "{text}"
    );
    let mut c = tool();
    c.args([&network("vgg"), &out]).arg("--dry-run");
    c.assert().success();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_plan_in_figures() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let plan = |args: &[&str]| {
        let mut c = tool();
        c.args([&network("resnet"), &out])
            .args(["--dry-run", "--data"])
            .arg(fixture("digits_train.npz"))
            .arg("--report")
            .arg(&report)
            .args(args)
            .assert()
            .success();
        crate::common::json(&report)
    };
    let most = plan(&[
        "--alpha",
        "0.4",
        "--mask-epochs",
        "3",
        "--main-epochs",
        "2",
        "--final-epochs",
        "1",
    ]);
    let learning = &most["plan"]["learning"];
    let stages = learning["stages"].as_array().unwrap();
    assert_eq!(learning["figures"], "most");
    let images = learning["images"].as_u64().unwrap();
    let batches = images.div_ceil(learning["batch_size"].as_u64().unwrap());
    assert_eq!(
        learning["steps"].as_u64().unwrap(),
        batches * (5 * stages.len() as u64 + 1)
    );
    assert!(learning["seconds"].as_f64().unwrap() > 0.0);
    // Epochs are so many that there are as many steps, whatever a step is.
    let small = &plan(&["--batch-size", "16"])["plan"]["learning"];
    assert!(small["mask_epochs"].as_u64().unwrap() * images.div_ceil(16) >= 240);
    let usual = &plan(&[])["plan"]["learning"];
    assert!(small["mask_epochs"].as_u64() < usual["mask_epochs"].as_u64());
    assert!(small["final_epochs"].as_u64() < usual["final_epochs"].as_u64());
    // Streams are cut together.
    assert!(!most["plan"]["groups"].as_array().unwrap().is_empty());
    let ratio = |report: &serde_json::Value| report["totals"]["pruned_ratio"].as_f64().unwrap();
    assert!((0.7..=0.8).contains(&ratio(&most)), "{most}");
    let macs = |report: &serde_json::Value, of: &str| report["totals"][of].as_u64().unwrap();
    assert!(macs(&most, "macs_after") < macs(&most, "macs_before"));
    assert!(most["verification"].is_null() && most["output"].is_null());
    let rule = plan(&["--method", "magnitude", "--ratio", "0.25"]);
    assert_eq!(rule["plan"]["learning"]["figures"], "exact");
    assert!((0.2..0.3).contains(&ratio(&rule)), "{rule}");
    assert!(!out.exists());
}

#[test]
fn the_report_says_what_was_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.json");
    let mut run = tool();
    run.args([network("vgg"), dir.path().join("o.onnx")])
        .arg("--data")
        .arg(fixture("digits_png"))
        .args(["--val-split", "0.5", "--dry-run", "--report"])
        .arg(&report);
    let done = run.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let warnings = json(&report)["warnings"].clone();
    let text = warnings[0].as_str().expect("a warning");
    assert!(text.contains("smaller losses do not show"), "{warnings}");
    assert_eq!(
        said.matches("smaller losses do not show").count(),
        1,
        "{said}"
    );
}

#[test]
fn a_dry_run_of_masks_says_what_would_go_and_tries_it() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("o.onnx"), dir.path().join("r.json"));
    let masks = dir.path().join("m.json");
    crate::common::write_masks(&masks, &[("/conv1/Conv", 40, &[0, 1, 2])]);
    let mut c = tool();
    c.args([&network("vgg"), &out])
        .arg("--dry-run")
        .arg("--masks")
        .arg(&masks)
        .arg("--report")
        .arg(&report)
        .assert()
        .success();
    let report = crate::common::json(&report);
    assert_eq!(
        report["totals"]["filters"].as_u64().unwrap() - 3,
        report["totals"]["kept"]
    );
    assert_eq!(report["verification"]["passed"], true);
    assert!(report["plan"]["learning"].is_null() && !out.exists());
}
