//! `Sign` and what is put in front of it.
//!
//! | nodes | at 0 |
//! |---|---|
//! | `Sign`, `Clip → Sign` | 0 |
//! | `Add(eps) → Sign` | the sign of eps |
//! | `Add(b) → Sign`, b a value per channel (a learned threshold) | 0 |
//! | `Sign → Add(c) → Sign`, 0 < \|c\| < 1 (Larq) | the sign of c |
//!
//! Of a tensor that is never negative, `Sign` gives {0, 1}.

use super::pattern::{node_of, through_identity, uniform, with_constant};
use super::{Binarizer, Form, range};
use crate::graph::{Facts, Graph, TensorId};

/// Larger constants in front of a `Sign` are thresholds that somebody chose, not a way to say what
/// becomes of 0.
const EPSILON: f32 = 1e-2;

/// `Sign → Add → Sign → …`: nobody writes more.
const MOST_LINKS: usize = 8;

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    within(graph, facts, t, MOST_LINKS)
}

fn within(graph: &Graph<'_>, facts: &Facts, t: TensorId, links: usize) -> Option<Binarizer> {
    let links = links.checked_sub(1)?;
    let n = node_of(graph, t, "Sign")?;
    let input = graph.input_of(n, 0)?;
    if !facts.is_data(input) {
        return None;
    }
    if let Some(twice) = sign_add_sign(graph, facts, t, input, links) {
        return twice;
    }
    let sign = |kind, zero| Binarizer {
        zero,
        ..Binarizer::signed(kind, 0, input, t)
    };
    if range::never_negative(graph, facts, input) {
        return Some(Binarizer {
            form: Form::ZeroOne,
            ..sign("01", 0)
        });
    }
    let op = graph.producer(input).map_or("", |p| graph.node(p).op());
    Some(match op {
        "Clip" => sign("clip-sign", 0),
        "Add" | "Sub" => match shift(graph, facts, input) {
            Some(c) if c.abs() <= EPSILON && c != 0.0 => {
                sign("add-sign", if c > 0.0 { 1 } else { -1 })
            }
            Some(_) => sign("threshold-sign", 0),
            None => sign("sign", 0),
        },
        _ => sign("sign", 0),
    })
}

/// What a constant adds to the data of `t`: its one value, or 0 for a value per channel.
fn shift(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<f32> {
    let (op, sign) = match node_of(graph, t, "Add") {
        Some(_) => ("Add", 1.0),
        None => ("Sub", -1.0),
    };
    let found = with_constant(graph, facts, t, op)?;
    // `c - x` is no shift of x.
    if op == "Sub" && found.swapped {
        return None;
    }
    Some(sign * uniform(facts, found.constant).unwrap_or(0.0))
}

/// `Sign → Add(c) → Sign`: the inner `Sign`, with the sign of c at 0. `Some(None)` if the second
/// `Sign` does not give ±1: c is too large to leave the sign what it was.
fn sign_add_sign(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    input: TensorId,
    links: usize,
) -> Option<Option<Binarizer>> {
    let (op, sign) = match node_of(graph, input, "Add") {
        Some(_) => ("Add", 1.0),
        None => ("Sub", -1.0),
    };
    let found = with_constant(graph, facts, input, op)?;
    if op == "Sub" && found.swapped {
        return None;
    }
    let inner = within(graph, facts, through_identity(graph, found.data), links)?;
    let c = sign * uniform(facts, found.constant)?;
    if inner.form != Form::Signed {
        return None;
    }
    if c.abs() >= 1.0 {
        return Some(None);
    }
    let [below, at, above] = inner.values;
    let at = match at {
        0.0 if c != 0.0 => c.signum(),
        known => known,
    };
    Some(Some(Binarizer {
        kind: "sign-add-sign",
        zero: if inner.zero == 0 {
            at as i8
        } else {
            inner.zero
        },
        values: [below, at, above],
        output: t,
        ..inner
    }))
}
