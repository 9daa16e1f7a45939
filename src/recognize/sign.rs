//! `Sign` and `Clip → Sign`: 0 stays 0.

use super::Binarizer;
use crate::graph::{Facts, Graph, TensorId};

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let n = graph.producer(t)?;
    if graph.node(n).op() != "Sign" {
        return None;
    }
    let input = graph.input_of(n, 0)?;
    if !facts.is_data(input) || never_negative(graph, input) {
        return None;
    }
    let clipped = graph
        .producer(input)
        .is_some_and(|p| graph.node(p).op() == "Clip");
    Some(Binarizer {
        kind: if clipped { "clip-sign" } else { "sign" },
        zero: 0,
        input,
        output: t,
    })
}

/// `Relu → Sign` gives {0, 1}, not ±1.
fn never_negative(graph: &Graph<'_>, t: TensorId) -> bool {
    graph.producer(t).is_some_and(|p| {
        matches!(
            graph.node(p).op(),
            "Relu" | "Sigmoid" | "Abs" | "Sqrt" | "Exp"
        )
    })
}
