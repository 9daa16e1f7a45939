//! Latent weights that survived the export, found by structure.

use crate::graph::{Facts, Graph, NodeId, TensorId};

/// Float weights whose sign is the binary weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latent {
    /// The initializer that holds them.
    pub initializer: TensorId,
    /// What scales their sign.
    pub scale: LatentScale,
}

/// The scale in a live weight chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentScale {
    /// The mean of |W| over each filter, computed in the graph from the latents themselves.
    MeanAbs,
    /// A constant or a parameter of its own (or none: 1).
    Other,
}

/// The latents behind the tensor at a layer's weight input: `Mul(Sign(W), scale)` or `Sign(W)`.
pub(super) fn find(graph: &Graph<'_>, facts: &Facts, weight: TensorId) -> Option<Latent> {
    let top = graph.producer(weight)?;
    if graph.node(top).op() == "Sign" {
        return Some(Latent {
            initializer: signed_initializer(graph, weight)?,
            scale: LatentScale::Other,
        });
    }
    if graph.node(top).op() != "Mul" {
        return None;
    }
    let (a, b) = (graph.input_of(top, 0)?, graph.input_of(top, 1)?);
    let (initializer, other) = match (signed_initializer(graph, a), signed_initializer(graph, b)) {
        (Some(w), _) => (w, b),
        (None, Some(w)) => (w, a),
        (None, None) => return None,
    };
    let scale = match is_mean_abs(graph, facts, other, initializer) {
        true => LatentScale::MeanAbs,
        false => LatentScale::Other,
    };
    Some(Latent { initializer, scale })
}

/// `W` of a tensor that is `Sign(W)` of an initializer.
fn signed_initializer(graph: &Graph<'_>, t: TensorId) -> Option<TensorId> {
    let w = operand(graph, t, "Sign")?;
    graph.initializer(w).is_some().then_some(w)
}

/// Input 0 of the node that writes `t`, if that node is an `op`.
fn operand(graph: &Graph<'_>, t: TensorId, op: &str) -> Option<TensorId> {
    let n: NodeId = graph.producer(t)?;
    (graph.node(n).op() == op)
        .then(|| graph.input_of(n, 0))
        .flatten()
}

/// Whether `t` is `ReduceMean(Abs(w))` with one value for each filter (axis 0).
fn is_mean_abs(graph: &Graph<'_>, facts: &Facts, t: TensorId, w: TensorId) -> bool {
    let source = operand(graph, t, "ReduceMean").and_then(|a| operand(graph, a, "Abs"));
    let per_filter = match (facts.shape(t), facts.shape(w)) {
        (Some([o, rest @ ..]), Some([filters, ..])) => o == filters && rest.iter().all(|&d| d == 1),
        _ => false,
    };
    source == Some(w) && per_filter
}
