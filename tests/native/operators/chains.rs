//! What stands in the network: operators that masks are learned through.

use onnx_bnnprune::onnx::Tensor;

use super::{CHANNELS, attention, floats, value};
use crate::graphs::{Attr, Builder};

pub type Chain = Box<dyn Fn(&mut Builder, &str) -> String>;

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

/// Every operator that masks are learned through: its name, opset, and what it makes of a tensor.
pub fn all() -> Vec<(&'static str, (i64, Chain))> {
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
    let neighbours = |b: &mut Builder, x: &str| {
        let strong = vec![("size", Attr::Int(3)), ("alpha", Attr::Float(0.5))];
        b.node("LRN", &[x], strong)
    };
    all.push(("LRN", (17, Box::new(neighbours))));
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
    all.extend(attention::all());
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
