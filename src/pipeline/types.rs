//! Element types that masks cannot be learned in.

use std::path::Path;

use super::View;
use crate::error::Error;
use crate::onnx::{DataType, type_name};

/// Learning computes in `float32`, and writes what it learned as such.
///
/// # Errors
/// One line that names the type and the tensor, for a model that computes in another float type.
pub(super) fn check_learning(path: &Path, view: &View<'_>) -> Result<(), Error> {
    let graph = &view.graph;
    let of_layers = view.layers.iter().map(|l| l.weight);
    let data = graph.inputs().iter().copied().chain(of_layers);
    let computed = graph.tensors().filter(|&t| view.facts.is_data(t));
    for t in data.chain(computed) {
        let Some(number) = view.facts.element(t) else {
            continue;
        };
        let kind = DataType::from_onnx(number);
        if kind.is_some_and(|k| k.is_float() && k != DataType::F32) {
            return Err(Error::unsuitable(
                path,
                format!(
                    "computes in {} (tensor '{}'); masks are learned in float32: export the model in float32, or give the filters with --masks, which keeps the type",
                    type_name(number),
                    graph.name(t)
                ),
            ));
        }
    }
    Ok(())
}
