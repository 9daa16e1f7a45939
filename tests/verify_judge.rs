//! Pairs made up against the judge: faults dressed as ties all fail, and models that are equal but for
//! rounding pass, whatever their tensors are called and wherever their channels are.

mod common;
mod graphs;

use std::path::Path;

use common::tool;
use graphs::{Attr, Builder};
use ndarray::{Array4, ArrayD, Axis};
use ndarray_rand::rand::rngs::StdRng;
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::save;
use serde_json::Value;

const STEM: usize = 8;
const WIDE: usize = 24;
const CLASSES: usize = 10;
const SIDE: usize = 6;

/// x [N, 3, 6, 6] → stem → Sign → binary → middle → Sign → binary → Sign → Flatten → Gemm.
#[derive(Clone)]
struct Net {
    /// It does not read the third channel of the input.
    stem: ArrayD<f32>,
    w1: ArrayD<f32>,
    w2: ArrayD<f32>,
    last: ArrayD<f32>,
    bias: ArrayD<f32>,
    /// Factors of the input's channels.
    factors: [f32; 3],
    /// What names begin with.
    prefix: &'static str,
}

type Part = fn(&mut Builder, String) -> String;

/// What stands between the layers.
#[derive(Clone, Copy)]
struct Parts {
    /// In front of the stem.
    before: Part,
    /// In front of the second Sign.
    middle: Part,
    /// The second Sign.
    sign: Part,
    /// In front of the third Sign.
    late: Part,
    /// Behind the output layer.
    after: Part,
}

fn nothing(_: &mut Builder, x: String) -> String {
    x
}

fn sign(b: &mut Builder, x: String) -> String {
    b.node("Sign", &[&x], vec![])
}

fn with(b: &mut Builder, op: &str, x: &str, value: f32) -> String {
    let value = b.weight(&[], vec![value]);
    b.node(op, &[x, &value], vec![])
}

const PLAIN: Parts = Parts {
    before: nothing,
    middle: nothing,
    sign,
    late: nothing,
    after: nothing,
};

