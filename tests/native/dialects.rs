//! One small network per row of what exporters write (`fixtures/dialects`, made by
//! `scripts/dialects`): `inspect` says what is expected, the native network computes what the
//! exporter's own runtime does, masked equals pruned, and a short training run works.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::common::{fixture, json, max_abs_diff, runtime, tool};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::engine::Inference;
use onnx_bnnprune::network::Network;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, to_bytes};
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::qonnx;
use onnx_bnnprune::rewrite::to_inference_mode;
use onnx_bnnprune::verify::{BatchedSession, Runtime as _, SessionOptions};
use rayon::prelude::*;
use serde_json::Value;

/// Models whose weights or inputs make no binary layer.
const DECLINED: [&str; 6] = [
    "relu_sign",
    "round_01",
    "ternary",
    "two_bits",
    "box",
    "ternary_weights",
];

fn models() -> Vec<PathBuf> {
    let folder = fixture("dialects");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    found.sort();
    assert!(found.len() > 60, "{} fixtures", found.len());
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn expectation(path: &Path) -> Value {
    json(&path.with_extension("json"))["expect"].take()
}

/// Whether a model has binary layers that can be pruned and trained.
fn is_declined(path: &Path) -> bool {
    let name = name(path);
    let expect = expectation(path);
    DECLINED.contains(&name.split('.').next().unwrap())
        || expect["binary"] == 0
        || expect.get("no_training").is_some()
        || expect.get("refused").is_some()
}

/// Options without which a model is refused.
fn needed(path: &Path) -> &'static [&'static str] {
    match name(path).ends_with(".train.onnx") {
        true => &["--inference-mode"],
        false => &[],
    }
}

/// A model, in inference mode.
fn load(path: &Path) -> Result<ModelProto, String> {
    let model = Model::load(path).map_err(|e| e.to_string())?.proto;
    match needed(path) {
        [] => Ok(model),
        _ => Ok(to_inference_mode(&model).map_err(|e| e.to_string())?.0),
    }
}

/// Runs `check` on every model, several at a time, and reports all that fail at once.
fn each(models: &[PathBuf], check: impl Fn(&Path) -> Result<(), String> + Sync) {
    let failed: Vec<String> = models
        .par_iter()
        .filter_map(|p| check(p).err().map(|e| format!("{}: {e}", name(p))))
        .collect();
    let count = models.len();
    assert!(
        failed.is_empty(),
        "{} of {count} fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn inspected(path: &Path) -> Result<Value, String> {
    let out = tool().arg("inspect").arg(path).arg("--json").output();
    let out = out.map_err(|e| e.to_string())?;
    serde_json::from_slice(&out.stdout)
        .map_err(|_| String::from_utf8_lossy(&out.stderr).into_owned())
}

fn equal(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} is {found}, expected {expected}")),
    }
}

fn floats(v: &Value) -> Vec<f32> {
    let all = v.as_array().unwrap().iter();
    all.map(|x| x.as_f64().unwrap() as f32).collect()
}

/// The golden input and output beside a model.
fn golden(path: &Path) -> (ArrayD<f32>, Vec<f32>) {
    let golden = &json(&path.with_extension("json"))["golden"];
    let shape: Vec<usize> = floats(&golden["shape"])
        .iter()
        .map(|&d| d as usize)
        .collect();
    let x = ArrayD::from_shape_vec(IxDyn(&shape), floats(&golden["input"])).unwrap();
    (x, floats(&golden["output"]))
}

#[test]
fn inspect_says_what_is_expected() {
    each(&models(), |path| {
        let expect = expectation(path);
        let found = inspected(path)?;
        if let Some(dialect) = expect.get("dialect") {
            equal("dialect", &found["dialect"], dialect)?;
        }
        let layers = found["layers"].as_array().unwrap();
        let binary: Vec<&Value> = layers.iter().filter(|l| l["binary"] == true).collect();
        equal("binary layers", &binary.len().into(), &expect["binary"])?;
        for (i, l) in binary.iter().enumerate() {
            equal("binarizer", &l["binarizer"], &expect["binarizer"])?;
            equal("zero", &l["zero"], &expect["zero"])?;
            let scale = match expect["scale"].as_array() {
                Some(list) => &list[i],
                None => &expect["scale"],
            };
            let folded = expect["scale_or_folded"] == true && l["scale"] == "folded";
            if !folded {
                equal("scale", &l["scale"], scale)?;
            }
            if let Some(padding) = expect["padding"].as_array() {
                equal("padding", &l["padding"], &padding[i])?;
            }
            let prunable = expect.get("prunable").cloned().unwrap_or(true.into());
            equal("prunable", &l["prunable"], &prunable)?;
        }
        if let Some(reason) = expect["declined"].as_str() {
            let says = |l: &Value| l["reason"].as_str().is_some_and(|r| r.contains(reason));
            if !layers.iter().any(says) {
                return Err(format!("no layer's reason names '{reason}': {layers:?}"));
            }
        }
        let groups = found["groups"].as_array().unwrap().iter();
        let coupled = groups.filter(|g| g["layers"].as_array().unwrap().len() > 1);
        if let Some(expected) = expect.get("coupled") {
            equal("coupled groups", &coupled.count().into(), expected)?;
        }
        Ok(())
    });
}

