//! Operators that masks are learned through, within a small network: the native network against ONNX Runtime,
//! forward, and whole runs.

use ndarray::{Array4, ArrayD};
use onnx_bnnprune::engine::Inference;
use onnx_bnnprune::network::Network;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Tensor, save};
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::verify::Optimization;

use crate::common::{json, max_abs_diff, tool};
use crate::graphs::{Attr, Builder, declare, run, undeclared};

/// Channels of the tensor that an operator reads, `[N, 16, 6, 6]`.
const CHANNELS: usize = 16;

/// Where the operator stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Behind the float convolution; its values reach the logits by a way without a sign, too.
    First,
    /// Behind the first binary convolution.
    Middle,
}

/// A number between -1 and 1 for each index.
fn value(i: usize) -> f32 {
    ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0
}

fn floats(b: &mut Builder, shape: &[usize], salt: usize) -> String {
    let count: usize = shape.iter().product();
    b.weight(shape, (0..count).map(|i| value(i + salt)).collect())
}

/// A float convolution, two binary convolutions with BatchNormalization, a classifier, and `chain` at its place.
fn network(opset: i64, place: Place, chain: &dyn Fn(&mut Builder, &str) -> String) -> ModelProto {
    let mut b = Builder::new(&[3, 6, 6]);
    let pads = || vec![("pads", Attr::Ints(vec![1; 4]))];
    let w = floats(&mut b, &[CHANNELS, 3, 3, 3], 1);
    let mut x = b.node("Conv", &["x", &w], pads());
    if place == Place::First {
        x = chain(&mut b, &x);
    }
    let pooled = |b: &mut Builder, x: &str, channels: usize| {
        let x = b.node("GlobalAveragePool", &[x], vec![]);
        let x = b.node("Flatten", &[&x], vec![]);
        let w = floats(b, &[channels, 4], 3);
        b.node("MatMul", &[&x, &w], vec![])
    };
    let direct = (place == Place::First).then(|| pooled(&mut b, &x, CHANNELS));
    for (k, [i, o]) in [[CHANNELS, CHANNELS], [CHANNELS, 12]]
        .into_iter()
        .enumerate()
    {
        let s = b.node("Sign", &[&x], vec![]);
        let signs = (0..o * i * 9).map(|j| value(j + 31 * k).signum()).collect();
        let w = b.weight(&[o, i, 3, 3], signs);
        let y = b.node("Conv", &[&s, &w], pads());
        let scale = b.weight(&[o], (0..o).map(|j| 1.0 + value(j) / 2.0).collect());
        let shift = floats(&mut b, &[o], 5);
        let mean = b.weight(&[o], vec![0.0; o]);
        let variance = b.weight(&[o], vec![9.0 * i as f32; o]);
        let inputs = [&y[..], &scale, &shift, &mean, &variance];
        x = b.node("BatchNormalization", &inputs, vec![]);
        if place == Place::Middle && k == 0 {
            x = chain(&mut b, &x);
        }
    }
    let mut y = pooled(&mut b, &x, 12);
    if let Some(direct) = direct {
        y = b.node("Add", &[&y, &direct], vec![]);
    }
    b.graph.output.push(declare(&y, &[4]));
    let mut model = b.model(&[]);
    model.opset_import[0].version = Some(opset);
    model
}

type Chain = Box<dyn Fn(&mut Builder, &str) -> String>;