impl Net {
    /// Weights of ±`scale` in binary layers: with 1, their sums are integers; with 0.1, rounding
    /// decides the sign of those that are 0 on paper.
    fn new(scale: f32) -> Self {
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

    fn model(&self, parts: Parts) -> ModelProto {
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
    fn select(&self, filters: &[usize]) -> Self {
        Self {
            w1: self.w1.select(Axis(0), filters),
            w2: self.w2.select(Axis(1), filters),
            ..self.clone()
        }
    }
}

/// Calls every tensor but input and output something else.
fn rename(b: &mut Builder, prefix: &str) {
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

fn random_samples(count: usize) -> Array4<f32> {
    let mut rng = StdRng::seed_from_u64(8);
    Array4::from_shape_simple_fn((count, 3, SIDE, SIDE), || rng.random_range(-1.0..1.0f32))
}

fn save_samples(path: &Path, x: &Array4<f32>) {
    let file = std::fs::File::create(path).unwrap();
    let mut npz = ndarray_npy::NpzWriter::new(std::io::BufWriter::new(file));
    npz.add_array("x", x).unwrap();
    npz.finish().unwrap();
}

/// What models are compared on.
enum On<'a> {
    /// 64 samples, which takes less time than the tool's own.
    Few,
    /// The tool's own random ones: for models whose classes it cannot count.
    Own,
    File(&'a Path),
}

/// `verify`: exit code and JSON.
fn verify(reference: &ModelProto, candidate: &ModelProto, on: On<'_>) -> (i32, Value) {
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
fn fails(what: &str, reference: &ModelProto, candidate: &ModelProto) -> Value {
    let (code, found) = verify(reference, candidate, On::Few);
    assert_eq!(code, 1, "{what}: {found}");
    assert_eq!(found["passed"], false, "{what}");
    assert!(!found["failures"].as_array().unwrap().is_empty(), "{what}");
    found
}

#[track_caller]
fn passes(what: &str, reference: &ModelProto, candidate: &ModelProto) -> Value {
    let (code, found) = verify(reference, candidate, On::Few);
    assert_eq!(code, 0, "{what}: {found}");
    found
}

#[test]
fn constants_in_front_of_a_sign_are_faults() {
    let exact = Net::new(1.0);
    let shifts: [(&str, Part); 6] = [
        ("1e-6 added", |b, x| with(b, "Add", &x, 1e-6)),
        ("1e-6 taken away", |b, x| with(b, "Sub", &x, 1e-6)),
        ("1e-30 added", |b, x| with(b, "Add", &x, 1e-30)),
        ("1e-3 added", |b, x| with(b, "Add", &x, 1e-3)),
        ("a scale, then 1e-6", |b, x| {
            let x = with(b, "Div", &x, 10.0);
            with(b, "Add", &x, 1e-6)
        }),
        ("1e6 added and taken away", |b, x| {
            let x = with(b, "Add", &x, 1.5e6 + 0.125);
            with(b, "Sub", &x, 1.5e6)
        }),
    ];
    for (what, middle) in shifts {
        let candidate = exact.model(Parts { middle, ..PLAIN });
        let found = fails(what, &exact.model(PLAIN), &candidate);
        assert_eq!(found["ties"], 0, "{what}: {found}");
    }
    // Where rounding decides the sign of 0, but by far less than this.
    let rounded = Net::new(0.1);
    for (what, middle) in &shifts[..2] {
        let candidate = rounded.model(Parts {
            middle: *middle,
            ..PLAIN
        });
        fails(what, &rounded.model(PLAIN), &candidate);
    }
    let one: Part = |b, x| {
        let shift: Vec<f32> = (0..WIDE).map(|c| if c == 7 { 1e-6 } else { 0.0 }).collect();
        let shift = b.weight(&[WIDE, 1, 1], shift);
        b.node("Add", &[&x, &shift], vec![])
    };
    let candidate = rounded.model(Parts {
        middle: one,
        ..PLAIN
    });
    fails("1e-6 in one channel", &rounded.model(PLAIN), &candidate);
}

#[test]
fn other_binarisers_are_faults() {
    let net = Net::new(1.0);
    let compare = |op: &'static str| -> Part {
        match op {
            "Greater" => |b, x| compared(b, "Greater", &x),
            _ => |b, x| compared(b, "GreaterOrEqual", &x),
        }
    };
    fn compared(b: &mut Builder, op: &str, x: &str) -> String {
        let zero = b.weight(&[], vec![0.0]);
        let (one, minus) = (b.weight(&[], vec![1.0]), b.weight(&[], vec![-1.0]));
        let c = b.node(op, &[x, &zero], vec![]);
        b.node("Where", &[&c, &one, &minus], vec![])
    }
    let model = |sign: Part| net.model(Parts { sign, ..PLAIN });
    let found = fails(
        "x ≥ 0, x > 0",
        &model(compare("GreaterOrEqual")),
        &model(compare("Greater")),
    );
    assert_eq!(found["ties"], 0, "{found}");
    fails(
        "Sign, x ≥ 0",
        &model(sign),
        &model(compare("GreaterOrEqual")),
    );
    // Halves, which Round takes to even numbers.
    let rounded: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        b.node("Round", &[&x], vec![])
    };
    let floored: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        let x = with(b, "Add", &x, 0.5);
        b.node("Floor", &[&x], vec![])
    };
    let nudged: Part = |b, x| {
        let x = with(b, "Div", &x, 4.0);
        let x = with(b, "Mul", &x, 1.000_001);
        b.node("Round", &[&x], vec![])
    };
    fails("Round, Floor", &model(rounded), &model(floored));
    fails(
        "a scale of 1 + 1e-6 in front of Round",
        &model(rounded),
        &model(nudged),
    );
}

#[test]
fn what_counts_nothing_hides_nothing() {
    let mut net = Net::new(1.0);
    net.factors[2] = 1e4;
    let mut bad = net.clone();
    bad.stem *= 1.01;
    bad.stem[[0, 0, 1, 1]] += 0.003;
    let ways: [(&str, Part); 4] = [
        ("as it is", nothing),
        ("behind Relu and its like", |b, x| {
            let x = b.node("HardSwish", &[&x], vec![]);
            b.node("LeakyRelu", &[&x], vec![])
        }),
        ("behind a detour over another layout", |b, x| {
            let x = b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))],
            );
            let x = b.node("Identity", &[&x], vec![]);
            b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))],
            )
        }),
        ("behind pooling and concatenation", |b, x| {
            let parts = b.split("Split", &[&x], 3, vec![("axis", Attr::Int(1))]);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let x = b.node("Concat", &parts, vec![("axis", Attr::Int(1))]);
            let kernel = ("kernel_shape", Attr::Ints(vec![3, 3]));
            b.node(
                "AveragePool",
                &[&x],
                vec![kernel, ("pads", Attr::Ints(vec![1; 4]))],
            )
        }),
    ];
    for (what, before) in ways {
        let parts = Parts { before, ..PLAIN };
        fails(what, &net.model(parts), &bad.model(parts));
    }
}

