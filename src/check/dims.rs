//! Dynamic dimensions of the inputs, filled in so that a model can be run.

use std::collections::HashSet;

use crate::onnx::fed_inputs;
use crate::onnx::proto::{
    GraphProto, ModelProto, TensorShapeProto, tensor_shape_proto::dimension::Value, type_proto,
};
use crate::sizes::{Sizes, from_weights};

/// Sizes tried for a dimension that is neither a batch nor given: what small and large images are,
/// and what sequences are.
const SIZES: [i64; 4] = [32, 224, 8, 1];
/// Channels tried where no weight tells them.
const CHANNELS: [i64; 2] = [3, 1];

/// Copies of `model` whose inputs have static shapes, in the order to try them: the first dimension
/// of each input is the batch, 1; all others have one size, if `given` names no other. One copy
/// where only batches are dynamic.
pub(super) fn filled(model: &ModelProto, given: &Sizes) -> Vec<ModelProto> {
    let Some(graph) = &model.graph else {
        return Vec::new();
    };
    let batches = batch_names(graph);
    let follows = from_weights(model);
    let fill = |size: i64, channels: i64| {
        let mut copy = model.clone();
        let mut guessed = Guessed::default();
        for (input, shape) in shapes_mut(&mut copy) {
            let image = shape.dim.len() == 4;
            for (axis, dim) in shape.dim.iter_mut().enumerate() {
                let name = match &dim.value {
                    Some(Value::DimValue(n)) if *n > 0 => continue,
                    Some(Value::DimParam(name)) => name.as_str(),
                    _ => "",
                };
                let shape = given.shapes.get(&input).and_then(|s| s.get(axis));
                let known = shape.or_else(|| given.dims.get(name));
                let value = match known.or_else(|| follows.get(&(input.clone(), axis))) {
                    Some(&n) => i64::try_from(n).unwrap_or(i64::MAX),
                    None if axis == 0 || batches.contains(name) => 1,
                    // Nothing that reads them says how many channels there are.
                    None if image && axis == 1 => {
                        guessed.channels = true;
                        channels
                    }
                    None => {
                        guessed.size = true;
                        size
                    }
                };
                dim.value = Some(Value::DimValue(value));
            }
        }
        (copy, guessed)
    };
    let mut copies = Vec::new();
    for size in SIZES {
        for channels in CHANNELS {
            let (copy, guessed) = fill(size, channels);
            copies.push(copy);
            if !guessed.size && !guessed.channels {
                return copies;
            }
            if !guessed.channels {
                break;
            }
        }
        if let (_, Guessed { size: false, .. }) = fill(size, 1) {
            break;
        }
    }
    copies
}

/// What was made up.
#[derive(Debug, Default)]
struct Guessed {
    size: bool,
    channels: bool,
}

/// Whether an input's rank is not declared: then nothing can be filled in.
pub(super) fn without_shape(graph: &GraphProto) -> Option<&str> {
    let open = fed_inputs(graph).find(|v| {
        let value = v.r#type.as_ref().and_then(|t| t.value.as_ref());
        matches!(value, Some(type_proto::Value::TensorType(t)) if t.shape.is_none())
    });
    open.map(|v| v.name())
}

fn batch_names(graph: &GraphProto) -> HashSet<String> {
    let shapes = graph
        .input
        .iter()
        .filter_map(|v| match v.r#type.as_ref()?.value.as_ref()? {
            type_proto::Value::TensorType(t) => t.shape.as_ref(),
            _ => None,
        });
    let first = shapes.filter_map(|s| match s.dim.first()?.value.as_ref()? {
        Value::DimParam(name) if !name.is_empty() => Some(name.clone()),
        _ => None,
    });
    first.collect()
}

fn shapes_mut(model: &mut ModelProto) -> impl Iterator<Item = (String, &mut TensorShapeProto)> {
    let inputs = model.graph.iter_mut().flat_map(|g| &mut g.input);
    inputs.filter_map(|v| {
        let name = v.name().to_owned();
        match v.r#type.as_mut()?.value.as_mut()? {
            type_proto::Value::TensorType(t) => Some((name, t.shape.as_mut()?)),
            _ => None,
        }
    })
}
