//! `inspect`, `eval`, `verify`, and being interrupted.

mod common;

use common::{fixture, network, tool};
use onnx_bnnprune::onnx::{Model, Tensor, save};

#[test]
fn inspect_lists_layers_binarisers_and_groups() {
    let of = |name: &str| -> serde_json::Value {
        let out = tool()
            .arg("inspect")
            .arg(network(name))
            .arg("--json")
            .output();
        serde_json::from_slice(&out.unwrap().stdout).unwrap()
    };
    let resnet = of("resnet");
    let group = |layer: &str| {
        let groups = resnet["groups"].as_array().unwrap().iter();
        let mut with = groups.filter(|g| g["layers"].as_array().unwrap().contains(&layer.into()));
        with.next().unwrap()["id"].as_u64().unwrap()
    };
    // Both ends of a shortcut are one stream; the inner convolution stands alone.
    assert_eq!(group("/stem/conv/Conv"), group("/block1/conv2/Conv"));
    assert_ne!(group("/block1/conv1/Conv"), group("/block1/conv2/Conv"));
    let folded = of("folded");
    let layers = folded["layers"].as_array().unwrap();
    let seen: Vec<(&str, i64)> = layers
        .iter()
        .filter(|l| l["binary"] == true)
        .map(|l| {
            (
                l["binarizer"].as_str().unwrap(),
                l["zero"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("clip-sign", 0), ("where-ge", 1), ("cast-ge", 1)]);
    for l in layers {
        for key in [
            "name", "op", "filters", "inputs", "kernel", "weights", "group",
        ] {
            assert!(!l[key].is_null(), "{key} of {l}");
        }
        assert!(l["prunable"] == true || l["reason"].is_string(), "{l}");
    }
    let vgg = of("vgg");
    assert_eq!(vgg["opset"], 17);
    assert_eq!(vgg["layers"][1]["weights"], "latent (mean |W|)");
    assert_eq!(vgg["layers"][1]["scale"], "per-filter");
}

#[test]
fn eval_measures_what_the_fixture_was_measured_at() {
    let out = tool()
        .arg("eval")
        .arg(network("vgg"))
        .arg("--data")
        .arg(fixture("digits_test.npz"))
        .arg("--json")
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["samples"], 450);
    // fixtures/README.md: 98.89 %.
    assert!((found["accuracy"].as_f64().unwrap() - 0.9889).abs() < 0.003);
    assert!(found["latency_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn verify_accepts_the_same_and_refuses_another_function() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.onnx");
    let mut model = Model::load(&network("vgg")).unwrap().proto;
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let bias = tensors
        .iter_mut()
        .find(|t| t.name().contains("classifier.bias"))
        .unwrap();
    let Tensor::F32(mut values) = Tensor::from_proto(bias).unwrap() else {
        panic!("the bias is f32");
    };
    values[[3]] += 0.01;
    *bias = Tensor::F32(values).to_proto(bias.name());
    save(&model, &wrong).unwrap();
    for data in [None, Some(fixture("digits_test.npz"))] {
        let verify = |candidate: &std::path::Path| {
            let mut c = tool();
            c.arg("verify").arg(network("vgg")).arg(candidate);
            if let Some(data) = &data {
                c.arg("--data").arg(data);
            }
            c.assert()
        };
        verify(&network("vgg")).code(0);
        verify(&wrong).code(1);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("o.onnx");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("onnx-bnnprune"));
    let child = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg(network("vgg"))
        .arg(&out)
        .arg("--data")
        .arg(fixture("digits_train.npz"))
        // Hours, if nobody stops it.
        .args(["--mask-epochs", "100000"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let done = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