#[test]
fn channels_that_cancel_hide_nothing() {
    // Two channels of 1e4·x whose weights cancel: rounding counts, but not as much as that.
    let doubled: Part = |b, x| {
        let parts = b.split("Split", &[&x], 3, vec![("axis", Attr::Int(1))]);
        let large = with(b, "Mul", &parts[2], 1e4);
        let inputs = [parts[0].as_str(), &large, &large];
        b.node("Concat", &inputs, vec![("axis", Attr::Int(1))])
    };
    let mut net = Net::new(1.0);
    for mut filter in net.stem.outer_iter_mut() {
        let one = filter.index_axis(Axis(0), 1).to_owned();
        filter.index_axis_mut(Axis(0), 2).assign(&-one);
    }
    let mut bad = net.clone();
    let mut read = bad.stem.index_axis_mut(Axis(1), 0);
    read *= 1.05;
    read += 0.02;
    let parts = Parts {
        before: doubled,
        ..PLAIN
    };
    fails("a scale of 1.05", &net.model(parts), &bad.model(parts));
    // A detour over large numbers in the reference alone.
    let detour: Part = |b, x| {
        let x = with(b, "Add", &x, 1e6);
        with(b, "Sub", &x, 1e6)
    };
    let net = Net::new(0.1);
    let mut bad = net.clone();
    bad.w1[[3, 2, 1, 1]] *= -1.0;
    let reference = net.model(Parts {
        middle: detour,
        ..PLAIN
    });
    fails("a sign behind a detour", &reference, &bad.model(PLAIN));
}

#[test]
fn what_is_infinite_or_no_number_explains_nothing() {
    let net = Net::new(1.0);
    let mut negated = net.clone();
    negated.w1.index_axis_mut(Axis(0), 5).mapv_inplace(|w| -w);
    let by_zero: Part = |b, x| {
        let mut by = vec![1.0; WIDE];
        by[5] = 0.0;
        let by = b.weight(&[WIDE, 1, 1], by);
        b.node("Div", &[&x, &by], vec![])
    };
    let infinite: Part = |b, x| {
        let mut by = vec![1.0; WIDE];
        by[5] = f32::INFINITY;
        let by = b.weight(&[WIDE, 1, 1], by);
        let x = b.node("Mul", &[&x, &by], vec![]);
        // 0·∞ is no number; a comparison takes it for small.
        b.node("Relu", &[&x], vec![])
    };
    let half: Part = |b, x| with(b, "Sub", &x, 0.5);
    for (what, middle) in [
        ("divided by zero", by_zero),
        ("times infinity", infinite),
        ("finite", half),
    ] {
        let parts = Parts { middle, ..PLAIN };
        fails(what, &net.model(parts), &negated.model(parts));
    }
    let mut other = net.clone();
    other.last *= 1.5;
    let no_number: Part = |b, x| {
        let zero = with(b, "Mul", &x, 0.0);
        b.node("Div", &[&zero, &zero], vec![])
    };
    let parts = Parts {
        after: no_number,
        ..PLAIN
    };
    let found = fails("NaN everywhere", &net.model(parts), &other.model(parts));
    assert_eq!(found["not_compared"], found["samples"], "{found}");
    let why = found["failures"][0].as_str().unwrap();
    assert!(why.contains("no finite output"), "{why}");
    let infinity: Part = |b, x| {
        let x = b.node("Abs", &[&x], vec![]);
        with(b, "Div", &x, 0.0)
    };
    let parts = Parts {
        after: infinity,
        ..PLAIN
    };
    fails("∞ everywhere", &net.model(parts), &other.model(parts));
    let some: Part = |b, x| {
        let mut by = vec![1.0; CLASSES];
        by[0] = f32::NAN;
        let by = b.weight(&[CLASSES], by);
        b.node("Mul", &[&x, &by], vec![])
    };
    let parts = Parts {
        after: some,
        ..PLAIN
    };
    fails("NaN in one class", &net.model(parts), &other.model(parts));
    fails("NaN in the candidate", &net.model(PLAIN), &net.model(parts));
}

