//! From a layer's data input back to the binariser.

use super::{Binarizer, binarizer_of};
use crate::graph::{Facts, Graph, TensorId};

/// Operators that only move, select or repeat values: ±1 stays ±1.
const TRANSPARENT: &[&str] = &[
    "MaxPool",
    "Identity",
    "Dropout",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Gather",
    "Expand",
];

/// The binariser behind `t`, through operators that keep its values what they are.
pub(super) fn binarizer_behind(
    graph: &Graph<'_>,
    facts: &Facts,
    mut t: TensorId,
) -> Option<Binarizer> {
    loop {
        if let Some(b) = binarizer_of(graph, facts, t) {
            return Some(b);
        }
        let n = graph.producer(t)?;
        if !TRANSPARENT.contains(&graph.node(n).op()) {
            return None;
        }
        t = graph.input_of(n, 0)?;
    }
}
