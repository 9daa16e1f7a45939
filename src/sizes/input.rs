//! A model's inputs: what is free of them, and sizes in its place.

use crate::onnx::proto::{
    ModelProto, TensorShapeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use crate::onnx::{Model, fed_inputs};

/// The graph inputs that are not initializers.
pub(super) fn inputs(model: &ModelProto) -> impl Iterator<Item = &ValueInfoProto> {
    model.graph.iter().flat_map(fed_inputs)
}

pub(super) fn shape_of(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => t.shape.as_ref(),
        _ => None,
    }
}

pub(super) fn is_free(value: Option<&Value>) -> bool {
    !matches!(value, Some(Value::DimValue(n)) if *n > 0)
}

/// The inputs with a free dimension.
pub(super) fn free_inputs(model: &ModelProto) -> Vec<String> {
    let open = |v: &&ValueInfoProto| {
        shape_of(v).is_some_and(|s| s.dim.iter().any(|d| is_free(d.value.as_ref())))
    };
    inputs(model)
        .filter(open)
        .map(|v| v.name().to_owned())
        .collect()
}

pub(super) fn shown(shape: &TensorShapeProto) -> String {
    let dims: Vec<String> = shape
        .dim
        .iter()
        .map(|d| match &d.value {
            Some(Value::DimValue(n)) if *n > 0 => n.to_string(),
            Some(Value::DimParam(name)) if !name.is_empty() => name.clone(),
            _ => "?".to_owned(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

impl Model {
    /// Gives an input that the file declares no shape of this one, the batch free where it is 1; what is written has
    /// none again.
    pub(super) fn shape_input(&mut self, name: &str, shape: &[usize]) {
        let graph = self.proto.graph.iter_mut();
        let Some(input) = graph.flat_map(|g| &mut g.input).find(|v| v.name() == name) else {
            return;
        };
        let declared = input.r#type.clone();
        if let Some(type_proto::Value::TensorType(t)) =
            input.r#type.as_mut().and_then(|t| t.value.as_mut())
            && t.shape.is_none()
            && let Some(declared) = declared
        {
            let dim = |(axis, &size): (usize, &usize)| {
                let size = i64::try_from(size).ok().filter(|&n| axis > 0 || n > 1);
                Dimension {
                    value: size.map(Value::DimValue),
                    ..Dimension::default()
                }
            };
            let dim = shape.iter().enumerate().map(dim).collect();
            t.shape = Some(TensorShapeProto { dim });
            self.free.entry(name.to_owned()).or_insert(declared);
        }
    }

    /// Gives the free dimensions of an input the sizes that `known` has for an axis and its name;
    /// what is written has them free again.
    pub(super) fn size_input(&mut self, name: &str, known: impl Fn(usize, &str) -> Option<usize>) {
        let graph = self.proto.graph.iter_mut();
        let Some(input) = graph.flat_map(|g| &mut g.input).find(|v| v.name() == name) else {
            return;
        };
        let declared = input.r#type.clone();
        let mut changed = false;
        if let Some(type_proto::Value::TensorType(t)) =
            input.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            let dims = t.shape.iter_mut().flat_map(|s| &mut s.dim);
            for (axis, dim) in dims.enumerate().filter(|(_, d)| is_free(d.value.as_ref())) {
                let label = match &dim.value {
                    Some(Value::DimParam(name)) => name.as_str(),
                    _ => "",
                };
                if let Some(size) = known(axis, label).and_then(|n| i64::try_from(n).ok()) {
                    dim.value = Some(Value::DimValue(size));
                    changed = true;
                }
            }
        }
        if changed && let Some(declared) = declared {
            self.free.entry(name.to_owned()).or_insert(declared);
        }
    }

    /// The free height and width (or the two axes of a signal) of the only input, by their axes, if it takes
    /// images; empty where they are fixed.
    pub fn free_image_axes(&self) -> Option<(String, [usize; 2])> {
        let mut all = inputs(&self.proto);
        let (input, None) = (all.next()?, all.next()) else {
            return None;
        };
        let dims = &shape_of(input)?.dim;
        let size = |k: usize| match dims.get(k)?.value {
            Some(Value::DimValue(n)) if n > 0 => Some(n),
            _ => None,
        };
        let axes = match (dims.len(), size(1), size(3)) {
            (4, Some(1 | 3), _) => [2, 3],
            (4, _, Some(1 | 3)) => [1, 2],
            (4, None, None) => [2, 3],
            (3, ..) => [1, 2],
            _ => return None,
        };
        let open = axes.iter().any(|&k| size(k).is_none());
        open.then(|| (input.name().to_owned(), axes))
    }

    /// Gives a free height and width the size of the images (of signals: of their two axes, in either order).
    pub fn size_images(&mut self, height: usize, width: usize) {
        if let Some((name, axes)) = self.free_image_axes() {
            let fixed = |axis: usize| {
                let dims = inputs(&self.proto).next().and_then(shape_of);
                match dims?.dim.get(axis)?.value {
                    Some(Value::DimValue(n)) if n > 0 => usize::try_from(n).ok(),
                    _ => None,
                }
            };
            // The length of a signal whose channels are known.
            let turned = match (fixed(axes[0]), fixed(axes[1])) {
                (Some(first), None) => first != height && first == width,
                (None, Some(second)) => second != width && second == height,
                _ => false,
            };
            let (height, width) = if turned {
                (width, height)
            } else {
                (height, width)
            };
            self.size_input(&name, |axis, _| match axis {
                a if a == axes[0] => Some(height),
                a if a == axes[1] => Some(width),
                _ => None,
            });
        }
    }
}
