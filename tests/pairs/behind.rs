//! Operators to judge ties behind: each between a binary layer whose sums rounding decides and the next
//! binariser.

use super::{Part, SIDE, WIDE, with};
use crate::graphs::{Attr, Builder};

/// An operator behind a layer whose ties rounding decides, in front of the next binariser.
pub struct Case {
    pub name: &'static str,
    pub opset: i64,
    pub part: Part,
}

const fn case(name: &'static str, part: Part) -> Case {
    Case {
        name,
        opset: 17,
        part,
    }
}

const fn at(opset: i64, name: &'static str, part: Part) -> Case {
    Case { name, opset, part }
}

fn op(b: &mut Builder, op: &str, x: &str) -> String {
    b.node(op, &[x], vec![])
}

fn ints(v: &[i64]) -> Attr {
    Attr::Ints(v.to_vec())
}

/// Positive values of about 1: what logarithms and divisors need.
fn positive(b: &mut Builder, x: &str) -> String {
    let x = op(b, "Sigmoid", x);
    with(b, "Add", &x, 0.5)
}

/// A reduction over space, taken from what it was made of.
fn reduced(b: &mut Builder, name: &str, x: &str, scale: f32) -> String {
    let y = b.node(name, &[x], vec![("axes", ints(&[2, 3]))]);
    let y = with(b, "Mul", &y, scale);
    b.node("Sub", &[x, &y], vec![])
}

/// A scale and a shift for each of so many channels.
fn scales(b: &mut Builder, size: usize) -> [String; 2] {
    let values = |k: usize| {
        let value = |i: usize| 0.5 + ((i * k) % 7) as f32 / 8.0;
        (0..size).map(value).collect()
    };
    [b.weight(&[size], values(3)), b.weight(&[size], values(5))]
}

fn channels_last(b: &mut Builder, x: &str, f: impl FnOnce(&mut Builder, &str) -> String) -> String {
    let x = b.node("Transpose", &[x], vec![("perm", ints(&[0, 2, 3, 1]))]);
    let x = f(b, &x);
    b.node("Transpose", &[&x], vec![("perm", ints(&[0, 3, 1, 2]))])
}

/// Twice as high and wide, and back.
fn resized(b: &mut Builder, x: &str, mode: &'static str) -> String {
    let sizes = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
    let x = b.node("Resize", &[x, "", &sizes], vec![("mode", Attr::Text(mode))]);
    pooled(b, "MaxPool", &x, vec![])
}

fn pooled(b: &mut Builder, name: &str, x: &str, mut more: Vec<(&str, Attr)>) -> String {
    more.push(("kernel_shape", ints(&[2, 2])));
    more.push(("strides", ints(&[2, 2])));
    b.node(name, &[x], more)
}

