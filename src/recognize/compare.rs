//! Binarisers made of a comparison.
//!
//! | nodes | at 0 |
//! |---|---|
//! | `Where(GreaterOrEqual(x, 0), 1, -1)`, `Where(Not(Less(x, 0)), 1, -1)`, … | +1 |
//! | `Where(Greater(x, 0), 1, -1)` | -1 |
//! | `Cast(GreaterOrEqual(x, 0)) · 2 - 1` and any other affine form | +1 |
//! | `Where(Equal(Sign(x), 0), 1, Sign(x))` | +1 |
//!
//! The constants are read by value: swapped ones give the opposite signs, others than ±s are no
//! binariser to ±1, and a comparison with something else than 0 has a threshold.

use super::pattern::{Side, affine, node_of, same_value, side, uniform};
use super::{Binarizer, Form, sign};
use crate::graph::{Facts, Graph, TensorId};

/// `Where(comparison, a, b)`.
pub(super) fn where_matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let n = node_of(graph, t, "Where")?;
    let side = side(graph, facts, graph.input_of(n, 0)?)?;
    let yes = uniform(facts, graph.input_of(n, 1)?)?;
    let no = uniform(facts, graph.input_of(n, 2)?)?;
    let kind = match (side.above, side.at) {
        (true, true) => "where-ge",
        (true, false) => "where-gt",
        (false, false) => "where-lt",
        (false, true) => "where-le",
    };
    two_values(kind, side, yes, no, t)
}

/// `factor · Cast(comparison) + offset`.
pub(super) fn cast_matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let (bit, factor, offset) = affine(graph, facts, t);
    node_of(graph, bit, "Cast")?;
    let side = side(graph, facts, bit)?;
    let kind = match (side.above, side.at) {
        (true, true) => "cast-ge",
        (true, false) => "cast-gt",
        (false, false) => "cast-lt",
        (false, true) => "cast-le",
    };
    two_values(kind, side, factor + offset, offset, t)
}

/// A binariser that gives `yes` where the comparison holds and `no` elsewhere, if that is ±s (or
/// {0, s}).
fn two_values(
    kind: &'static str,
    side: Side,
    yes: f32,
    no: f32,
    output: TensorId,
) -> Option<Binarizer> {
    let (high, low) = if side.above { (yes, no) } else { (no, yes) };
    let tie = if side.at { yes } else { no };
    let scale = high.abs().max(low.abs());
    if scale == 0.0 || !scale.is_finite() {
        return None;
    }
    let form = match high == -low {
        true => Form::Signed,
        false if high * low == 0.0 => Form::ZeroOne,
        false => return None,
    };
    let unit = |v: f32| if v == 0.0 { 0 } else { v.signum() as i8 };
    let zero = match side.threshold.iter().next() {
        Some(&c) if side.threshold.len() == 1 && c < 0.0 => high,
        Some(&c) if side.threshold.len() == 1 && c > 0.0 => low,
        _ => tie,
    };
    Some(Binarizer {
        kind: if form == Form::ZeroOne { "01" } else { kind },
        form,
        zero: unit(zero),
        values: [low, tie, high],
        threshold: side.threshold,
        threshold_at: Some(side.place),
        input: side.x,
        output,
    })
}

/// `Where(Equal(Sign(x), 0), ±1, Sign(x))` (also with x itself compared), and
/// `Sign(x) + Cast(Equal(Sign(x), 0))`: a `Sign` with a value of its own at 0.
pub(super) fn zero_replaced(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let (condition, at_zero, rest) = match node_of(graph, t, "Where") {
        Some(n) => (
            graph.input_of(n, 0)?,
            uniform(facts, graph.input_of(n, 1)?)?,
            graph.input_of(n, 2)?,
        ),
        None => {
            let n = node_of(graph, t, "Add")?;
            let (a, b) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
            let (cast, rest) = match node_of(graph, a, "Cast") {
                Some(_) => (a, b),
                None => (b, a),
            };
            let cast = node_of(graph, cast, "Cast")?;
            (graph.input_of(cast, 0)?, 1.0, rest)
        }
    };
    let inner = sign::matches(graph, facts, rest)?;
    let equal = node_of(graph, condition, "Equal")?;
    let (a, b) = (graph.input_of(equal, 0)?, graph.input_of(equal, 1)?);
    let (compared, with) = if facts.is_data(a) { (a, b) } else { (b, a) };
    let same = |t| same_value(graph, facts, compared, t);
    let same_zeros = same(rest)
        || same(inner.input)
        || sign::matches(graph, facts, compared)
            .is_some_and(|s| same_value(graph, facts, s.input, inner.input));
    let fits = inner.form == Form::Signed
        && inner.values[1] == 0.0
        && same_zeros
        && uniform(facts, with) == Some(0.0)
        && at_zero.abs() == 1.0;
    if !fits {
        return None;
    }
    Some(Binarizer {
        kind: "sign-where-zero",
        zero: if inner.zero == 0 {
            at_zero as i8
        } else {
            inner.zero
        },
        values: [inner.values[0], at_zero, inner.values[2]],
        output: t,
        ..inner
    })
}