#[test]
fn small_changes_of_weights_are_faults() {
    type Change = fn(&mut Net);
    let changes: [(&str, Change); 8] = [
        ("filters of equal norm swapped", |n| {
            let mut filters: Vec<usize> = (0..WIDE).collect();
            filters.swap(3, 4);
            n.w1 = n.w1.select(Axis(0), &filters);
        }),
        ("channels that one filter reads swapped", |n| {
            let mut filter = n.w2.index_axis_mut(Axis(0), 2);
            let (a, b) = (
                filter.index_axis(Axis(0), 1).to_owned(),
                filter.index_axis(Axis(0), 2).to_owned(),
            );
            filter.index_axis_mut(Axis(0), 1).assign(&b);
            filter.index_axis_mut(Axis(0), 2).assign(&a);
        }),
        ("one sign", |n| n.w2[[7, 3, 0, 2]] *= -1.0),
        ("one weight missing", |n| n.w1[[7, 3, 0, 2]] = 0.0),
        ("one weight of the stem", |n| n.stem[[2, 1, 1, 1]] += 0.05),
        ("a scale of 1 + 1e-3 behind", |n| n.last *= 1.001),
        ("a bias", |n| n.bias[[4]] += 0.01),
        ("classes swapped", |n| n.last.invert_axis(Axis(1))),
    ];
    for scale in [1.0, 0.1] {
        let net = Net::new(scale);
        for (what, change) in changes {
            let mut bad = net.clone();
            change(&mut bad);
            fails(what, &net.model(PLAIN), &bad.model(PLAIN));
        }
    }
}

#[test]
fn names_that_lie_hide_nothing() {
    let net = Net::new(0.1);
    let mut bad = net.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    bad.prefix = "other_";
    fails("renamed and wrong", &net.model(PLAIN), &bad.model(PLAIN));
    // The names of two binarisers exchanged, and a fault.
    let mut model = bad.model(PLAIN);
    let signs: Vec<String> = (model.graph.as_ref().unwrap().node.iter())
        .filter(|n| n.op_type() == "Sign")
        .map(|n| n.output[0].clone())
        .collect();
    for node in &mut model.graph.as_mut().unwrap().node {
        for name in node.input.iter_mut().chain(&mut node.output) {
            if *name == signs[1] {
                *name = signs[2].clone();
            } else if *name == signs[2] {
                *name = signs[1].clone();
            }
        }
    }
    fails("names exchanged", &net.model(PLAIN), &model);
}

/// Images on which both models agree, and one on which they do not.
#[test]
fn one_fault_in_a_thousand_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data.npz");
    let mut x = random_samples(1000);
    x[[777, 1, 2, 3]] = 5.0;
    save_samples(&data, &x);
    let net = Net::new(1.0);
    let clipped: Part = |b, x| {
        let (low, high) = (b.weight(&[], vec![-1.0]), b.weight(&[], vec![1.0]));
        b.node("Clip", &[&x, &low, &high], vec![])
    };
    let candidate = net.model(Parts {
        before: clipped,
        ..PLAIN
    });
    let (code, found) = verify(&net.model(PLAIN), &candidate, On::File(&data));
    assert_eq!(code, 1, "{found}");
    assert_eq!(found["samples"], 1000);
    assert_eq!(found["outputs"][0]["beyond"], 1, "{found}");
    let (code, _) = verify(&net.model(PLAIN), &net.model(PLAIN), On::File(&data));
    assert_eq!(code, 0);
}

