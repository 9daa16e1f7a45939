//! Parameters that are no finite numbers.

use super::finding::Findings;
use crate::graph::{Facts, Graph};
use crate::operators::Kind;

/// Whether an operator of that kind computes with trained or chosen numbers.
fn has_parameters(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Products
            | Kind::BatchNormalization
            | Kind::Normalization(_)
            | Kind::Slope
            | Kind::Quantize
            | Kind::Dequantize
    )
}

/// Names each layer and normalisation with a constant parameter that is infinite or NaN, also where
/// it is computed: what reads it may hide that.
pub(super) fn parameters(graph: &Graph<'_>, facts: &Facts, findings: &mut Findings) {
    for &n in graph.order() {
        let node = graph.node(n);
        let quantizer = node.op().starts_with("qonnx.");
        if !quantizer && !node.operator().is_some_and(|row| has_parameters(row.kind)) {
            continue;
        }
        for (k, t) in graph.inputs_of(n).into_iter().enumerate() {
            let Some(t) = t.filter(|&t| !facts.is_data(t)) else {
                continue;
            };
            let Some(values) = facts.weights(graph, t) else {
                continue;
            };
            let bad = values.iter().filter(|v| !v.is_finite()).count();
            if bad > 0 {
                findings.error_at(
                    "finite",
                    graph.label(n),
                    format!(
                        "reads '{}' (input {k}), which holds {bad} of {} numbers that are not finite; was the training diverging when it was exported?",
                        graph.name(t),
                        values.len()
                    ),
                );
            }
        }
    }
}
