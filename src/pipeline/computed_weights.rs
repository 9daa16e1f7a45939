//! Weights that a model computes, here and in the runtime.

use std::path::Path;

use super::{View, written};
use crate::error::Error;
use crate::onnx::proto::ModelProto;
use crate::recognize::Layer;
use crate::verify::Runtime;

/// By what part of a layer's largest weight others may differ that a runtime computes in another order, or in halves.
const SAME_WEIGHT: f64 = 0.01;

/// Weights that nodes of the model compute must be those that the runtime computes: where a layer loses filters, they
/// are written as they were computed here, and what is verified is of these.
pub(super) fn agree(
    path: &Path,
    view: &View<'_>,
    model: &ModelProto,
    runtime: &dyn Runtime,
) -> Result<(), Error> {
    let graph = &view.graph;
    let computed = |layer: &&Layer| graph.producer(layer.weight).is_some();
    if !view.layers.iter().any(|layer| computed(&layer)) {
        return Ok(());
    }
    let theirs = written::computed(model, runtime);
    for layer in view.layers.iter().filter(computed) {
        let theirs = theirs.get(graph.name(layer.weight));
        let ours = view.facts.typed_weights(graph, layer.weight);
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            continue;
        };
        let ours = ours.to_f64();
        let largest = ours.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let same = |(a, &b): (&f64, &f32)| (a - f64::from(b)).abs() <= SAME_WEIGHT * largest;
        let other = ours.iter().zip(theirs).filter(|&pair| !same(pair)).count();
        if other > 0 || ours.shape() != theirs.shape() {
            return Err(Error::unsuitable(
                path,
                format!(
                    "node '{}': of its {} weights, which other nodes compute, {other} are others in the runtime than here; have them computed first, for example by its offline optimisation, and please report this model",
                    layer.name,
                    ours.len()
                ),
            ));
        }
    }
    Ok(())
}