#[test]
fn the_native_network_and_the_runtime_give_the_golden_output() {
    let runtime = runtime();
    each(&models(), |path| {
        if expectation(path).get("refused").is_some() {
            return Ok(());
        }
        let (x, y) = golden(path);
        let model = load(path)?;
        let lowered = qonnx::lower(&model).map_err(|e| e.to_string())?;
        let session = runtime.load(&to_bytes(&lowered.model), &SessionOptions::default());
        let mut session = BatchedSession::new(session.map_err(|e| e.to_string())?);
        let input = session.inputs()[0].name.clone();
        let ort = session
            .run(&[(input, x.clone())])
            .map_err(|e| e.to_string())?;
        let expected = ArrayD::from_shape_vec(ort[0].1.shape(), y).unwrap();
        let diff = max_abs_diff(&ort[0].1, &expected);
        if diff > 1e-4 {
            return Err(format!("ONNX Runtime differs by {diff}"));
        }
        if expectation(path).get("no_training").is_some() {
            return Ok(());
        }
        let view = View::new(path, &model).map_err(|e| e.to_string())?;
        let native = Network::import(&view.graph, &view.facts, &view.layers);
        let native = native.map_err(|e| e.to_string())?;
        let found = Inference::of(&native)
            .infer_output(x)
            .map_err(|e| e.to_string())?;
        let diff = max_abs_diff(&found, &expected);
        match diff <= 1e-4 {
            true => Ok(()),
            false => Err(format!("the native network differs by {diff}")),
        }
    });
}

/// Every second binary filter masked, in both meanings: the tool verifies masked against pruned.
#[test]
fn masked_equals_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let models: Vec<_> = models().into_iter().filter(|p| !is_declined(p)).collect();
    each(&models, |path| {
        let found = inspected(path)?;
        let mut layers = serde_json::Map::new();
        for l in found["layers"].as_array().unwrap() {
            if l["binary"] == true {
                let filters = l["filters"].as_u64().unwrap();
                let pruned: Vec<u64> = (0..filters).step_by(2).collect();
                let entry = serde_json::json!({"filters": filters, "pruned": pruned});
                layers.insert(l["name"].as_str().unwrap().to_owned(), entry);
            }
        }
        let own = |what: &str| dir.path().join(format!("{}.{what}", name(path)));
        let (masks, out) = (own("masks.json"), own("out.onnx"));
        let file = serde_json::json!({"format": "onnx-bnnprune-masks/1", "layers": layers});
        std::fs::write(&masks, file.to_string()).unwrap();
        for removal in ["drop", "fold"] {
            let done = tool()
                .arg(path)
                .arg(&out)
                .arg("--masks")
                .arg(&masks)
                .args(["--removal", removal, "--quiet"])
                .args(needed(path))
                .output()
                .unwrap();
            if !done.status.success() {
                let text = [done.stdout, done.stderr].concat();
                return Err(format!("{removal}: {}", String::from_utf8_lossy(&text)));
            }
        }
        Ok(())
    });
}

/// Forty random images without labels, an epoch each: the original's outputs are the teacher.
#[test]
fn a_short_training_run_works() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("x.npz");
    let x = ArrayD::from_shape_fn(IxDyn(&[40, 8, 8, 3]), |i| {
        ((i[0] * 37 + i[1] * 11 + i[2] * 5 + i[3] * 91) * 2_654_435_761 % 251) as u8
    });
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&data).unwrap());
    npz.add_array("x", &x).unwrap();
    npz.finish().unwrap();
    let models: Vec<_> = models().into_iter().filter(|p| !is_declined(p)).collect();
    each(&models, |path| {
        let done = tool()
            .arg(path)
            .arg(dir.path().join(format!("{}.out.onnx", name(path))))
            .arg("--data")
            .arg(&data)
            .args([
                "--mask-epochs",
                "1",
                "--main-epochs",
                "1",
                "--final-epochs",
                "1",
            ])
            .args(["--batch-size", "10", "--max-drop", "none", "--quiet"])
            .args(needed(path))
            .output()
            .unwrap();
        match done.status.success() {
            true => Ok(()),
            false => {
                let text = [done.stdout, done.stderr].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                Err(text.lines().last().unwrap_or_default().to_owned())
            }
        }
    });
}