#[test]
fn equal_but_for_rounding_passes_whatever_it_is_called_and_wherever_channels_are() {
    let net = Net::new(0.1);
    let reference = net.model(PLAIN);
    let tied = |what: &str, candidate: &ModelProto| {
        let found = passes(what, &reference, candidate);
        assert!(found["ties"].as_u64().unwrap() > 0, "{what}: {found}");
    };
    // ±1, then a division: the sums are exact.
    let mut exact = net.clone();
    exact.w1.mapv_inplace(f32::signum);
    let divided: Part = |b, x| with(b, "Div", &x, 10.0);
    let parts = Parts {
        middle: divided,
        ..PLAIN
    };
    tied("in another form", &exact.model(parts));
    exact.prefix = "r_";
    tied("in another form and renamed", &exact.model(parts));
    let order: Vec<usize> = (0..WIDE).map(|f| (f * 7) % WIDE).collect();
    let mut moved = net.select(&order);
    tied("with hidden channels in another order", &moved.model(PLAIN));
    moved.prefix = "r_";
    tied("and renamed", &moved.model(PLAIN));
}

/// What may stand behind a layer of ties, and in front of the next binariser.
#[test]
fn ties_behind_every_kind_of_operator_pass() {
    fn op(b: &mut Builder, op: &str, x: &str) -> String {
        b.node(op, &[x], vec![])
    }
    fn scales(b: &mut Builder, size: usize) -> [String; 2] {
        let values = |k: usize| {
            (0..size)
                .map(|i| 0.5 + ((i * k) % 7) as f32 / 8.0)
                .collect()
        };
        [b.weight(&[size], values(3)), b.weight(&[size], values(5))]
    }
    let kinds: [(&str, Part); 14] = [
        ("Elu", |b, x| op(b, "Elu", &x)),
        ("Selu", |b, x| op(b, "Selu", &x)),
        ("Celu", |b, x| op(b, "Celu", &x)),
        ("HardSigmoid", |b, x| {
            let x = op(b, "HardSigmoid", &x);
            with(b, "Sub", &x, 0.5)
        }),
        ("Softplus", |b, x| {
            let x = op(b, "Softplus", &x);
            with(b, "Sub", &x, 0.75)
        }),
        ("Erf", |b, x| op(b, "Erf", &x)),
        ("Exp", |b, x| {
            let x = op(b, "Exp", &x);
            with(b, "Sub", &x, 1.0)
        }),
        ("Softmax", |b, x| {
            let x = b.node("Softmax", &[&x], vec![("axis", Attr::Int(1))]);
            with(b, "Sub", &x, 0.04)
        }),
        ("Resize", |b, x| {
            let sizes = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
            let x = b.node(
                "Resize",
                &[&x, "", &sizes],
                vec![("mode", Attr::Text("nearest"))],
            );
            let two = || Attr::Ints(vec![2, 2]);
            b.node(
                "MaxPool",
                &[&x],
                vec![("kernel_shape", two()), ("strides", two())],
            )
        }),
        ("InstanceNormalization", |b, x| {
            let [scale, shift] = scales(b, WIDE);
            b.node("InstanceNormalization", &[&x, &scale, &shift], vec![])
        }),
        ("LayerNormalization", |b, x| {
            let to = vec![("perm", Attr::Ints(vec![0, 2, 3, 1]))];
            let x = b.node("Transpose", &[&x], to);
            let [scale, shift] = scales(b, WIDE);
            let x = b.node("LayerNormalization", &[&x, &scale, &shift], vec![]);
            b.node(
                "Transpose",
                &[&x],
                vec![("perm", Attr::Ints(vec![0, 3, 1, 2]))],
            )
        }),
        ("ReduceMean", |b, x| {
            let axes = vec![("axes", Attr::Ints(vec![2, 3]))];
            let mean = b.node("ReduceMean", &[&x], axes);
            b.node("Sub", &[&x, &mean], vec![])
        }),
        ("ReduceL2", |b, x| {
            let norm = b.node("ReduceL2", &[&x], vec![("axes", Attr::Ints(vec![1]))]);
            let norm = with(b, "Div", &norm, 8.0);
            b.node("Sub", &[&x, &norm], vec![])
        }),
        ("QuantizeLinear", |b, x| {
            let scale = b.weight(&[], vec![0.2]);
            let x = with(b, "Add", &x, 3.0);
            let x = b.node("QuantizeLinear", &[&x, &scale], vec![]);
            let x = b.node("DequantizeLinear", &[&x, &scale], vec![]);
            with(b, "Sub", &x, 3.0)
        }),
    ];
    let net = Net::new(0.1);
    // Ties at the third Sign, behind the operator: exact sums, then a division.
    let mut exact = net.clone();
    exact.w2.mapv_inplace(f32::signum);
    let mut bad = exact.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    for (what, middle) in kinds {
        let parts = Parts { middle, ..PLAIN };
        let divided = Parts {
            late: |b, x| with(b, "Div", &x, 10.0),
            ..parts
        };
        let reference = net.model(parts);
        let (code, found) = verify(&reference, &exact.model(divided), On::Own);
        assert_eq!(code, 0, "{what}: {found}");
        assert!(found["ties"].as_u64().unwrap() > 0, "{what}: {found}");
        let (code, found) = verify(&reference, &bad.model(divided), On::Own);
        assert_eq!(code, 1, "{what}: {found}");
    }
}

