//! The same model at larger sizes of what its file leaves free.

use std::collections::BTreeMap;

use super::follow::from_weights;
use super::input::{is_free, shape_of};
use crate::onnx::proto::{
    ModelProto, TypeProto, ValueInfoProto, tensor_shape_proto::dimension::Value, type_proto,
};

/// Inputs whose free dimensions have sizes in a working copy, as the file declares them ([`Model::free`](crate::onnx::Model::free)).
pub type Declared = BTreeMap<String, TypeProto>;

/// By how much sizes are larger where a model with free ones is looked at once more. What a network makes of an
/// image 2^k times smaller is of another parity with 2^k more, and so are the padding and the windows that are cut off there.
pub const STEPS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The same model with other sizes in place of the `free` ones beyond the batch: `step` more. `None` if all of
/// them follow from weights.
pub fn enlarged(model: &ModelProto, free: &Declared, step: usize) -> Option<ModelProto> {
    let mut other = model.clone();
    let known = from_weights(model);
    let mut changed = false;
    for input in other.graph.iter_mut().flat_map(|g| &mut g.input) {
        let name = input.name().to_owned();
        let Some(declared) = free.get(&name) else {
            continue;
        };
        let declared = ValueInfoProto {
            r#type: Some(declared.clone()),
            ..ValueInfoProto::default()
        };
        let filled = shape_of(input).map_or(&[][..], |s| &s.dim);
        // Of no declared shape every size is free.
        let is_open = |k: usize| match shape_of(&declared) {
            Some(shape) => (shape.dim.get(k)).is_some_and(|d| is_free(d.value.as_ref())),
            None => true,
        };
        let open = (1..filled.len()).filter(|&k| is_open(k));
        let mut open: Vec<usize> = open
            .filter(|&k| !known.contains_key(&(name.clone(), k)))
            .collect();
        let size = |k: usize| match filled.get(k)?.value {
            Some(Value::DimValue(n)) => Some(n),
            _ => None,
        };
        match filled.len() {
            4 => {
                let few = |k| matches!(size(k), Some(1 | 3));
                let last = match (open.contains(&1), open.contains(&3)) {
                    (true, true) => !few(1) && few(3),
                    (first, _) => first,
                };
                let channels = if last { 3 } else { 1 };
                open.retain(|&k| k != channels);
            }
            // Signals [N, L, C] of a free length.
            3 if open.iter().all(|&k| k == 1) => {}
            // The second axis is that of channels, or of features.
            _ => open.retain(|&k| k > 1),
        }
        if let Some(type_proto::Value::TensorType(t)) =
            input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            let dims = t.shape.iter_mut().flat_map(|s| &mut s.dim).enumerate();
            for (_, dim) in dims.filter(|(k, _)| open.contains(k)) {
                if let Some(Value::DimValue(n)) = &mut dim.value {
                    *n = n.saturating_add(i64::try_from(step).unwrap_or(0));
                    changed = true;
                }
            }
        }
    }
    changed.then_some(other)
}
