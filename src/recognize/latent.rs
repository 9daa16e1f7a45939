//! Latent weights that survived the export: what the `Sign` (or its like) in a live weight chain
//! reads, whatever is done to it before and after.

use std::collections::BTreeSet;

use ndarray::ArrayD;

use super::pattern::operand;
use crate::graph::{Facts, Graph, NodeId, TensorId};

/// Nodes of a weight chain that are looked at.
const MOST_NODES: usize = 128;

/// Float weights whose sign is the binary weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latent {
    /// The tensor that holds them: an initializer, or computed from one (centred, standardised).
    pub tensor: TensorId,
    /// The initializer that they come from.
    pub initializer: TensorId,
    /// What scales their sign.
    pub scale: LatentScale,
    /// The sign at a latent of 0.
    pub zero: i8,
    /// Whether the weight is their transpose.
    pub transposed: bool,
}

/// The scale in a live weight chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentScale {
    /// The mean of |W| over each filter, computed in the graph from the latents themselves, by
    /// `Mul(Sign(W), ReduceMean(Abs(W)))` and nothing else.
    MeanAbs,
    /// A constant, a parameter of its own, or computed in another way.
    Other,
}

/// The latents behind the tensor at a layer's weight input, whose value is `values`.
pub(super) fn find(
    graph: &Graph<'_>,
    facts: &Facts,
    weight: TensorId,
    values: &ArrayD<f32>,
) -> Option<Latent> {
    let mut pending = vec![weight];
    let mut seen = BTreeSet::new();
    while let Some(t) = pending.pop() {
        if !seen.insert(t) || seen.len() > MOST_NODES {
            continue;
        }
        let Some(n) = graph.producer(t) else { continue };
        let zero = match graph.node(n).op() {
            "Sign" => Some(0),
            "qonnx.BipolarQuant" | "qonnx.Quant" | "GreaterOrEqual" => Some(1),
            "Greater" => Some(-1),
            _ => None,
        };
        if let Some(zero) = zero
            && let Some(tensor) = graph.input_of(n, 0)
            && let Some(transposed) = explains(facts, tensor, values, zero)
            && let Some(initializer) = root(graph, facts, tensor)
        {
            let plain = !transposed && tensor == initializer;
            let scale = match plain && is_mean_abs(graph, facts, weight, tensor) {
                true => LatentScale::MeanAbs,
                false => LatentScale::Other,
            };
            return Some(Latent {
                tensor,
                initializer,
                scale,
                zero,
                transposed,
            });
        }
        // Input 0 last, so that it is the next one looked at.
        pending.extend(graph.inputs_of(n).into_iter().flatten().rev());
    }
    None
}

/// Whether the signs of `tensor` are those of the weights, as they are (`false`) or transposed
/// (`true`); `None` if they are not.
fn explains(facts: &Facts, tensor: TensorId, values: &ArrayD<f32>, zero: i8) -> Option<bool> {
    let latents = facts.constant(tensor)?.floats()?;
    // Whole filters and whole columns of zeros were masked; a zero among others has to come from a
    // latent of 0, or the weights are ternary.
    let masked = |axis: usize| -> Vec<bool> {
        let slices = values.axis_iter(ndarray::Axis(axis));
        slices.map(|s| s.iter().all(|&w| w == 0.0)).collect()
    };
    let (first, second) = match values.ndim() {
        0 | 1 => return None,
        _ => (masked(0), masked(1)),
    };
    let agree = |l: ndarray::ArrayViewD<'_, f32>| {
        l.shape() == values.shape()
            && l.iter()
                .zip(values.indexed_iter())
                .all(|(&l, (at, &w))| match l {
                    _ if w == 0.0 => (l == 0.0 && zero == 0) || first[at[0]] || second[at[1]],
                    0.0 => (w > 0.0) == (zero > 0) && zero != 0,
                    _ => (l > 0.0) == (w > 0.0),
                })
    };
    if agree(latents.view()) {
        return Some(false);
    }
    (latents.ndim() == 2 && agree(latents.t())).then_some(true)
}

/// The initializer of as many elements that `tensor` is computed from.
fn root(graph: &Graph<'_>, facts: &Facts, tensor: TensorId) -> Option<TensorId> {
    let size = facts.constant(tensor)?.len();
    let mut t = tensor;
    for _ in 0..MOST_NODES {
        if graph.initializer(t).is_some() {
            return Some(t);
        }
        let n = graph.producer(t)?;
        if graph.node(n).op() == "Constant" {
            return Some(t);
        }
        let same = |t: &TensorId| facts.constant(*t).is_some_and(|v| v.len() == size);
        t = graph.inputs_of(n).into_iter().flatten().find(same)?;
    }
    None
}

/// Whether `weight` is `Mul(Sign(w), ReduceMean(Abs(w)))` with one mean for each filter (axis 0).
fn is_mean_abs(graph: &Graph<'_>, facts: &Facts, weight: TensorId, w: TensorId) -> bool {
    let Some(top) = graph
        .producer(weight)
        .filter(|&n| graph.node(n).op() == "Mul")
    else {
        return false;
    };
    let is_sign = |t: TensorId| operand(graph, t, "Sign") == Some(w);
    match (graph.input_of(top, 0), graph.input_of(top, 1)) {
        (Some(a), Some(b)) if is_sign(a) => mean_of(graph, facts, b, w),
        (Some(a), Some(b)) if is_sign(b) => mean_of(graph, facts, a, w),
        _ => false,
    }
}

/// Whether `t` is `ReduceMean(Abs(w))`, perhaps one axis after the other.
fn mean_of(graph: &Graph<'_>, facts: &Facts, t: TensorId, w: TensorId) -> bool {
    let per_filter = match (facts.shape(t), facts.shape(w)) {
        (Some([o, rest @ ..]), Some([filters, ..])) => o == filters && rest.iter().all(|&d| d == 1),
        _ => false,
    };
    let mut source = t;
    let mut reduced = false;
    while let Some(x) = operand(graph, source, "ReduceMean") {
        source = x;
        reduced = true;
    }
    let abs: Option<NodeId> = graph
        .producer(source)
        .filter(|&n| graph.node(n).op() == "Abs");
    per_filter && reduced && abs.and_then(|n| graph.input_of(n, 0)) == Some(w)
}
