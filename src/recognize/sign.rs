//! `Sign` and `Clip → Sign`: 0 stays 0. Of a tensor that is never negative, `Sign` gives {0, 1}.

use super::{Binarizer, ZERO_ONE, range};
use crate::graph::{Facts, Graph, TensorId};

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let n = graph.producer(t)?;
    if graph.node(n).op() != "Sign" {
        return None;
    }
    let input = graph.input_of(n, 0)?;
    if !facts.is_data(input) {
        return None;
    }
    let clipped = graph
        .producer(input)
        .is_some_and(|p| graph.node(p).op() == "Clip");
    Some(Binarizer {
        kind: match clipped {
            _ if range::never_negative(graph, facts, input) => ZERO_ONE,
            true => "clip-sign",
            false => "sign",
        },
        zero: 0,
        input,
        output: t,
    })
}
