//! A model at other sizes of the inputs that its file leaves free.

use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;
use crate::rewrite::rules::LayerShape;
use crate::sizes::{Declared, STEPS, enlarged};

/// What is known of the tensors of `graph`, which is that of `model`, at each other size that it runs at.
pub(super) fn facts_at_other_sizes(
    model: &ModelProto,
    graph: &Graph<'_>,
    facts: &Facts,
    free: &Declared,
) -> Vec<Facts> {
    if free.is_empty() {
        return Vec::new();
    }
    // One copy of the model at a time.
    let at = |step: usize| {
        let other = enlarged(model, free, step)?;
        let there = facts.at_other_sizes(&Graph::new(&other).ok()?).ok()?;
        runs(graph, facts, &there).then_some(there)
    };
    STEPS.into_iter().filter_map(at).collect()
}

/// Whether a model that runs here runs there too: every shape follows, layers get as many values as they mix,
/// and outputs are those of as many samples.
fn runs(graph: &Graph<'_>, facts: &Facts, there: &Facts) -> bool {
    let follows = graph.tensors().filter(|&t| facts.is_data(t)).all(|t| {
        match (facts.shape(t), there.shape(t)) {
            (Some(here), Some(there)) => here.len() == there.len(),
            (here, _) => here.is_none(),
        }
    });
    let fits = graph.order().iter().all(|&n| {
        let Some(layer) = LayerShape::of(graph, facts, n) else {
            return true;
        };
        let data = graph.input_of(n, layer.weights_at.data_input());
        data.and_then(|t| there.shape(t)).is_some_and(|shape| {
            let axis = layer.data_axis(&graph.node(n), shape.len());
            shape.get(axis) == Some(&layer.inputs)
        })
    });
    let samples = |facts: &Facts| -> Vec<Option<usize>> {
        let outputs = graph.outputs().iter();
        outputs.map(|&t| facts.shape(t)?.first().copied()).collect()
    };
    follows && fits && samples(facts) == samples(there)
}
