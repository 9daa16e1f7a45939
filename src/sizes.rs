//! Dimensions that a file leaves free: sizes for them while a model is worked on.
//!
//! The working copy has a size in place of each free height and width; what is written of it has
//! the file's own declaration again ([`Model::save_edited`]).

use std::collections::BTreeMap;

use thiserror::Error;

use crate::graph::{Graph, Node, TensorId};
use crate::onnx::Model;
use crate::onnx::proto::{
    ModelProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

/// Sizes of dimensions by their names in the model (`--dim NAME=SIZE`).
pub type Dims = BTreeMap<String, usize>;

/// What a user says of free dimensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// By the dimension's name.
    pub dims: Dims,
    /// By the input's name: its whole shape (`--input-shape NAME=1,3,224,224`).
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// Sizes that do not fit the model.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizesError {
    /// No such dimension.
    #[error("--dim {0}: no input has a free dimension of that name{1}")]
    NoDim(String, String),
    /// No such input.
    #[error("--input-shape {0}: there is no such input; the model has {1}")]
    NoInput(String, String),
    /// Another number of dimensions, or another size than the file fixes.
    #[error("--input-shape {input}={given:?}: the file declares {declared}")]
    Contradiction {
        /// The input.
        input: String,
        /// As given.
        given: Vec<usize>,
        /// As declared.
        declared: String,
    },
}

impl Sizes {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.dims.is_empty() && self.shapes.is_empty()
    }

    /// Fills in free dimensions of `model`'s inputs: those that were given, and those that follow
    /// from the weights that read them. The batch stays free unless it was given.
    ///
    /// # Errors
    /// If a name is not the model's, or a size contradicts the file.
    pub fn apply(&self, model: &mut Model) -> Result<(), SizesError> {
        let follows = from_weights(&model.proto);
        self.check(&model.proto)?;
        for (name, shape) in &self.shapes {
            model.shape_input(name, shape);
        }
        let inputs = free_inputs(&model.proto);
        for name in inputs {
            let known = |axis: usize, dim: &str| {
                let shape = self.shapes.get(&name).and_then(|s| s.get(axis)).copied();
                // A free batch of 1 is what it is anyway.
                let shape = shape.filter(|&n| axis > 0 || n > 1);
                let given = shape.or_else(|| self.dims.get(dim).copied());
                let own = follows.get(&(name.clone(), axis)).copied();
                given.or(own.filter(|_| axis > 0))
            };
            model.size_input(&name, known);
        }
        Ok(())
    }

    fn check(&self, model: &ModelProto) -> Result<(), SizesError> {
        let inputs = || inputs(model);
        for (input, given) in &self.shapes {
            let Some(value) = inputs().find(|v| v.name() == input) else {
                let names: Vec<&str> = inputs().map(|v| v.name()).collect();
                return Err(SizesError::NoInput(input.clone(), names.join(", ")));
            };
            let Some(shape) = shape_of(value) else {
                continue;
            };
            let fits = shape.dim.len() == given.len()
                && shape.dim.iter().zip(given).all(|(d, &g)| match d.value {
                    Some(Value::DimValue(n)) if n > 0 => usize::try_from(n) == Ok(g),
                    _ => true,
                });
            if !fits {
                return Err(SizesError::Contradiction {
                    input: input.clone(),
                    given: given.clone(),
                    declared: shown(shape),
                });
            }
        }
        let names: Vec<String> = inputs()
            .filter_map(shape_of)
            .flat_map(|s| &s.dim)
            .filter_map(|d| match &d.value {
                Some(Value::DimParam(name)) if !name.is_empty() => Some(name.clone()),
                _ => None,
            })
            .collect();
        match self.dims.keys().find(|d| !names.contains(d)) {
            None => Ok(()),
            Some(dim) => {
                let hint = match names.is_empty() {
                    true => "; give --input-shape NAME=1,3,224,224".to_owned(),
                    false => format!("; it has {}", names.join(", ")),
                };
                Err(SizesError::NoDim(dim.clone(), hint))
            }
        }
    }
}

/// The graph inputs that are not initializers.
fn inputs(model: &ModelProto) -> impl Iterator<Item = &ValueInfoProto> {
    let graph = model.graph.iter();
    graph.flat_map(|g| {
        let held = |v: &&ValueInfoProto| !g.initializer.iter().any(|t| t.name() == v.name());
        g.input.iter().filter(held)
    })
}

fn shape_of(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => t.shape.as_ref(),
        _ => None,
    }
}

fn is_free(value: Option<&Value>) -> bool {
    !matches!(value, Some(Value::DimValue(n)) if *n > 0)
}

/// The inputs with a free dimension.
fn free_inputs(model: &ModelProto) -> Vec<String> {
    let open = |v: &&ValueInfoProto| {
        shape_of(v).is_some_and(|s| s.dim.iter().any(|d| is_free(d.value.as_ref())))
    };
    inputs(model)
        .filter(open)
        .map(|v| v.name().to_owned())
        .collect()
}