/// Windows of 3×3 around each element.
fn around(b: &mut Builder, name: &str, x: &str) -> String {
    let windows = vec![("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))];
    b.node(name, &[x], windows)
}

pub const ACTIVATIONS: &[Case] = &[
    case("Identity", |b, x| op(b, "Identity", &x)),
    case("Relu", |b, x| op(b, "Relu", &x)),
    case("Abs", |b, x| {
        let x = op(b, "Abs", &x);
        with(b, "Sub", &x, 0.4)
    }),
    case("Neg", |b, x| op(b, "Neg", &x)),
    case("LeakyRelu", |b, x| op(b, "LeakyRelu", &x)),
    case("PRelu", |b, x| {
        let slope = b.weight(&[WIDE, 1, 1], (0..WIDE).map(|c| c as f32 / 9.0).collect());
        b.node("PRelu", &[&x, &slope], vec![])
    }),
    case("Elu", |b, x| op(b, "Elu", &x)),
    case("Selu", |b, x| op(b, "Selu", &x)),
    case("Celu", |b, x| op(b, "Celu", &x)),
    case("ThresholdedRelu", |b, x| op(b, "ThresholdedRelu", &x)),
    case("Shrink", |b, x| {
        let settings = vec![("lambd", Attr::Float(0.4)), ("bias", Attr::Float(0.25))];
        b.node("Shrink", &[&x], settings)
    }),
    case("HardSigmoid", |b, x| {
        let x = op(b, "HardSigmoid", &x);
        with(b, "Sub", &x, 0.5)
    }),
    case("HardSwish", |b, x| op(b, "HardSwish", &x)),
    case("Sigmoid", |b, x| {
        let x = op(b, "Sigmoid", &x);
        with(b, "Sub", &x, 0.5)
    }),
    case("Tanh", |b, x| op(b, "Tanh", &x)),
    case("Softplus", |b, x| {
        let x = op(b, "Softplus", &x);
        with(b, "Sub", &x, 0.75)
    }),
    case("Softsign", |b, x| op(b, "Softsign", &x)),
    at(18, "Mish", |b, x| op(b, "Mish", &x)),
    at(20, "Gelu", |b, x| op(b, "Gelu", &x)),
    at(24, "Swish", |b, x| op(b, "Swish", &x)),
    case("Erf", |b, x| op(b, "Erf", &x)),
    case("Exp", |b, x| {
        let x = op(b, "Exp", &x);
        with(b, "Sub", &x, 1.0)
    }),
    case("Log", |b, x| {
        let x = positive(b, &x);
        op(b, "Log", &x)
    }),
    case("Sqrt", |b, x| {
        let x = positive(b, &x);
        let x = op(b, "Sqrt", &x);
        with(b, "Sub", &x, 1.0)
    }),
    case("Reciprocal", |b, x| {
        let x = positive(b, &x);
        let x = op(b, "Reciprocal", &x);
        with(b, "Sub", &x, 1.0)
    }),
    case("Clip", |b, x| {
        let [low, high] = [-0.5, 0.7].map(|v| b.weight(&[], vec![v]));
        b.node("Clip", &[&x, &low, &high], vec![])
    }),
    case("Dropout", |b, x| op(b, "Dropout", &x)),
    case("Cast", |b, x| {
        let x = b.node("Cast", &[&x], vec![("to", Attr::Int(11))]);
        b.node("Cast", &[&x], vec![("to", Attr::Int(1))])
    }),
    case("Cast", |b, x| {
        let x = b.node("Cast", &[&x], vec![("to", Attr::Int(10))]);
        b.node("Cast", &[&x], vec![("to", Attr::Int(1))])
    }),
];

pub const ARITHMETIC: &[Case] = &[
    case("Add", |b, x| b.node("Add", &[&x, &x], vec![])),
    case("Sub", |b, x| with(b, "Sub", &x, 0.2)),
    case("Mul", |b, x| {
        let gate = op(b, "Sigmoid", &x);
        b.node("Mul", &[&x, &gate], vec![])
    }),
    case("Div", |b, x| {
        let by = positive(b, &x);
        b.node("Div", &[&x, &by], vec![])
    }),
    case("Pow", |b, x| {
        let x = with(b, "Pow", &x, 2.0);
        with(b, "Sub", &x, 0.5)
    }),
    case("Pow", |b, x| {
        let two = b.ints(&[2]);
        let x = b.node("Pow", &[&x, &two], vec![]);
        with(b, "Sub", &x, 0.5)
    }),
    case("Min", |b, x| {
        let other = with(b, "Mul", &x, -0.5);
        b.node("Min", &[&x, &other], vec![])
    }),
    case("Max", |b, x| {
        let other = with(b, "Mul", &x, 0.5);
        b.node("Max", &[&x, &other], vec![])
    }),
    case("Sum", |b, x| b.node("Sum", &[&x, &x, &x], vec![])),
    case("Mean", |b, x| {
        let other = op(b, "Tanh", &x);
        b.node("Mean", &[&x, &other], vec![])
    }),
    case("Where", |b, x| {
        let zero = b.weight(&[], vec![0.0]);
        let c = b.node("Greater", &[&x, &zero], vec![]);
        let c = op(b, "Not", &c);
        let other = with(b, "Mul", &x, 0.5);
        b.node("Where", &[&c, &x, &other], vec![])
    }),
    case("DequantizeLinear", |b, x| {
        let scale = b.weight(&[], vec![0.2]);
        let x = with(b, "Add", &x, 3.0);
        let x = b.node("QuantizeLinear", &[&x, &scale], vec![]);
        let x = b.node("DequantizeLinear", &[&x, &scale], vec![]);
        with(b, "Sub", &x, 3.0)
    }),
    // Two matrices of data: products of rows with rows.
    case("MatMul", |b, x| {
        let y = b.node("Transpose", &[&x], vec![("perm", ints(&[0, 1, 3, 2]))]);
        b.node("MatMul", &[&x, &y], vec![])
    }),
    case("Gemm", |b, x| {
        let weights = (0..SIDE * SIDE).map(|i| (i % 7) as f32 / 9.0 - 0.3);
        let weights = b.weight(&[SIDE, SIDE], weights.collect());
        let bias = b.weight(&[SIDE], vec![0.1; SIDE]);
        let rows = b.ints(&[-1, SIDE as i64]);
        let x = b.node("Reshape", &[&x, &rows], vec![]);
        let factors = vec![("alpha", Attr::Float(0.7)), ("beta", Attr::Float(1.3))];
        let x = b.node("Gemm", &[&x, &weights, &bias], factors);
        let back = b.ints(&[-1, WIDE as i64, SIDE as i64, SIDE as i64]);
        b.node("Reshape", &[&x, &back], vec![])
    }),
    case("ConvTranspose", |b, x| {
        let weights = (0..WIDE * 9).map(|i| (i % 7) as f32 / 9.0 - 0.3);
        let weights = b.weight(&[WIDE, 1, 3, 3], weights.collect());
        let windows = vec![("pads", ints(&[1; 4])), ("group", Attr::Int(WIDE as i64))];
        b.node("ConvTranspose", &[&x, &weights], windows)
    }),
];

pub const NORMALISATIONS: &[Case] = &[
    case("BatchNormalization", |b, x| {
        let [scale, shift] = scales(b, WIDE);
        b.node(
            "BatchNormalization",
            &[&x, &scale, &shift, &shift, &scale],
            vec![],
        )
    }),
    case("InstanceNormalization", |b, x| {
        let [scale, shift] = scales(b, WIDE);
        b.node("InstanceNormalization", &[&x, &scale, &shift], vec![])
    }),
    at(21, "GroupNormalization", |b, x| {
        let [scale, shift] = scales(b, WIDE);
        let groups = vec![("num_groups", Attr::Int(4))];
        b.node("GroupNormalization", &[&x, &scale, &shift], groups)
    }),
    case("LayerNormalization", |b, x| {
        channels_last(b, &x, |b, x| {
            let [scale, shift] = scales(b, WIDE);
            b.node("LayerNormalization", &[x, &scale, &shift], vec![])
        })
    }),
    at(23, "RMSNormalization", |b, x| {
        channels_last(b, &x, |b, x| {
            let [scale, _] = scales(b, WIDE);
            b.node("RMSNormalization", &[x, &scale], vec![])
        })
    }),
    case("MeanVarianceNormalization", |b, x| {
        op(b, "MeanVarianceNormalization", &x)
    }),
    case("LpNormalization", |b, x| {
        let x = b.node("LpNormalization", &[&x], vec![("axis", Attr::Int(1))]);
        b.node("LpNormalization", &[&x], vec![("p", Attr::Int(1))])
    }),
    case("LRN", |b, x| {
        let strong = vec![("size", Attr::Int(5)), ("alpha", Attr::Float(0.5))];
        b.node("LRN", &[&x], strong)
    }),
    case("Softmax", |b, x| {
        let x = b.node("Softmax", &[&x], vec![("axis", Attr::Int(1))]);
        with(b, "Sub", &x, 0.04)
    }),
    case("LogSoftmax", |b, x| {
        let x = b.node("LogSoftmax", &[&x], vec![("axis", Attr::Int(1))]);
        with(b, "Add", &x, 3.2)
    }),
];

pub const REDUCTIONS: &[Case] = &[
    case("ReduceMax", |b, x| reduced(b, "ReduceMax", &x, 0.5)),
    case("ReduceMin", |b, x| reduced(b, "ReduceMin", &x, 0.5)),
    case("ReduceMean", |b, x| reduced(b, "ReduceMean", &x, 1.0)),
    case("ReduceSum", |b, x| {
        let axes = b.ints(&[2, 3]);
        let y = b.node("ReduceSum", &[&x, &axes], vec![]);
        let y = with(b, "Mul", &y, 0.05);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("ReduceSum", |b, x| {
        let none = b.ints(&[]);
        let as_it_is = vec![("noop_with_empty_axes", Attr::Int(1))];
        b.node("ReduceSum", &[&x, &none], as_it_is)
    }),
    case("ReduceProd", |b, x| {
        let y = positive(b, &x);
        let y = b.node("ReduceProd", &[&y], vec![("axes", ints(&[3]))]);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("ReduceL1", |b, x| reduced(b, "ReduceL1", &x, 0.02)),
    case("ReduceL2", |b, x| reduced(b, "ReduceL2", &x, 0.1)),
    case("ReduceSumSquare", |b, x| {
        reduced(b, "ReduceSumSquare", &x, 0.02)
    }),
    case("ReduceLogSum", |b, x| {
        let y = positive(b, &x);
        let y = b.node("ReduceLogSum", &[&y], vec![("axes", ints(&[1]))]);
        let y = with(b, "Sub", &y, 3.2);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("ReduceLogSumExp", |b, x| {
        reduced(b, "ReduceLogSumExp", &x, 0.1)
    }),
    case("CumSum", |b, x| {
        let axis = b.ints(&[3]);
        let x = b.node("CumSum", &[&x, &axis], vec![("reverse", Attr::Int(1))]);
        b.node("CumSum", &[&x, &axis], vec![("exclusive", Attr::Int(1))])
    }),
    case("GlobalMaxPool", |b, x| {
        let y = op(b, "GlobalMaxPool", &x);
        let y = with(b, "Mul", &y, 0.5);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("GlobalAveragePool", |b, x| {
        let y = op(b, "GlobalAveragePool", &x);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("GlobalLpPool", |b, x| {
        let y = op(b, "GlobalLpPool", &x);
        let y = with(b, "Mul", &y, 0.1);
        b.node("Sub", &[&x, &y], vec![])
    }),
    case("MaxPool", |b, x| around(b, "MaxPool", &x)),
    case("AveragePool", |b, x| around(b, "AveragePool", &x)),
    case("LpPool", |b, x| {
        let y = around(b, "LpPool", &x);
        let y = with(b, "Mul", &y, 0.3);
        b.node("Sub", &[&x, &y], vec![])
    }),
];

pub const MOVEMENT: &[Case] = &[
    case("Reshape", |b, x| {
        let shape = b.ints(&[0, WIDE as i64, -1]);
        let x = b.node("Reshape", &[&x, &shape], vec![]);
        let shape = b.ints(&[0, 0, SIDE as i64, SIDE as i64]);
        b.node("Reshape", &[&x, &shape], vec![])
    }),
    case("Transpose", |b, x| {
        b.node("Transpose", &[&x], vec![("perm", ints(&[0, 1, 3, 2]))])
    }),
    case("Squeeze", |b, x| {
        let axes = b.ints(&[2]);
        let x = b.node("Unsqueeze", &[&x, &axes], vec![]);
        b.node("Squeeze", &[&x, &axes], vec![])
    }),
    case("Slice", |b, x| {
        let [start, end, axis, step] = [-1, -99, 3, -1].map(|v| b.ints(&[v]));
        b.node("Slice", &[&x, &start, &end, &axis, &step], vec![])
    }),
    case("Gather", |b, x| {
        let order = b.ints(&[5, 4, 3, 2, 1, 0]);
        b.node("Gather", &[&x, &order], vec![("axis", Attr::Int(2))])
    }),
    case("Expand", |b, x| {
        let shape = b.ints(&[1, 1, 1, SIDE as i64]);
        b.node("Expand", &[&x, &shape], vec![])
    }),
    case("Split", |b, x| {
        let parts = b.split("Split", &[&x], 2, vec![("axis", Attr::Int(1))]);
        let swapped = [parts[1].as_str(), &parts[0]];
        b.node("Concat", &swapped, vec![("axis", Attr::Int(1))])
    }),
    case("Pad", |b, x| {
        let pads = b.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
        let x = b.node("Pad", &[&x, &pads], vec![]);
        b.node("MaxPool", &[&x], vec![("kernel_shape", ints(&[3, 3]))])
    }),
    case("Tile", |b, x| {
        let repeats = b.ints(&[1, 1, 2, 2]);
        let x = b.node("Tile", &[&x, &repeats], vec![]);
        pooled(b, "MaxPool", &x, vec![])
    }),
    case("SpaceToDepth", |b, x| {
        let size = || vec![("blocksize", Attr::Int(2))];
        let x = b.node("SpaceToDepth", &[&x], size());
        b.node("DepthToSpace", &[&x], size())
    }),
    case("Resize", |b, x| resized(b, &x, "nearest")),
    case("Resize", |b, x| resized(b, &x, "linear")),
    case("Resize", |b, x| resized(b, &x, "cubic")),
    at(9, "Upsample", |b, x| {
        let scales = b.weight(&[4], vec![1.0, 1.0, 2.0, 2.0]);
        let x = b.node("Upsample", &[&x, &scales], vec![]);
        pooled(b, "MaxPool", &x, vec![])
    }),
];