/// What cannot be worked on is refused in one line that names it.
#[test]
fn refusals_name_the_operator() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("x.npz");
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&data).unwrap());
    let x = ArrayD::<u8>::zeros(IxDyn(&[20, 8, 8, 3]));
    npz.add_array("x", &x).unwrap();
    npz.finish().unwrap();
    let refused = |path: &Path, options: &[&OsStr], word: &str| {
        let mut c = tool();
        c.arg(path).arg(dir.path().join("out.onnx")).args(options);
        let done = c.output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        let says = text.lines().any(|l| l.contains(word));
        match done.status.code() == Some(2) && says {
            true => Ok(()),
            false => Err(format!("expected a refusal that names '{word}': {text}")),
        }
    };
    each(&models(), |path| {
        let expect = expectation(path);
        if let Some(word) = expect["refused"].as_str() {
            refused(path, &[], word)?;
        }
        if let Some(word) = expect["no_training"].as_str() {
            refused(path, &[OsStr::new("--data"), data.as_os_str()], word)?;
        }
        if !needed(path).is_empty() {
            refused(path, &[], "--inference-mode")?;
        }
        Ok(())
    });
}

/// A fused operator of ONNX Runtime stays as it is, and `inspect` names it.
#[test]
fn fused_operators_are_left_alone_and_named() {
    let path = fixture("dialects/stem_relu.extended.onnx");
    let warnings = inspected(&path).unwrap()["warnings"].to_string();
    assert!(warnings.contains("com.microsoft.FusedConv"), "{warnings}");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.onnx");
    tool().arg(&path).arg(&out).assert().success();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&path).unwrap());
}

/// `--to onnx` writes what ONNX Runtime loads; without it a QONNX file stays one, in which whole
/// layers are BipolarQuant again.
#[test]
fn qonnx_stays_qonnx_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture("dialects/brevitas_per_filter.clean.onnx");
    let name = inspected(&path).unwrap()["layers"][1]["name"].clone();
    let masks = dir.path().join("masks.json");
    crate::common::write_masks(&masks, &[(name.as_str().unwrap(), 8, &[0, 3, 5])]);
    let domains = |file: &Path| -> Vec<String> {
        let model = Model::load(file).unwrap().proto;
        let nodes = model.graph.unwrap().node;
        nodes.iter().map(|n| n.domain().to_owned()).collect()
    };
    let (kept, lowered) = (dir.path().join("q.onnx"), dir.path().join("o.onnx"));
    let run = |out: &Path, more: &[&str]| {
        let mut c = tool();
        c.arg(&path).arg(out).arg("--masks").arg(&masks).args(more);
        let done = c.output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    run(&kept, &[]);
    run(&lowered, &["--to", "onnx"]);
    assert!(domains(&kept).iter().any(|d| d.contains("qonnx")));
    assert!(domains(&lowered).iter().all(String::is_empty));
    let layers = inspected(&kept).unwrap()["layers"].clone();
    assert_eq!(layers[1]["filters"], 5);
    assert_eq!(layers[1]["binary"], true);
    let model = Model::load(&lowered).unwrap();
    let session = runtime().load(&to_bytes(&model.proto), &SessionOptions::default());
    assert!(session.is_ok());
    tool()
        .arg("verify")
        .arg(&kept)
        .arg(&lowered)
        .assert()
        .success();
}

/// What the integer form changes are ties at most: the tool itself fails on anything else.
#[test]
fn the_integer_form_of_every_dialect() {
    let models: Vec<PathBuf> = models().into_iter().filter(|p| !is_declined(p)).collect();
    each(&models, |path| {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let report = dir.path().join("r.json");
        let to_standard: &[&str] = match qonnx::is_qonnx(&load(path)?) {
            true => &["--to", "onnx"],
            false => &[],
        };
        let done = tool()
            .arg(path)
            .arg(dir.path().join("o.onnx"))
            .args(["--normalise", "--report"])
            .arg(&report)
            .args(to_standard)
            .args(needed(path))
            .output()
            .map_err(|e| e.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let found = &json(&report)["normalised"];
        let count = |key: &str| found[key].as_array().map_or(0, Vec::len);
        let unchanged = found["unchanged"].as_object().unwrap();
        let plain = |why: &Value| {
            let why = why.as_str().unwrap();
            why.contains("±1 already") || why.contains("±a scale")
        };
        if count("thresholds") + count("divided") == 0 && !unchanged.values().all(plain) {
            return Err(format!("{unchanged:?}"));
        }
        Ok(())
    });
}