#[test]
fn channels_that_were_cut_are_found() {
    let net = Net::new(0.1);
    let kept: Vec<usize> = (0..WIDE).filter(|f| f % 3 != 1).collect();
    let mut masked = net.clone();
    for f in (0..WIDE).filter(|f| f % 3 == 1) {
        masked.w2.index_axis_mut(Axis(1), f).fill(0.0);
    }
    let mut pruned = net.select(&kept);
    let found = passes("cut", &masked.model(PLAIN), &pruned.model(PLAIN));
    assert!(found["ties"].as_u64().unwrap() > 0, "{found}");
    pruned.prefix = "p_";
    passes(
        "cut and renamed",
        &masked.model(PLAIN),
        &pruned.model(PLAIN),
    );
    let found = fails("of the original", &net.model(PLAIN), &pruned.model(PLAIN));
    let failures = found["failures"].to_string();
    assert!(
        failures.contains("fewer channels") && failures.contains("(16 of 24)"),
        "{failures}"
    );
    assert!(!failures.contains("cannot"), "{failures}");
    let mut bad = pruned.clone();
    bad.w2[[7, 3, 0, 2]] *= -1.0;
    fails("cut and wrong", &masked.model(PLAIN), &bad.model(PLAIN));
    let shifted: Vec<usize> = kept.iter().map(|f| (f + 1).min(WIDE - 1)).collect();
    fails(
        "the wrong ones cut",
        &masked.model(PLAIN),
        &net.select(&shifted).model(PLAIN),
    );
}

/// What the README tells users to do, on a network full of ties.
#[test]
fn a_pair_of_the_main_job_passes_and_its_agreement_is_with_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = Net::new(0.1).model(PLAIN);
    save(&model, &at("in.onnx")).unwrap();
    let nodes = &model.graph.as_ref().unwrap().node;
    let mut convolutions = nodes.iter().filter(|n| n.op_type() == "Conv");
    let layer = convolutions.nth(1).unwrap().name();
    let pruned: Vec<usize> = (0..WIDE).filter(|f| f % 3 == 1).collect();
    common::write_masks(&at("masks.json"), &[(layer, WIDE, &pruned)]);
    let mut c = tool();
    c.arg(at("in.onnx")).arg(at("out.onnx"));
    c.arg("--masks").arg(at("masks.json"));
    c.arg("--save-masked").arg(at("masked.onnx"));
    c.arg("--report").arg(at("report.json"));
    let done = c.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{text}");
    let report = common::json(&at("report.json"));
    assert!(report["verification"]["ties"].as_u64().unwrap() > 0);
    let agreement = report["agreement"].as_f64().unwrap();
    assert!((0.05..0.95).contains(&agreement), "{agreement}");
    assert!(text.contains("masked and pruned agree on "), "{text}");
    assert!(text.contains("agreement with original  "), "{text}");
    let verify = |reference: &str| {
        let mut c = tool();
        c.arg("verify").arg(at(reference)).arg(at("out.onnx"));
        let done = c.output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, text) = verify("masked.onnx");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("explained by ties"), "{text}");
    let (code, text) = verify("in.onnx");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("fewer channels") && text.contains("(16 of 24)"),
        "{text}"
    );
}
