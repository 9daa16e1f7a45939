//! Pairs of models for the judge: a small binary network, what may stand between its layers, and
//! `verify` on two of them.
#![allow(dead_code)] // each test file uses a part of it

pub mod behind;

use std::path::Path;

use crate::common::tool;
use crate::graphs::{Attr, Builder};
use ndarray::{Array4, ArrayD, Axis};
use ndarray_rand::rand::rngs::StdRng;
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::save;
use serde_json::Value;

pub const STEM: usize = 8;
pub const WIDE: usize = 24;
pub const CLASSES: usize = 10;
pub const SIDE: usize = 6;

/// x [N, 3, 6, 6] → stem → Sign → binary → middle → Sign → binary → Sign → Flatten → Gemm.
#[derive(Clone)]
pub struct Net {
    /// It does not read the third channel of the input.
    pub stem: ArrayD<f32>,
    pub w1: ArrayD<f32>,
    pub w2: ArrayD<f32>,
    pub last: ArrayD<f32>,
    pub bias: ArrayD<f32>,
    /// Factors of the input's channels.
    pub factors: [f32; 3],
    /// What names begin with.
    pub prefix: &'static str,
}

pub type Part = fn(&mut Builder, String) -> String;

/// What stands between the layers.
#[derive(Clone, Copy)]
pub struct Parts {
    /// In front of the stem.
    pub before: Part,
    /// Behind the first binary layer.
    pub early: Part,
    /// In front of the second Sign.
    pub middle: Part,
    /// The second Sign.
    pub sign: Part,
    /// In front of the third Sign.
    pub late: Part,
    /// Behind the output layer.
    pub after: Part,
}

pub fn nothing(_: &mut Builder, x: String) -> String {
    x
}

pub fn sign(b: &mut Builder, x: String) -> String {
    b.node("Sign", &[&x], vec![])
}

pub fn with(b: &mut Builder, op: &str, x: &str, value: f32) -> String {
    let value = b.weight(&[], vec![value]);
    b.node(op, &[x, &value], vec![])
}

pub const PLAIN: Parts = Parts {
    before: nothing,
    early: nothing,
    middle: nothing,
    sign,
    late: nothing,
    after: nothing,
};

impl Net {
    /// Weights of ±`scale` in binary layers: with 1, their sums are integers; with 0.1, rounding
    /// decides the sign of those that are 0 on paper.
    pub fn new(scale: f32) -> Self {
        let mut rng = StdRng::seed_from_u64(5);
        let mut random = |shape: &[usize]| {
            ArrayD::from_shape_simple_fn(shape.to_vec(), || rng.random_range(-1.0..1.0f32))
        };
        let mut stem = random(&[STEM, 3, 3, 3]);
        stem.index_axis_mut(Axis(1), 2).fill(0.0);
        let signs = |w: ArrayD<f32>| w.mapv(|w| w.signum() * scale);
        Self {
            stem,
            w1: signs(random(&[WIDE, STEM, 3, 3])),
            w2: signs(random(&[16, WIDE, 3, 3])),
            last: random(&[16 * SIDE * SIDE, CLASSES]),
            bias: random(&[CLASSES]),
            factors: [1.0; 3],
            prefix: "",
        }
    }

