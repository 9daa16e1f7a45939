//! Binary layers whose weights are the left operand of a MatMul: `torch.matmul(weight, x)`.

use std::path::Path;

use onnx_bnnprune::onnx::proto::ModelProto;

use crate::common::{few_digits, fixture, json, quick, tool, write_trained};
use crate::graphs::{Attr, Builder};

/// Numbers of both signs that look drawn.
fn numbers(count: usize, turn: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * turn).sin() + 0.05 * (i as f32 * 3.1).cos())
        .collect()
}

/// Digits as eight signals of eight, a float layer, and two binary ones of 24 and 16 filters.
fn network() -> ModelProto {
    let mut b = Builder::new(&[1, 8, 8]);
    let rows = b.ints(&[0, 8, 8]);
    let mut at = b.node("Reshape", &["x", &rows], vec![]);
    let mut inputs = 8;
    for (i, filters) in [20, 24, 16].into_iter().enumerate() {
        let values = numbers(filters * inputs, 0.7 + 0.1 * i as f32);
        let signs = values.iter().map(|v| v.signum()).collect();
        let weight = match i {
            0 => b.weight(&[20, 8], values),
            _ => b.weight(&[filters, inputs], signs),
        };
        let sums = b.node("MatMul", &[&weight, &at], vec![]);
        let c = [filters];
        let norm = [
            b.weight(&c, vec![1.0; filters]),
            b.weight(&c, numbers(filters, 1.3)),
            b.weight(&c, numbers(filters, 2.1)),
            b.weight(&c, vec![inputs as f32; filters]),
        ];
        let [gamma, beta, mean, variance] = &norm;
        let inputs_of = [&sums, gamma, beta, mean, variance].map(String::as_str);
        let normed = b.node("BatchNormalization", &inputs_of, vec![]);
        at = match i {
            2 => normed,
            _ => b.node("Sign", &[&normed], vec![]),
        };
        inputs = filters;
    }
    let flat = b.node("Flatten", &[&at], vec![]);
    let values = numbers(1280, 0.37).iter().map(|v| 0.05 * v).collect();
    let head = b.weight(&[10, 128], values);
    let y = b.node("Gemm", &[&flat, &head], vec![("transB", Attr::Int(1))]);
    b.model(&[&y])
}

fn inspected(path: &Path) -> serde_json::Value {
    let out = tool().arg("inspect").arg(path).arg("--json").output();
    serde_json::from_slice(&out.unwrap().stdout).unwrap()
}

/// How many filters each MatMul has, and whether it is binary.
fn filters(found: &serde_json::Value) -> Vec<(u64, bool)> {
    let layers = found["layers"].as_array().unwrap().iter();
    let products = layers.filter(|l| l["op"] == "MatMul");
    let one = |l: &serde_json::Value| (l["filters"].as_u64().unwrap(), l["binary"] == true);
    products.map(one).collect()
}

#[test]
fn they_are_binary_layers_that_learn_and_lose_filters() {
    let dir = tempfile::tempdir().unwrap();
    let [path, out, report] = ["m.onnx", "o.onnx", "r.json"].map(|n| dir.path().join(n));
    write_trained(&network(), &path);
    let before = inspected(&path);
    assert_eq!(filters(&before), [(20, false), (24, true), (16, true)]);
    quick(&path, &out)
        .args(["--ratio=0.3", "--report"])
        .arg(&report)
        .assert()
        .success();
    let report = json(&report);
    assert_eq!(report["verification"]["passed"], true, "{report}");
    let after = filters(&inspected(&out));
    // 30 % of all binary filters, and no float one.
    assert_eq!(after[0], (20, false));
    assert!(after[1..].iter().all(|&(_, binary)| binary), "{after:?}");
    assert_eq!(after[1].0 + after[2].0, 28, "{after:?}");
}

#[test]
fn what_is_pruned_or_converted_computes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let [path, out] = ["m.onnx", "o.onnx"].map(|n| dir.path().join(n));
    write_trained(&network(), &path);
    for form in ["packed", "integer"] {
        let mut c = tool();
        c.arg("convert").arg(&path).arg(&out).args(["--to", form]);
        c.assert().success();
    }
    for removal in ["drop", "fold"] {
        let mut c = tool();
        c.arg(&path)
            .arg(&out)
            .args(["--method", "random", "--ratio=0.3"]);
        c.args(["--removal", removal, "--max-drop", "none"]);
        c.args(["--data"]).arg(fixture("digits_test.npz"));
        c.args(["--val"]).arg(few_digits());
        c.args(["--main-epochs", "0", "--final-epochs", "0"]);
        c.assert().success();
        assert_eq!(filters(&inspected(&out))[1..], [(17, true), (11, true)]);
    }
}

/// A pruned QONNX file has its weights in `BipolarQuant` again, on the side where they were.
#[test]
fn qonnx_stays_qonnx() {
    let dir = tempfile::tempdir().unwrap();
    let [path, qonnx, out] = ["m.onnx", "q.onnx", "o.onnx"].map(|n| dir.path().join(n));
    write_trained(&network(), &path);
    let mut c = tool();
    c.arg("convert")
        .arg(&path)
        .arg(&qonnx)
        .args(["--to", "qonnx"]);
    c.assert().success();
    let text = quick(&qonnx, &out).arg("--ratio=0.3").assert().success();
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    assert!(text.contains("verification        passed"), "{text}");
    let found = inspected(&out);
    let layers = found["layers"].as_array().unwrap().iter();
    let kept: u64 = layers
        .filter(|l| l["binary"] == true)
        .map(|l| l["filters"].as_u64().unwrap())
        .sum();
    assert_eq!(kept, 28, "{found}");
}
