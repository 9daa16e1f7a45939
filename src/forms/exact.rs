//! Weights that are ±s up to rounding, written as ±s.

use std::borrow::Cow;

use ndarray::Axis;

use super::{FormError, is_float32, with_weights};
use crate::graph::{Facts, Graph};
use crate::onnx::Tensor;
use crate::onnx::proto::ModelProto;
use crate::recognize;

/// The model with each binary weight of float32 that lies within rounding of ± one scale a filter put there, under
/// the name that it has: of a network that is trained on anyway, and whose bits are asked for.
///
/// # Errors
/// If the graph is invalid.
pub fn without_rounding(model: &ModelProto) -> Result<Cow<'_, ModelProto>, FormError> {
    let mut found: Vec<(String, Tensor)> = Vec::new();
    {
        let graph = Graph::new(model)?;
        let facts = Facts::lean(&graph, 1)?;
        for layer in recognize::layers(&graph, &facts) {
            let name = graph.name(layer.weight);
            let known = found.iter().any(|(n, _)| n == name);
            let Some(binary) = layer.binary_weights.as_ref().filter(|_| !known) else {
                continue;
            };
            if binary.has_zero || !is_float32(&facts, layer.weight) {
                continue;
            }
            let mut exact = layer.values.clone();
            let filters = exact.axis_iter_mut(Axis(layer.filter_axis));
            for (mut filter, &scale) in filters.zip(&binary.scale) {
                filter.mapv_inplace(|w| scale.copysign(w));
            }
            if exact != layer.values {
                found.push((name.to_owned(), Tensor::F32(exact)));
            }
        }
    }
    if found.is_empty() {
        return Ok(Cow::Borrowed(model));
    }
    Ok(Cow::Owned(with_weights(model, found)))
}