/// An operator on one tensor.
fn of(op: &'static str, attributes: &'static [(&'static str, f32)]) -> (i64, Chain) {
    let chain = move |b: &mut Builder, x: &str| {
        let attributes = attributes.iter().map(|&(name, v)| (name, Attr::Float(v)));
        b.node(op, &[x], attributes.collect())
    };
    (20, Box::new(chain))
}

/// A gate: channels times what `chain` makes of their values.
fn gate(opset: i64, chain: impl Fn(&mut Builder, &str) -> String + 'static) -> (i64, Chain) {
    let gated = move |b: &mut Builder, x: &str| {
        let gate = chain(b, x);
        b.node("Mul", &[x, &gate], vec![])
    };
    (opset, Box::new(gated))
}

fn reduction(op: &'static str) -> (i64, Chain) {
    gate(17, move |b, x| match op {
        // Its axes were an attribute until opset 17, those of ReduceSum an input from 13 on.
        "ReduceSum" => {
            let axes = b.ints(&[1]);
            b.node(op, &[x, &axes], vec![])
        }
        _ => b.node(op, &[x], vec![("axes", Attr::Ints(vec![2, 3]))]),
    })
}

fn norm(
    op: &'static str,
    opset: i64,
    shape: &'static [usize],
    attribute: (&'static str, i64),
) -> (i64, Chain) {
    let chain = move |b: &mut Builder, x: &str| {
        let scale = floats(b, shape, 2);
        let shift = floats(b, shape, 9);
        let inputs = [x, &scale[..], &shift];
        let attributes = match attribute {
            ("", _) => vec![],
            (name, v) => vec![(name, Attr::Int(v))],
        };
        b.node(op, &inputs, attributes)
    };
    (opset, Box::new(chain))
}

/// Both parts of `[2, N, …]`.
fn halves(b: &mut Builder, way: &str, x: &str) -> [String; 2] {
    match way {
        "Gather" => [0, 1].map(|k| {
            let at = b.constant(&Tensor::I64(ndarray::arr0(k).into_dyn()));
            b.node("Gather", &[x, &at], vec![("axis", Attr::Int(0))])
        }),
        "Split" => {
            let first = b.node("Split", &[x], vec![("axis", Attr::Int(0))]);
            let second = format!("{first}.second");
            let node = b.graph.node.last_mut().unwrap();
            node.output.push(second.clone());
            [first, second].map(|half| {
                let axes = b.ints(&[0]);
                b.node("Squeeze", &[&half, &axes], vec![])
            })
        }
        _ => {
            let order = vec![("perm", Attr::Ints(vec![1, 2, 3, 0]))];
            let (x, axis) = match way {
                "Slice" => (x.to_owned(), 0),
                _ => (b.node("Transpose", &[x], order), 3),
            };
            let axes = b.ints(&[axis]);
            [0, 1].map(|k| {
                let (low, high) = (b.ints(&[k]), b.ints(&[k + 1]));
                let half = b.node("Slice", &[&x, &low, &high, &axes], vec![]);
                b.node("Squeeze", &[&half, &axes], vec![])
            })
        }
    }
}

fn all() -> Vec<(&'static str, (i64, Chain))> {
    let mut all: Vec<(&'static str, (i64, Chain))> = [
        "Abs",
        "Ceil",
        "Celu",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSwish",
        "Mish",
        "Neg",
        "Round",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
    ]
    .map(|op| (op, of(op, &[])))
    .into();
    all.push(("Elu", of("Elu", &[("alpha", 0.3)])));
    all.push(("Selu", of("Selu", &[("alpha", 1.2), ("gamma", 0.8)])));
    all.push(("ThresholdedRelu", of("ThresholdedRelu", &[("alpha", 0.2)])));
    all.push(("Shrink", of("Shrink", &[("lambd", 0.2), ("bias", 0.1)])));
    for op in ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"] {
        all.push((op, reduction(op)));
    }
    for op in ["ReduceMax", "ReduceMin", "ReduceMean"] {
        // Their axes are an input since opset 18.
        let chain = move |b: &mut Builder, x: &str| {
            let axes = b.ints(&[-1, 2]);
            let none = b.node(op, &[x, &axes], vec![("keepdims", Attr::Int(0))]);
            let axes = b.ints(&[2, 3]);
            b.node("Unsqueeze", &[&none, &axes], vec![])
        };
        all.push((op, gate(18, chain)));
    }
    // The last row of each channel, as a gate.
    let last = |b: &mut Builder, x: &str| {
        let at = b.constant(&Tensor::I64(ndarray::arr0(-1).into_dyn()));
        let row = b.node("Gather", &[x, &at], vec![("axis", Attr::Int(2))]);
        let axes = b.ints(&[2]);
        b.node("Unsqueeze", &[&row, &axes], vec![])
    };
    all.push(("Gather", gate(17, last)));
    all.push((
        "GlobalMaxPool",
        gate(17, |b, x| b.node("GlobalMaxPool", &[x], vec![])),
    ));
    for (op, axis) in [("Softmax", 1), ("Softmax", 3), ("LogSoftmax", 2)] {
        all.push((
            op,
            gate(17, move |b, x| {
                b.node(op, &[x], vec![("axis", Attr::Int(axis))])
            }),
        ));
    }
    all.push((
        "Softmax",
        gate(11, |b, x| {
            b.node("Softmax", &[x], vec![("axis", Attr::Int(2))])
        }),
    ));
    all.push((
        "Pow",
        (
            17,
            Box::new(|b, x| {
                let two = b.weight(&[], vec![2.0]);
                b.node("Pow", &[x, &two], vec![])
            }),
        ),
    ));
    all.push((
        "Reciprocal",
        (
            17,
            Box::new(|b, x| {
                let e = b.node("Exp", &[x], vec![]);
                let root = b.node("Sqrt", &[&e], vec![]);
                let inverse = b.node("Reciprocal", &[&root], vec![]);
                b.node("Log", &[&inverse], vec![])
            }),
        ),
    ));
    all.push((
        "InstanceNormalization",
        norm("InstanceNormalization", 17, &[CHANNELS], ("", 0)),
    ));
    all.push((
        "GroupNormalization",
        norm("GroupNormalization", 21, &[CHANNELS], ("num_groups", 2)),
    ));
    all.push((
        "LayerNormalization",
        norm("LayerNormalization", 17, &[CHANNELS, 6, 6], ("axis", 1)),
    ));
    all.push((
        "LayerNormalization",
        norm("LayerNormalization", 17, &[6], ("axis", -1)),
    ));
    let root_mean_square = |b: &mut Builder, x: &str| {
        let scale = floats(b, &[6], 2);
        b.node("RMSNormalization", &[x, &scale], vec![])
    };
    all.push(("RMSNormalization", (23, Box::new(root_mean_square))));
    let swish = |b: &mut Builder, x: &str| {
        let alpha = vec![("alpha", Attr::Float(1.5))];
        let y = b.node("Swish", &[x], alpha);
        b.node("Swish", &[&y], vec![])
    };
    all.push(("Swish", (24, Box::new(swish))));
    for op in ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"] {
        let scaled = move |b: &mut Builder, x: &str| {
            let norm = b.node(op, &[x], vec![("axes", Attr::Ints(vec![2, 3]))]);
            let one = b.weight(&[], vec![1.5]);
            let norm = b.node("Max", &[&norm, &one], vec![]);
            b.node("Div", &[x, &norm], vec![])
        };
        all.push((op, (17, Box::new(scaled))));
    }
    let logarithm = |b: &mut Builder, x: &str| {
        let above = b.node("Exp", &[x], vec![]);
        b.node(
            "ReduceLogSum",
            &[&above],
            vec![("axes", Attr::Ints(vec![2, 3]))],
        )
    };
    all.push(("ReduceLogSum", gate(17, logarithm)));
    // A row that all images have in front of their own, as a class token.
    let token = |b: &mut Builder, x: &str| {
        let row = floats(b, &[1, CHANNELS, 1, 6], 17);
        let shape = b.node("Shape", &[x], vec![]);
        let (first, count) = (b.ints(&[0]), b.ints(&[CHANNELS as i64, 1, 6]));
        let images = b.node("Gather", &[&shape, &first], vec![]);
        let of_all = b.node("Concat", &[&images, &count], vec![("axis", Attr::Int(0))]);
        let row = b.node("Expand", &[&row, &of_all], vec![]);
        let both = b.node("Concat", &[&row, x], vec![("axis", Attr::Int(2))]);
        let (starts, ends) = (b.ints(&[0]), b.ints(&[6]));
        let axes = b.ints(&[2]);
        b.node("Slice", &[&both, &starts, &ends, &axes], vec![])
    };
    all.push(("class token", (17, Box::new(token))));
    // Attention between rows of each channel, and between channels.
    let of_rows = |b: &mut Builder, x: &str| {
        let order = vec![("perm", Attr::Ints(vec![0, 1, 3, 2]))];
        let keys = b.node("Transpose", &[x], order);
        let alike = b.node("MatMul", &[x, &keys], vec![]);
        let shares = b.node("Softmax", &[&alike], vec![]);
        b.node("MatMul", &[&shares, x], vec![])
    };
    all.push(("attention of rows", (17, Box::new(of_rows))));
    let of_channels = |b: &mut Builder, x: &str| {
        let flat = b.ints(&[0, CHANNELS as i64, -1]);
        let flat = b.node("Reshape", &[x, &flat], vec![]);
        let keys = b.node(
            "Transpose",
            &[&flat],
            vec![("perm", Attr::Ints(vec![0, 2, 1]))],
        );
        let alike = b.node("MatMul", &[&flat, &keys], vec![]);
        let shares = b.node("Softmax", &[&alike], vec![]);
        let mixed = b.node("MatMul", &[&shares, &flat], vec![]);
        let whole = b.ints(&[0, CHANNELS as i64, 6, 6]);
        b.node("Reshape", &[&mixed, &whole], vec![])
    };
    all.push(("attention of channels", (17, Box::new(of_channels))));
    // `q, k, v = qkv.permute(…)`: the batch stands behind the axis that is taken apart.
    for way in ["Gather", "Split", "Slice", "Slice behind"] {
        let heads = move |b: &mut Builder, x: &str| {
            let shape = b.ints(&[0, 2, 8, 36]);
            let both = b.node("Reshape", &[x, &shape], vec![]);
            let order = vec![("perm", Attr::Ints(vec![1, 0, 3, 2]))];
            let first = b.node("Transpose", &[&both], order);
            let [q, v] = halves(b, way, &first);
            let order = vec![("perm", Attr::Ints(vec![0, 2, 1]))];
            let k = b.node("Transpose", &[&q], order);
            let alike = b.node("MatMul", &[&k, &q], vec![]);
            let shares = b.node("Softmax", &[&alike], vec![]);
            let y = b.node("MatMul", &[&v, &shares], vec![]);
            let twice = b.node("Concat", &[&y, &y], vec![("axis", Attr::Int(2))]);
            let shape = b.ints(&[0, CHANNELS as i64, 6, 6]);
            b.node("Reshape", &[&twice, &shape], vec![])
        };
        all.push(("heads", (17, Box::new(heads))));
    }
    let constant_first = |b: &mut Builder, x: &str| {
        let w = floats(b, &[6, 6], 11);
        b.node("MatMul", &[&w, x], vec![])
    };
    all.push(("constant matrix first", (17, Box::new(constant_first))));
    // What all channels meet alike varies with the image, and writes none of them.
    let of_one_channel = |b: &mut Builder, x: &str| {
        let w = floats(b, &[1, CHANNELS, 1, 1], 4);
        b.node("Conv", &[x, &w], vec![])
    };
    let gated = move |b: &mut Builder, x: &str| {
        let map = of_one_channel(b, x);
        b.node("Sigmoid", &[&map], vec![])
    };
    all.push(("gate of one channel", gate(17, gated)));
    let shifted = move |b: &mut Builder, x: &str| {
        let map = of_one_channel(b, x);
        b.node("Add", &[x, &map], vec![])
    };
    all.push(("map of one channel", (17, Box::new(shifted))));
    let image = |b: &mut Builder, x: &str| {
        let mean = b.node(
            "ReduceMean",
            &["x"],
            vec![("axes", Attr::Ints(vec![1, 2, 3]))],
        );
        b.node("Sub", &[x, &mean], vec![])
    };
    all.push(("number an image", (17, Box::new(image))));
    // Channels that are constant to one reader, and vary to another.
    let two_readers = move |b: &mut Builder, x: &str| {
        let few = (0..CHANNELS).map(|i| if i < 12 { 0.0 } else { 1.0 });
        let few = b.weight(&[CHANNELS, 1, 1], few.collect());
        let most = b.node("Mul", &[x, &few], vec![]);
        let shift = floats(b, &[CHANNELS, 1, 1], 21);
        let most = b.node("Add", &[&most, &shift], vec![]);
        let signs = b.node("Sign", &[&most], vec![]);
        let weights = (0..CHANNELS * CHANNELS).map(|i| value(i + 3).signum());
        let w = b.weight(&[CHANNELS, CHANNELS, 1, 1], weights.collect());
        let one = b.node("Conv", &[&signs, &w], vec![]);
        let gate = gated(b, x);
        let varied = b.node("Mul", &[x, &gate], vec![]);
        let w = floats(b, &[CHANNELS, CHANNELS, 1, 1], 8);
        let other = b.node("Conv", &[&varied, &w], vec![]);
        b.node("Add", &[&one, &other], vec![])
    };
    all.push(("two readers", (17, Box::new(two_readers))));
    // `y.expand_as(x)`.
    let expanded = |b: &mut Builder, x: &str| {
        let mean = b.node("GlobalAveragePool", &[x], vec![]);
        let shares = b.node("Sigmoid", &[&mean], vec![]);
        let shape = b.node("Shape", &[x], vec![]);
        b.node("Expand", &[&shares, &shape], vec![])
    };
    all.push(("expanded gate", gate(17, expanded)));
    let expanded = move |b: &mut Builder, x: &str| {
        let map = gated(b, x);
        let shape = b.node("Shape", &[x], vec![]);
        b.node("Expand", &[&map, &shape], vec![])
    };
    all.push(("expanded gate of one channel", gate(17, expanded)));
    // Eight bits around binary layers.
    for (kind, zero) in [("of bytes", 120u8), ("of one zero", 0)] {
        let quantised = move |b: &mut Builder, x: &str| {
            let step = b.weight(&[], vec![0.02]);
            let zero = b.constant(&Tensor::U8(ndarray::arr0(zero).into_dyn()));
            let whole = b.node("QuantizeLinear", &[x, &step, &zero], vec![]);
            b.node("DequantizeLinear", &[&whole, &step, &zero], vec![])
        };
        all.push((kind, (17, Box::new(quantised))));
    }
    let each = |b: &mut Builder, x: &str| {
        let steps = b.weight(
            &[CHANNELS],
            (0..CHANNELS).map(|c| 0.01 + 0.002 * c as f32).collect(),
        );
        let zeros = b.constant(&Tensor::I8(
            ndarray::Array1::from_elem(CHANNELS, 3i8).into_dyn(),
        ));
        let axis = || vec![("axis", Attr::Int(1))];
        let whole = b.node("QuantizeLinear", &[x, &steps, &zeros], axis());
        b.node("DequantizeLinear", &[&whole, &steps, &zeros], axis())
    };
    all.push(("of a step a channel", (17, Box::new(each))));
    let alone = |b: &mut Builder, x: &str| {
        let sum = b.node("Sum", &[x], vec![]);
        let both = b.node("Sum", &[&sum, x], vec![]);
        b.node("Max", &[&both], vec![])
    };
    all.push(("one operand", (17, Box::new(alone))));
    // What inputs say today were attributes.
    let old = |b: &mut Builder, x: &str| {
        let ints = |name, values: &[i64]| (name, Attr::Ints(values.to_vec()));
        let pads = ints("pads", &[0, 0, 1, 0, 0, 0, 0, 2]);
        let padded = b.node("Pad", &[x], vec![pads, ("value", Attr::Float(0.5))]);
        let (starts, ends) = (ints("starts", &[0, -6]), ints("ends", &[6, 8]));
        let window = vec![starts, ends, ints("axes", &[2, 3])];
        let y = b.node("Slice", &[&padded], window);
        let bounds = vec![("min", Attr::Float(-0.3)), ("max", Attr::Float(0.6))];
        b.node("Clip", &[&y], bounds)
    };
    all.push(("opset 9", (9, Box::new(old))));
    all
}

fn images(count: usize) -> Array4<f32> {
    Array4::from_shape_fn((count, 3, 6, 6), |(n, c, y, x)| {
        value(n * 131 + c * 37 + y * 7 + x)
    })
}

#[test]
fn the_native_network_computes_what_the_runtime_does() {
    let x = images(5).into_dyn();
    for (op, (opset, chain)) in all() {
        for place in [Place::First, Place::Middle] {
            let model = network(opset, place, &chain);
            let view = View::new("test.onnx".as_ref(), &model).unwrap();
            let native = Network::import(&view.graph, &view.facts, &view.layers);
            let native = native.unwrap_or_else(|e| panic!("{op}: {e}"));
            let y = Inference::of(&native).infer_output(x.clone()).unwrap();
            let expected: ArrayD<f32> = run(&model, &x, Optimization::Off).remove(0);
            let diff = max_abs_diff(&y, &expected);
            assert!(diff < 1e-4, "{op}: {diff}");
        }
    }
}

/// Filters in front of an operator that treats channels alike go; those in front of one that mixes them stay.
#[test]
fn masks_are_learned_through_it_and_the_result_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(at("x.npz")).unwrap());
    npz.add_array("x", &images(300)).unwrap();
    npz.finish().unwrap();
    let alike = [
        "Gelu",
        "InstanceNormalization",
        "GlobalMaxPool",
        "ReduceL2",
        "opset 9",
        "gate of one channel",
        "map of one channel",
        "number an image",
        "expanded gate",
        "expanded gate of one channel",
    ];
    let mixing = [
        "GroupNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "attention of rows",
        "attention of channels",
        "constant matrix first",
    ];
    // Filters stay that leave a constant to one reader.
    let partly = ["two readers"];
    let mut seen = 0;
    for (op, (opset, chain)) in all() {
        if ![&alike[..], &mixing, &partly].concat().contains(&op) {
            continue;
        }
        save(&network(opset, Place::Middle, &chain), &at("in.onnx")).unwrap();
        let mut c = tool();
        c.arg(at("in.onnx")).arg(at("out.onnx"));
        c.arg("--data").arg(at("x.npz"));
        c.args(["--ratio", "0.3", "--max-drop", "none", "--mask-epochs", "1"]);
        c.args(["--main-epochs", "1", "--final-epochs", "1"]);
        c.arg("--report").arg(at("r.json")).assert().success();
        let report = json(&at("r.json"));
        assert_eq!(report["verification"]["passed"], true, "{op}");
        // What was trained is what was written.
        let trained = report["agreement_with_trained"].as_f64().unwrap();
        assert!(trained > 0.97, "{op}: {trained}");
        let layers = report["layers"].as_array().unwrap().iter();
        let first = layers.filter(|l| l["filters"] == CHANNELS).nth(1).unwrap();
        let gone = first["pruned"].as_array().unwrap().len();
        // A normalisation of rows treats channels alike as well.
        let either = ["LayerNormalization", "RMSNormalization"].contains(&op);
        if !either && !partly.contains(&op) {
            assert_eq!(gone > 0, alike.contains(&op), "{op}: {gone}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

/// A Softmax behind which only views of the classes stand is left to the loss, not trained through.
#[test]
fn the_last_softmax_is_the_loss() {
    for view_of in [
        vec![],
        vec![("Reshape", Some(vec![0, 4]))],
        vec![("Identity", None), ("Unsqueeze", Some(vec![2]))],
    ] {
        let mut model = network(17, Place::Middle, &|_, x| x.to_owned());
        let graph = model.graph.as_mut().unwrap();
        let mut t = graph.output.remove(0).name().to_owned();
        graph
            .node
            .push(crate::common::node("Softmax", &[&t], &["shares"], &[]));
        t = "shares".to_owned();
        for (i, (op, parameter)) in view_of.into_iter().enumerate() {
            let out = format!("view{i}");
            let name = format!("parameter{i}");
            let inputs = match parameter {
                Some(values) => {
                    let values = Tensor::I64(ndarray::Array1::from(values).into_dyn());
                    graph.initializer.push(values.to_proto(&name));
                    vec![&t[..], &name]
                }
                None => vec![&t[..]],
            };
            graph
                .node
                .push(crate::common::node(op, &inputs, &[&out], &[]));
            t = out;
        }
        graph.output.push(undeclared(&t));
        let view = View::new("test.onnx".as_ref(), &model).unwrap();
        let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
        let logits = Inference::of(&native).infer(images(3).into_dyn()).unwrap();
        let sums = logits.iter().sum::<f32>();
        assert!((sums - 3.0).abs() > 1e-3, "{sums}");
    }
}

/// Weights that the file puts together along any axis are read in the order of their shape.
#[test]
fn constants_that_are_computed_are_learned_from_like_stored_ones() {
    let halves = |b: &mut Builder, shape: &[usize], axis: usize| {
        let mut half = shape.to_vec();
        half[axis] /= 2;
        let (one, two) = (floats(b, &half, 11), floats(b, &half, 23));
        let axis = vec![("axis", Attr::Int(axis as i64))];
        b.node("Concat", &[&one, &two], axis)
    };
    let mut b = Builder::new(&[3, 6, 6]);
    let pads = || vec![("pads", Attr::Ints(vec![1; 4]))];
    let w = floats(&mut b, &[CHANNELS, 3, 3, 3], 1);
    let x = b.node("Conv", &["x", &w], pads());
    let w = halves(&mut b, &[8, CHANNELS, 3, 2], 3);
    let x = b.node("Conv", &[&x, &w], pads());
    let s = b.node("Sign", &[&x], vec![]);
    let signs = (0..4 * 8).map(|j| value(j).signum()).collect();
    let w = b.weight(&[4, 8, 1, 1], signs);
    let x = b.node("Conv", &[&s, &w], vec![]);
    // Backwards along the last axis, too.
    let w = floats(&mut b, &[4, 1, 1], 5);
    let [starts, ends, axes, steps] = [-1, i64::MIN + 1, 0, -1].map(|v| b.ints(&[v]));
    let backwards = b.node("Slice", &[&w, &starts, &ends, &axes, &steps], vec![]);
    let x = b.node("Mul", &[&x, &backwards], vec![]);
    let x = b.node("GlobalAveragePool", &[&x], vec![]);
    let x = b.node("Flatten", &[&x], vec![]);
    let w = halves(&mut b, &[4, 6], 1);
    let y = b.node("MatMul", &[&x, &w], vec![]);
    b.graph.output.push(declare(&y, &[6]));
    let model = b.model(&[]);
    let view = View::new("test.onnx".as_ref(), &model).unwrap();
    let native = Network::import(&view.graph, &view.facts, &view.layers).unwrap();
    let x = images(5).into_dyn();
    let y = Inference::of(&native).infer_output(x.clone()).unwrap();
    let expected = run(&model, &x, Optimization::Off).remove(0);
    assert!(max_abs_diff(&y, &expected) < 1e-4);
}