    pub fn model(&self, parts: Parts) -> ModelProto {
        let mut b = Builder::new(&[3, SIDE as i64, SIDE as i64]);
        let weight =
            |b: &mut Builder, w: &ArrayD<f32>| b.weight(w.shape(), w.iter().copied().collect());
        let conv = |b: &mut Builder, x: &str, w: &ArrayD<f32>| {
            let w = weight(b, w);
            b.node("Conv", &[x, &w], vec![("pads", Attr::Ints(vec![1; 4]))])
        };
        let mut x = "x".to_owned();
        if self.factors != [1.0; 3] {
            let factors = b.weight(&[3, 1, 1], self.factors.to_vec());
            x = b.node("Mul", &["x", &factors], vec![]);
        }
        let x = (parts.before)(&mut b, x);
        let t = conv(&mut b, &x, &self.stem);
        let t = sign(&mut b, t);
        let t = conv(&mut b, &t, &self.w1);
        let t = (parts.early)(&mut b, t);
        let t = (parts.middle)(&mut b, t);
        let t = (parts.sign)(&mut b, t);
        let t = conv(&mut b, &t, &self.w2);
        let t = (parts.late)(&mut b, t);
        let t = sign(&mut b, t);
        let t = b.node("Flatten", &[&t], vec![]);
        let (last, bias) = (weight(&mut b, &self.last), weight(&mut b, &self.bias));
        let t = b.node("Gemm", &[&t, &last, &bias], vec![]);
        let t = (parts.after)(&mut b, t);
        b.node("Identity", &[&t], vec![]);
        let node = b.graph.node.last_mut().unwrap();
        node.output = vec!["logits".to_owned()];
        if !self.prefix.is_empty() {
            rename(&mut b, self.prefix);
        }
        b.model(&["logits"])
    }

    /// Some filters of the first binary layer, in this order.
    pub fn select(&self, filters: &[usize]) -> Self {
        Self {
            w1: self.w1.select(Axis(0), filters),
            w2: self.w2.select(Axis(1), filters),
            ..self.clone()
        }
    }
}

/// Calls every tensor but input and output something else.
pub fn rename(b: &mut Builder, prefix: &str) {
    for node in &mut b.graph.node {
        node.name = None;
        for name in node.input.iter_mut().chain(&mut node.output) {
            let kept = ["x", "logits"].contains(&name.as_str()) || name.starts_with('c');
            if !kept || name.starts_with("conv") {
                *name = format!("{prefix}{name}");
            }
        }
    }
}

pub fn random_samples(count: usize) -> Array4<f32> {
    let mut rng = StdRng::seed_from_u64(8);
    Array4::from_shape_simple_fn((count, 3, SIDE, SIDE), || rng.random_range(-1.0..1.0f32))
}

pub fn save_samples(path: &Path, x: &Array4<f32>) {
    let file = std::fs::File::create(path).unwrap();
    let mut npz = ndarray_npy::NpzWriter::new(std::io::BufWriter::new(file));
    npz.add_array("x", x).unwrap();
    npz.finish().unwrap();
}

/// What models are compared on.
pub enum On<'a> {
    /// 64 samples, which takes less time than the tool's own.
    Few,
    /// The tool's own random ones: for models whose classes it cannot count.
    Own,
    File(&'a Path),
}

/// `verify`: exit code and JSON.
pub fn verify(reference: &ModelProto, candidate: &ModelProto, on: On<'_>) -> (i32, Value) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    save(reference, &at("reference.onnx")).unwrap();
    save(candidate, &at("candidate.onnx")).unwrap();
    let mut c = tool();
    c.arg("verify").arg(at("reference.onnx"));
    c.arg(at("candidate.onnx")).arg("--json");
    match on {
        On::Few => {
            save_samples(&at("data.npz"), &random_samples(64));
            c.arg("--data").arg(at("data.npz"));
        }
        On::Own => {}
        On::File(data) => {
            c.arg("--data").arg(data);
        }
    }
    let done = c.output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let code = done.status.code().unwrap();
    assert!(code == 0 || code == 1, "{code}: {text}");
    (code, serde_json::from_slice(&done.stdout).unwrap())
}

#[track_caller]
pub fn fails(what: &str, reference: &ModelProto, candidate: &ModelProto) -> Value {
    let (code, found) = verify(reference, candidate, On::Few);
    assert_eq!(code, 1, "{what}: {found}");
    assert_eq!(found["passed"], false, "{what}");
    assert!(!found["failures"].as_array().unwrap().is_empty(), "{what}");
    found
}

#[track_caller]
pub fn passes(what: &str, reference: &ModelProto, candidate: &ModelProto) -> Value {
    let (code, found) = verify(reference, candidate, On::Few);
    assert_eq!(code, 0, "{what}: {found}");
    found
}