fn shown(shape: &TensorShapeProto) -> String {
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
    fn shape_input(&mut self, name: &str, shape: &[usize]) {
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
    fn size_input(&mut self, name: &str, known: impl Fn(usize, &str) -> Option<usize>) {
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

/// Inputs whose free dimensions have sizes in a working copy, as the file declares them ([`Model::free`]).
pub type Declared = BTreeMap<String, TypeProto>;

/// By how much sizes are larger where a model with free ones is looked at once more. What a network makes of an
/// image 2^k times smaller is of another parity with 2^k more, and so are the padding and the windows that are cut off there.
pub const STEPS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The same model with other sizes in place of the `free` ones beyond the batch: `step` more. `None` if all of
/// them follow from weights.
pub fn elsewhere(model: &ModelProto, free: &Declared, step: usize) -> Option<ModelProto> {
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

/// Sizes of inputs' axes that follow from the weights that read them.
pub(crate) fn from_weights(model: &ModelProto) -> BTreeMap<(String, usize), usize> {
    let mut found = BTreeMap::new();
    let Ok(graph) = Graph::new(model) else {
        return found;
    };
    for &input in graph.inputs() {
        let Some(rank) = graph.declared_shape(input).map(|s| s.len()) else {
            continue;
        };
        let name = graph.name(input).to_owned();
        // Which axis of the input each axis of a tensor is.
        let mut pending = vec![(input, (0..rank).collect::<Vec<_>>())];
        let mut seen = std::collections::BTreeSet::new();
        while let Some((t, axes)) = pending.pop() {
            if !seen.insert(t) {
                continue;
            }
            for u in graph.consumers(t).iter().filter(|u| u.input.is_some()) {
                let node = graph.node(u.node);
                if let Some((axis, size)) = asked(&graph, &node, u.node, u.input, rank)
                    && let Some(&axis) = axes.get(axis)
                {
                    found.entry((name.clone(), axis)).or_insert(size);
                }
                let behind = match node.op() {
                    "Transpose" => node.ints("perm").and_then(|perm| {
                        let of = |&p: &i64| axes.get(usize::try_from(p).ok()?).copied();
                        perm.iter().map(of).collect::<Option<Vec<_>>>()
                    }),
                    "Identity" | "Dropout" | "Cast" | "Relu" | "Sign" | "Clip" | "Sub" | "Add"
                    | "Mul" | "Div" | "BatchNormalization" | "QuantizeLinear"
                    | "DequantizeLinear" | "qonnx.BipolarQuant" | "qonnx.Quant" => {
                        Some(axes.clone())
                    }
                    _ => None,
                };
                if let (Some(behind), Some(out)) = (behind, graph.output_of(u.node, 0)) {
                    pending.push((out, behind));
                }
            }
        }
    }
    found
}

/// The axis of its input `k` that a node knows the size of.
fn asked(
    graph: &Graph<'_>,
    node: &Node<'_>,
    n: crate::graph::NodeId,
    k: Option<usize>,
    rank: usize,
) -> Option<(usize, usize)> {
    if k != Some(0) {
        return None;
    }
    let weight = dims_of(graph, graph.input_of(n, 1)?)?;
    let at = |k: usize| weight.get(k).copied();
    match node.op() {
        "Conv" => {
            let group = usize::try_from(node.int("group", 1)).ok()?;
            Some((1, at(1)?.checked_mul(group)?))
        }
        "ConvTranspose" => Some((1, at(0)?)),
        "BatchNormalization" | "InstanceNormalization" => Some((1, at(0)?)),
        "Gemm" if node.int("transA", 0) == 0 => match node.int("transB", 0) {
            0 => Some((1, at(0)?)),
            _ => Some((1, at(1)?)),
        },
        "MatMul" if weight.len() == 2 => Some((rank.checked_sub(1)?, at(0)?)),
        _ => None,
    }
}

/// Products within one another that are followed: each has two sides.
const PRODUCTS: usize = 6;

/// The dimensions of a constant, seen through operators that keep them.
fn dims_of(graph: &Graph<'_>, t: TensorId) -> Option<Vec<usize>> {
    dims_within(graph, t, PRODUCTS)
}

/// The same, through at most `products` products within one another.
fn dims_within(graph: &Graph<'_>, mut t: TensorId, products: usize) -> Option<Vec<usize>> {
    for _ in 0..32 {
        if let Some(proto) = graph.initializer(t) {
            return crate::onnx::element_count(&proto.dims).map(|(shape, _)| shape);
        }
        let n = graph.producer(t)?;
        let node = graph.node(n);
        match node.op() {
            "Constant" => return node.constant().map(|v| v.shape().to_vec()),
            // A scale may stand on either side.
            "Mul" | "Div" => {
                let left = products.checked_sub(1)?;
                let side = |k| dims_within(graph, graph.input_of(n, k)?, left);
                return match (side(0)?, side(1)?) {
                    (a, b) if b.iter().all(|&d| d == 1) && b.len() <= a.len() => Some(a),
                    (a, b) if a.iter().all(|&d| d == 1) && a.len() <= b.len() => Some(b),
                    (a, b) if a.len() == b.len() => {
                        Some(a.iter().zip(&b).map(|(&a, &b)| a.max(b)).collect())
                    }
                    _ => None,
                };
            }
            "Identity" | "Cast" | "Sign" | "DequantizeLinear" | "Clip" | "qonnx.BipolarQuant"
            | "qonnx.Quant" => t = graph.input_of(n, 0)?,
            _ => return None,
        }
    }
    None
}
