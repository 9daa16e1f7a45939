//! What `inspect` says of the input of a layer with ±1 weights: ±1, {0, 1}, or neither.

mod common;
mod graphs;

use common::tool;
use graphs::{Attr, Builder};
use onnx_bnnprune::onnx::save;

/// A Conv with ±1 weights behind what `chain` makes of `x` `[N, 2, 4, 4]`, as `inspect` lists it.
fn inspected(chain: impl Fn(&mut Builder) -> String) -> serde_json::Value {
    let mut b = Builder::new(&[2, 4, 4]);
    let data = chain(&mut b);
    let weight = b.weight(&[2, 2, 1, 1], vec![1.0, -1.0, -1.0, 1.0]);
    let y = b.node("Conv", &[&data, &weight], vec![]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    save(&b.model(&[&y]), &path).unwrap();
    let out = tool().arg("inspect").arg(&path).arg("--json").output();
    let out = out.unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    found["layers"][0].clone()
}

/// `Sign` behind a chain of operators without attributes.
fn sign_behind(ops: &[&str]) -> serde_json::Value {
    inspected(|b| {
        let end = ops
            .iter()
            .fold("x".to_owned(), |t, op| b.node(op, &[&t], vec![]));
        b.node("Sign", &[&end], vec![])
    })
}

/// `Clip → Sign` with those bounds.
fn sign_of_clip(min: f32, max: f32) -> serde_json::Value {
    inspected(|b| {
        let (min, max) = (b.weight(&[], vec![min]), b.weight(&[], vec![max]));
        let clip = b.node("Clip", &["x", &min, &max], vec![]);
        b.node("Sign", &[&clip], vec![])
    })
}

fn assert_zero_one(layer: &serde_json::Value, what: &str) {
    assert_eq!(layer["binary"], false, "{what}: {layer}");
    assert_eq!(layer["binarizer"], "01", "{what}");
    assert!(
        layer["reason"].as_str().unwrap().contains("{0, 1}"),
        "{what}: {layer}"
    );
}

fn assert_signed(layer: &serde_json::Value, kind: &str) {
    assert_eq!(layer["binary"], true, "{layer}");
    assert_eq!(layer["binarizer"], kind, "{layer}");
}

#[test]
fn sign_of_what_is_never_negative_gives_zero_and_one() {
    for op in [
        "Relu",
        "Sigmoid",
        "HardSigmoid",
        "Softmax",
        "Abs",
        "Exp",
        "Sqrt",
        "Softplus",
    ] {
        assert_zero_one(&sign_behind(&[op]), op);
        assert_zero_one(&sign_behind(&[op, "Identity", "Dropout"]), op);
        // What changes the sign again gives ±1 again, as far as we know.
        assert_signed(&sign_behind(&[op, "Neg"]), "sign");
    }
    assert_signed(&sign_behind(&[]), "sign");
    assert_signed(&sign_behind(&["Tanh"]), "sign");
    assert_signed(&sign_behind(&["Dropout", "Identity"]), "sign");
}

#[test]
fn the_bounds_of_a_clip_decide() {
    assert_zero_one(&sign_of_clip(0.0, 1.0), "0..1");
    assert_zero_one(&sign_of_clip(0.5, 1.0), "0.5..1");
    assert_signed(&sign_of_clip(-1.0, 1.0), "clip-sign");
    // Crossed bounds: all is the upper one.
    assert_signed(&sign_of_clip(0.0, -1.0), "clip-sign");
}

#[test]
fn pooling_reshaping_and_sums_keep_it() {
    let layer = inspected(|b| {
        let relu = b.node("Relu", &["x"], vec![]);
        let window = vec![
            ("kernel_shape", Attr::Ints(vec![2, 2])),
            ("strides", Attr::Ints(vec![2, 2])),
        ];
        let pool = b.node("MaxPool", &[&relu], window);
        let shape = b.ints(&[-1, 2, 2, 2]);
        let reshaped = b.node("Reshape", &[&pool, &shape], vec![]);
        let sum = b.node("Add", &[&reshaped, &pool], vec![]);
        let sign = b.node("Sign", &[&sum], vec![]);
        // And behind the Sign.
        b.node("Identity", &[&sign], vec![])
    });
    assert_zero_one(&layer, "Relu, MaxPool, Reshape, Add");
    let shifted = inspected(|b| {
        let relu = b.node("Relu", &["x"], vec![]);
        let shift = b.weight(&[1], vec![-0.5]);
        let sum = b.node("Add", &[&relu, &shift], vec![]);
        b.node("Sign", &[&sum], vec![])
    });
    assert_signed(&shifted, "sign");
}
