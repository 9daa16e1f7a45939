//! Files with one bit a weight.

use super::*;

#[test]
fn packed_networks_are_small_and_compute_the_same_to_the_bit_at_all_levels() {
    let dir = tempfile::tempdir().unwrap();
    for name in NETWORKS {
        let (out, report) = (dir.path().join(name), dir.path().join("report.json"));
        let mut c = tool();
        c.arg("convert").arg(network(name)).arg(&out);
        c.args(["--to", "packed", "-q", "--report"]).arg(&report);
        c.assert().success();
        same(&network(name), &out);
        let report = json(&report);
        assert_eq!(report["verification"]["passed"], true);
        assert_eq!(report["verification"]["max_abs_diff"], 0.0);
        for level in ["basic", "all"] {
            assert_eq!(report["form"]["max_abs_diff"][level], 0.0, "{name} {level}");
        }
        assert!(report["form"]["max_abs_diff"]["off"].as_f64().unwrap() < 1e-5);
        let layers = report["layers"].as_array().unwrap();
        let binary: Vec<&str> = layers
            .iter()
            .filter(|l| l["binary"] == true)
            .map(|l| l["name"].as_str().unwrap())
            .collect();
        let listed = report["form"]["layers"].as_array().unwrap();
        assert!(
            binary.iter().all(|b| listed.iter().any(|l| l == b)),
            "{name}"
        );
        // What is left says why.
        assert!(
            report["form"]["left"]["/stem/conv/Conv"].is_string(),
            "{report}"
        );
        // A thirty-second and the scales, plus what is no binary weight.
        let sum = |key: &str| -> u64 {
            let of = layers.iter().filter(|l| l["binary"] == true);
            of.map(|l| l[key].as_u64().unwrap()).sum()
        };
        assert!(sum("bytes_after") * 20 < sum("bytes_before"), "{name}");
        let [before, after] =
            [network(name), out.clone()].map(|p| std::fs::metadata(p).unwrap().len());
        assert!(after * 6 < before, "{name}: {before} {after}");
        let model = proto(&out);
        assert!(model.doc_string().contains("one bit each"), "{name}");
        let bytes = initializers(&model).iter();
        let bytes = bytes.filter(|t| t.data_type() == DataType::U8.to_onnx());
        assert_eq!(bytes.count(), listed.len());
    }
}

#[test]
fn what_was_packed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (small, back) = (packed(dir.path(), "folded"), dir.path().join("back.onnx"));
    convert(&small, &back, "onnx");
    assert_eq!(weights(&back), weights(&network("folded")));
    same(&back, &network("folded"));
    let (original, back) = (proto(&network("folded")), proto(&back));
    // Under their own names, where the file held them as they are read.
    for name in ["onnx::Conv_58", "onnx::Conv_61", "dense3.weight"] {
        assert_eq!(named(&original, name), named(&back, name), "{name}");
        assert!(named(&original, name).is_some());
    }
    assert_eq!(back.doc_string(), original.doc_string());
}

#[test]
fn inspect_reads_a_packed_file_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let of = |path: &Path| -> serde_json::Value {
        let out = tool()
            .arg("inspect")
            .arg(path)
            .arg("--json")
            .output()
            .unwrap();
        serde_json::from_slice(&out.stdout).unwrap()
    };
    for name in ["folded", "resnet"] {
        let (float, small) = (of(&network(name)), of(&packed(dir.path(), name)));
        let layers = |v: &serde_json::Value| v["layers"].as_array().unwrap().clone();
        assert_eq!(layers(&float).len(), layers(&small).len());
        for (a, b) in layers(&float).iter().zip(&layers(&small)) {
            for key in [
                "name",
                "binary",
                "filters",
                "inputs",
                "scale",
                "binarizer",
                "prunable",
                "macs",
                "bits",
            ] {
                assert_eq!(a[key], b[key], "{name} {key}");
            }
            if a["binary"] == true {
                assert_eq!(b["weights"], "constant");
                assert!(b["stored_bytes"].as_u64() < a["stored_bytes"].as_u64());
            }
        }
        assert_eq!(float["groups"], small["groups"]);
        assert_eq!(
            float["dialect"], small["dialect"],
            "the exporter is still known"
        );
    }
}

