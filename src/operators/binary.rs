//! Operators of several operands, element by element: arithmetic, comparisons, choices, quantisers.

use super::{Arithmetic, Function2, How, Kind, Operator, Range, Shape};

const fn arithmetic(
    name: &'static str,
    how: How,
    single: Function2,
    double: fn(f64, f64) -> f64,
) -> Operator {
    let kind = Kind::Arithmetic(Arithmetic {
        how,
        single: Some(single),
        double: Some(double),
    });
    Operator::new(name, kind, Shape::Broadcast)
}

const fn comparison(name: &'static str, predicate: fn(f64, f64) -> bool) -> Operator {
    Operator::new(name, Kind::Comparison(predicate), Shape::Broadcast)
        .deciding()
        .not_negative()
}

/// A function of the bits of two integers.
const fn of_bits(name: &'static str) -> Operator {
    Operator::new(name, Kind::Other, Shape::Broadcast)
        .unbounded("it is one of integers, whose bits are worth any number")
}

const fn logic(name: &'static str, shape: Shape) -> Operator {
    Operator::new(name, Kind::Logic, shape)
        .exact()
        .not_negative()
}

/// One of QONNX's quantisers, which runtimes read as the standard operators that they stand for.
const fn qonnx(name: &'static str) -> Operator {
    Operator::new(name, Kind::Other, Shape::First)
        .deciding()
        .unbounded("runtimes get it as standard operators, which are bounded one by one")
}

const MEAN: Kind = Kind::Arithmetic(Arithmetic {
    how: How::Sum,
    single: None,
    double: None,
});

pub(super) static ROWS: &[Operator] = &[
    arithmetic("Add", How::Add, |a, b| a + b, |a, b| a + b).like_inputs(),
    arithmetic("Sub", How::Sub, |a, b| a - b, |a, b| a - b),
    arithmetic("Mul", How::Mul, |a, b| a * b, |a, b| a * b).like_inputs(),
    arithmetic("Div", How::Div, |a, b| a / b, |a, b| a / b).like_inputs(),
    arithmetic("Pow", How::Pow, f32::powf, f64::powf),
    arithmetic("Min", How::Extreme, f32::min, f64::min).like_inputs(),
    arithmetic("Max", How::Extreme, f32::max, f64::max).range(|_| Range::Largest),
    arithmetic("Sum", How::Sum, |a, b| a + b, |a, b| a + b).like_inputs(),
    Operator::new("Mean", MEAN, Shape::Broadcast).like_inputs(),
    comparison("Greater", |a, b| a > b),
    comparison("GreaterOrEqual", |a, b| a >= b),
    comparison("Less", |a, b| a < b),
    comparison("LessOrEqual", |a, b| a <= b),
    comparison("Equal", |a, b| a == b),
    logic("Not", Shape::First),
    logic("And", Shape::Broadcast),
    logic("Or", Shape::Broadcast),
    logic("Xor", Shape::Broadcast),
    logic("IsNaN", Shape::First),
    Operator::new("IsInf", Kind::Logic, Shape::First).exact(),
    Operator::new("Where", Kind::Choice, Shape::Broadcast).range(|_| Range::Inputs(&[1, 2])),
    Operator::new("Clip", Kind::Clip, Shape::First)
        .exact()
        .range(|_| Range::Clipped),
    Operator::new("PRelu", Kind::Slope, Shape::First).like_input(),
    Operator::new("Mod", Kind::Other, Shape::Broadcast)
        .unbounded("it jumps by its divisor, and those jumps are not laid open as decisions"),
    of_bits("BitShift"),
    of_bits("BitwiseAnd"),
    of_bits("BitwiseOr"),
    of_bits("BitwiseXor"),
    // To floats or bool; to integers it may wrap around.
    Operator::new("Cast", Kind::Cast, Shape::First)
        .deciding()
        .range(|a| match a.int("to", 0) {
            1 | 9 | 10 | 11 | 16 => Range::Inputs(&[0]),
            _ => Range::Any,
        }),
    Operator::new("CastLike", Kind::Other, Shape::First)
        .unbounded("to integers it jumps, and those jumps are not laid open as decisions"),
    Operator::new("QuantizeLinear", Kind::Quantize, Shape::First).deciding(),
    Operator::new("DequantizeLinear", Kind::Dequantize, Shape::First),
    qonnx("qonnx.BipolarQuant"),
    qonnx("qonnx.Quant"),
    qonnx("qonnx.Trunc"),
];
