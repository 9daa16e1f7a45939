//! `(q - s) + s`, what `q.detach() - s.detach() + s` exports to: q, up to rounding, whatever s is.
//! No exporter or optimiser simplifies it.

use super::pattern::{node_of, same_value, through_identity};
use super::{Binarizer, binarizer_of};
use crate::graph::{Facts, Graph, TensorId};

/// Detach tricks within each other.
const MOST_NESTED: usize = 4;

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let q = detached(graph, facts, t)?;
    // One trick within another, but not without end.
    let mut inmost = q;
    for _ in 0..MOST_NESTED {
        match detached(graph, facts, through_identity(graph, inmost)) {
            Some(next) => inmost = next,
            None => break,
        }
    }
    if detached(graph, facts, through_identity(graph, inmost)).is_some() {
        return None;
    }
    let inner = binarizer_of(graph, facts, through_identity(graph, q))?;
    Some(Binarizer {
        kind: match inner.kind {
            "sign" => "detach-sign",
            "clip-sign" => "detach-clip-sign",
            "add-sign" => "detach-add-sign",
            "threshold-sign" => "detach-threshold-sign",
            "where-ge" => "detach-where-ge",
            "where-gt" => "detach-where-gt",
            "cast-ge" => "detach-cast-ge",
            "cast-gt" => "detach-cast-gt",
            other => other,
        },
        output: t,
        ..inner
    })
}

/// q of a tensor that is `(q - s) + s`, `s + (q - s)` or `s - (s - q)` of data.
pub(super) fn detached(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<TensorId> {
    let n = graph.producer(t)?;
    let (a, b) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
    if !facts.is_data(a) || !facts.is_data(b) {
        return None;
    }
    let difference = |t: TensorId| {
        let n = node_of(graph, through_identity(graph, t), "Sub")?;
        Some((graph.input_of(n, 0)?, graph.input_of(n, 1)?))
    };
    let same = |a: TensorId, b: TensorId| same_value(graph, facts, a, b);
    match graph.node(n).op() {
        "Add" => [(a, b), (b, a)].into_iter().find_map(|(d, s)| {
            let (q, minus) = difference(d)?;
            same(minus, s).then_some(q)
        }),
        "Sub" => {
            let (plus, q) = difference(b)?;
            same(plus, a).then_some(q)
        }
        _ => None,
    }
}
