//! Binarisers made of a comparison: `Where(x >= 0, 1, -1)` and `Cast(x >= 0)·2 - 1`: 0 gives +1.

use super::Binarizer;
use crate::graph::{Facts, Graph, NodeId, TensorId};

/// `Where(GreaterOrEqual(x, 0), 1, -1)`.
pub(super) fn where_matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let n = node_of(graph, t, "Where")?;
    let condition = graph.input_of(n, 0)?;
    let plus = graph
        .input_of(n, 1)
        .is_some_and(|c| all_equal(facts, c, 1.0));
    let minus = graph
        .input_of(n, 2)
        .is_some_and(|c| all_equal(facts, c, -1.0));
    if !(plus && minus) {
        return None;
    }
    Some(Binarizer {
        kind: "where-ge",
        zero: 1,
        input: at_least_zero(graph, facts, condition)?,
        output: t,
    })
}

/// `Sub(Mul(Cast(GreaterOrEqual(x, 0)), 2), 1)`.
pub(super) fn cast_matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let doubled = with_constant(graph, facts, t, "Sub", 1.0)
        .or_else(|| with_constant(graph, facts, t, "Add", -1.0))?;
    let bit = with_constant(graph, facts, doubled, "Mul", 2.0)?;
    let cast = node_of(graph, bit, "Cast")?;
    Some(Binarizer {
        kind: "cast-ge",
        zero: 1,
        input: at_least_zero(graph, facts, graph.input_of(cast, 0)?)?,
        output: t,
    })
}

fn node_of(graph: &Graph<'_>, t: TensorId, op: &str) -> Option<NodeId> {
    graph.producer(t).filter(|&n| graph.node(n).op() == op)
}

/// `x` of a tensor that is `x >= 0`.
fn at_least_zero(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<TensorId> {
    let n = node_of(graph, t, "GreaterOrEqual")?;
    let x = graph.input_of(n, 0)?;
    let zero = graph.input_of(n, 1)?;
    (facts.is_data(x) && all_equal(facts, zero, 0.0)).then_some(x)
}

/// The other operand of an `op` node that writes `t` and has the constant `c` as an operand (the
/// second one, where the order matters).
fn with_constant(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    op: &str,
    c: f32,
) -> Option<TensorId> {
    let n = node_of(graph, t, op)?;
    let (a, b) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
    if all_equal(facts, b, c) {
        Some(a)
    } else if op != "Sub" && all_equal(facts, a, c) {
        Some(b)
    } else {
        None
    }
}

/// Whether a tensor is constant with all elements `c` (scalar or baked to any shape, also one that
/// was expanded to the data's shape).
fn all_equal(facts: &Facts, t: TensorId, c: f32) -> bool {
    facts
        .value(t)
        .and_then(|v| v.as_f32())
        .is_some_and(|a| !a.is_empty() && a.iter().all(|&x| x == c))
}
