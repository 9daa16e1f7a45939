//! Element types that masks cannot be learned in.

use std::path::Path;

use super::View;
use crate::error::Error;
use crate::onnx::{DataType, type_name};

/// Why masks cannot be learned of a model, in one line: it computes in another float type than `float32`, in
/// which learning computes and writes. `None` if they can.
pub fn why_not_learned(view: &View<'_>) -> Option<String> {
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
/// [`why_not_learned`].
pub(super) fn check_learning(path: &Path, view: &View<'_>) -> Result<(), Error> {
    match why_not_learned(view) {
        Some(why) => Err(Error::unsuitable(path, why)),
        None => Ok(()),
    }
}
