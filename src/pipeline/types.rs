//! Element types that masks cannot be learned in.

use std::path::Path;

use super::View;
use crate::error::Error;
use crate::onnx::{DataType, type_name};

/// The other float type than `float32` that a model computes in, so that no masks can be learned of it, which
/// computes and writes in that one: a line with the tensor and the remedy. `None` if there is no other.
pub fn other_float_type(view: &View<'_>) -> Option<String> {
    let graph = &view.graph;
    let of_layers = view.layers.iter().map(|l| l.weight);
    let data = graph.inputs().iter().copied().chain(of_layers);
    let computed = graph.tensors().filter(|&t| view.facts.is_data(t));
    data.chain(computed).find_map(|t| {
        let number = view.facts.element(t)?;
        let kind = DataType::from_onnx(number)?;
        (kind.is_float() && kind != DataType::F32).then(|| {
            format!(
                "computes in {} (tensor '{}'); masks are learned in float32: export the model in float32, or give the filters with --masks, which keeps the type",
                type_name(number),
                graph.name(t)
            )
        })
    })
}

/// Refuses what masks cannot be learned of.
///
/// # Errors
/// [`other_float_type`].
pub(super) fn check_learning(path: &Path, view: &View<'_>) -> Result<(), Error> {
    match other_float_type(view) {
        Some(why) => Err(Error::unsuitable(path, why)),
        None => Ok(()),
    }
}