#[test]
fn a_packed_file_is_pruned_like_the_float_one_and_stays_packed() {
    let dir = tempfile::tempdir().unwrap();
    let small = packed(dir.path(), "folded");
    let run = |model: &Path, out: &str| {
        let (out, report) = (dir.path().join(out), dir.path().join("r.json"));
        let mut c = quick_rule(model, &out);
        c.args(["--method", "magnitude", "--ratio", "0.3", "-q", "--report"]);
        c.arg(&report).assert().success();
        (out, json(&report))
    };
    let (float, of_float) = run(&network("folded"), "float.onnx");
    let (small, of_small) = run(&small, "small.onnx");
    assert!(of_float["totals"]["kept"].as_u64() < of_float["totals"]["filters"].as_u64());
    for (a, b) in of_float["layers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(of_small["layers"].as_array().unwrap())
    {
        assert_eq!((&a["name"], &a["pruned"]), (&b["name"], &b["pruned"]));
    }
    assert_eq!(of_small["form"]["name"], "packed");
    assert!(of_float["form"].is_null());
    same(&float, &small);
    let bytes = initializers(&proto(&small))
        .iter()
        .filter(|t| t.data_type() == DataType::U8.to_onnx())
        .count();
    assert!(bytes > 0, "it is packed again");
    // The same network, however often it is packed and cut.
    let back = dir.path().join("back.onnx");
    convert(&small, &back, "onnx");
    assert_eq!(weights(&float), weights(&back));
    same(&float, &back);
}

#[test]
fn a_packed_file_that_loses_nothing_keeps_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let small = packed(dir.path(), "folded");
    let out = dir.path().join("out.onnx");
    tool()
        .args([&small, &out])
        .args(["--method", "none", "-q"])
        .assert()
        .success();
    assert_eq!(std::fs::read(&small).unwrap(), std::fs::read(&out).unwrap());
    // And the main job packs one that lost something, or nothing, when asked to.
    let direct = dir.path().join("direct.onnx");
    let masks = dir.path().join("m.json");
    write_masks(&masks, &[("/conv2/Conv", 48, &[1, 7, 30])]);
    let mut c = tool();
    c.arg(network("folded"))
        .arg(&direct)
        .arg("--masks")
        .arg(&masks);
    c.args(["--to", "packed", "-q"]).assert().success();
    assert!(std::fs::metadata(&direct).unwrap().len() < std::fs::metadata(&small).unwrap().len());
}

#[test]
fn hostile_packed_files_are_no_reason_to_panic() {
    let dir = tempfile::tempdir().unwrap();
    let good = proto(&packed(dir.path(), "folded"));
    let tensors = initializers(&good).len();
    let nodes = good.graph.as_ref().unwrap().node.len();
    let mut bad: Vec<ModelProto> = Vec::new();
    for k in 0..tensors {
        let name = initializers(&good)[k].name();
        if ![".bits", ".shape", ".scale", ".int8"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            continue;
        }
        for dims in [
            vec![],
            vec![0],
            vec![-1],
            vec![1 << 40, 1 << 40],
            vec![3, 5],
        ] {
            let mut m = good.clone();
            m.graph.as_mut().unwrap().initializer[k].dims = dims;
            bad.push(m);
        }
        let mut m = good.clone();
        let t = &mut m.graph.as_mut().unwrap().initializer[k];
        *t = Tensor::I64(ndarray::arr1(&[1 << 33, i64::MAX]).into_dyn()).to_proto(t.name());
        bad.push(m);
    }
    for k in 0..nodes {
        let node = &good.graph.as_ref().unwrap().node[k];
        if !["Gather", "Cast", "Reshape", "Mul"].contains(&node.op_type()) {
            continue;
        }
        let mut m = good.clone();
        m.graph.as_mut().unwrap().node[k].input.reverse();
        bad.push(m);
    }
    let (path, out) = (dir.path().join("bad.onnx"), dir.path().join("out.onnx"));
    for (k, model) in bad.iter().enumerate() {
        save(model, &path).unwrap();
        let mut inspect = tool();
        inspect.arg("inspect").arg(&path);
        let mut back = tool();
        back.arg("convert")
            .args([&path, &out])
            .args(["--to", "onnx", "-q"]);
        for command in [&mut inspect, &mut back] {
            let done = command.output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(!said.contains("panicked"), "{k}: {said}");
            let code = done.status.code();
            assert!(matches!(code, Some(0..=2)), "{k}: {code:?} {said}");
        }
    }
    assert!(bad.len() > 40);
}

#[test]
fn a_packed_file_is_trained_and_stays_packed() {
    let dir = tempfile::tempdir().unwrap();
    let (small, out) = (packed(dir.path(), "vgg"), dir.path().join("out.onnx"));
    let report = dir.path().join("r.json");
    let mut c = tool();
    c.arg("train").args([&small, &out]).arg("--data");
    c.arg(fixture("digits_train.npz")).arg("--val");
    c.arg(fixture("digits_test.npz"));
    c.args(["--epochs", "1", "--batch-size", "64", "-q", "--report"]);
    c.arg(&report).assert().success();
    assert_eq!(of_bytes(&out), of_bytes(&small));
    assert_eq!(json(&report)["notes"], serde_json::json!([]));
    let (before, after) = (weights(&small), weights(&out));
    assert_eq!(before.len(), after.len());
    assert!(before != after, "it was trained");
}
