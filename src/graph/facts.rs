//! What is known of each tensor before the model runs: shape at a concrete batch size, and value
//! where it is constant.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::ArrayD;
use thiserror::Error;

use super::budget::Budget;
use super::shapes::Inputs;
use super::{Graph, Node, TensorId, Use, branches, elements, eval, shapes};
use crate::onnx::{DataType, Tensor};
use crate::operators::Kind;

/// Shapes and constant values of a graph's tensors.
#[derive(Debug)]
pub struct Facts {
    batch: usize,
    fixed_batch: bool,
    of_shape: Vec<bool>,
    data: Vec<bool>,
    /// Constants whose value was left in the file.
    left: Vec<bool>,
    /// The type of each tensor's elements.
    elements: Vec<Option<i32>>,
    pub(super) here: World,
    /// The same of everything that depends on the input's shape, at another batch size: what is the
    /// same there does not depend on it.
    elsewhere: World,
}

/// Shapes and values at one batch size.
#[derive(Debug)]
pub(super) struct World {
    shapes: Vec<Option<Vec<usize>>>,
    /// Shared by the facts of one model at several sizes.
    pub(super) values: Vec<Option<Arc<Tensor>>>,
    budget: Budget,
}

impl World {
    fn new(count: usize) -> Self {
        Self {
            shapes: vec![None; count],
            values: vec![None; count],
            budget: Budget::new(),
        }
    }

    /// A value within the budget.
    fn set_value(&mut self, t: TensorId, value: Tensor) {
        self.shapes[t.0] = Some(value.shape().to_vec());
        self.values[t.0] = Some(Arc::new(value.row_major()));
    }

    /// A shape without a value, if it is believed.
    fn set_shape(&mut self, t: TensorId, shape: Vec<usize>) {
        self.shapes[t.0] = self.budget.admit(&shape).then_some(shape);
    }

    fn set(&mut self, outputs: &[Option<TensorId>], found: Found) {
        match (found, outputs.first()) {
            (Found::Value(value), Some(Some(out))) => self.set_value(*out, value),
            (Found::Value(_), _) => {}
            (Found::Shapes(shapes), _) => {
                for (t, s) in outputs.iter().zip(shapes) {
                    if let Some(t) = t {
                        self.set_shape(*t, s);
                    }
                }
            }
        }
    }
}

/// Where facts have their constants from.
#[derive(Clone, Copy)]
enum Constants<'f> {
    /// From the file, all of them.
    All,
    /// From the file, without the weights of layers.
    Few,
    /// From the facts of the same model at another size.
    Of(&'f Facts),
}

/// The first dimension of the inputs, where each of them gives the same one: where one leaves it open, the batch
/// is.
fn fixed_batch(graph: &Graph<'_>) -> Option<usize> {
    let declared = graph.inputs().iter().map(|&t| graph.declared_shape(t));
    // A number has no batch.
    let first = declared.filter_map(|dims| match dims {
        Some(dims) => dims.first().copied(),
        None => Some(None),
    });
    let all: Option<Vec<usize>> = first.collect();
    let all = all?;
    let one = *all.first()?;
    all.iter().all(|&size| size == one).then_some(one)
}

/// What is known of a node's outputs.
enum Found {
    /// The first one's value.
    Value(Tensor),
    /// Shapes, as far as they are known.
    Shapes(Vec<Vec<usize>>),
}

/// The other batch size is larger by this: enough for a batch divided by 8 to show.
const FURTHER: usize = 8;

/// Why nothing can be inferred.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactsError {
    /// The image size is not in the file.
    #[error(
        "graph input '{input}' has no static shape beyond the batch ({shape}); give --input-shape {input}={example} with the sizes that it is used at (or --dim NAME=SIZE)"
    )]
    DynamicInput {
        /// The input.
        input: String,
        /// As declared.
        shape: String,
        /// A whole shape that it may have.
        example: String,
    },
    /// An image of a size that no memory holds.
    #[error(
        "graph input '{input}' is declared as {shape}, which is too large; set its dimensions in the file"
    )]
    HugeInput {
        /// The input.
        input: String,
        /// As declared.
        shape: String,
    },
}

impl Facts {
    /// Infers shapes and constants, with the first dimension of each graph input set to `batch`
    /// where it is dynamic.
    pub fn infer(graph: &Graph<'_>, batch: usize) -> Result<Self, FactsError> {
        Self::of(graph, batch, Constants::All)
    }

    /// [`Facts::infer`] in little memory: the weights of layers, nearly all that a model holds, are
    /// left in the file. [`Facts::weights`] reads them when they are wanted; elsewhere they have
    /// a shape and no value.
    pub fn lean(graph: &Graph<'_>, batch: usize) -> Result<Self, FactsError> {
        Self::of(graph, batch, Constants::Few)
    }

    /// Of the model of `self` with other sizes of its inputs, whose graph is `graph`; constants are shared.
    ///
    /// # Errors
    /// As [`Facts::infer`].
    pub fn at_other_sizes(&self, graph: &Graph<'_>) -> Result<Self, FactsError> {
        Self::of(graph, self.batch, Constants::Of(self))
    }

    fn of(graph: &Graph<'_>, batch: usize, constants: Constants<'_>) -> Result<Self, FactsError> {
        let count = graph.tensor_count();
        let mut facts = Self {
            batch,
            fixed_batch: false,
            of_shape: vec![false; count],
            data: vec![false; count],
            left: vec![false; count],
            elements: elements::infer(graph),
            here: World::new(count),
            elsewhere: World::new(count),
        };
        if let Some(fixed) = fixed_batch(graph) {
            facts.fixed_batch = true;
            facts.batch = fixed;
        }
        for &t in graph.inputs() {
            facts.data[t.0] = true;
            let Some(declared) = graph.declared_shape(t) else {
                continue;
            };
            let filled = |batch: usize| -> Option<Vec<usize>> {
                let dims = declared.iter().enumerate();
                dims.map(|(i, d)| d.or((i == 0).then_some(batch))).collect()
            };
            let shape = filled(batch);
            let input = || graph.name(t).to_owned();
            let text = || {
                let dims = declared
                    .iter()
                    .map(|d| d.map_or("?".to_owned(), |d| d.to_string()));
                dims.collect::<Vec<_>>().join("×")
            };
            let Some(shape) = shape else {
                // Of images, or of signals.
                let length = if declared.len() == 3 { 1000 } else { 224 };
                let usual = |i: usize| [1, 3].get(i).copied().unwrap_or(length);
                let dims = declared.iter().enumerate();
                let dims = dims.map(|(i, d)| d.unwrap_or(usual(i)).to_string());
                return Err(FactsError::DynamicInput {
                    input: input(),
                    shape: text(),
                    example: dims.collect::<Vec<_>>().join(","),
                });
            };
            facts.here.set_shape(t, shape);
            if let Some(shape) = filled(batch.saturating_add(FURTHER)) {
                facts.elsewhere.set_shape(t, shape);
            }
            if facts.here.shapes[t.0].is_none() {
                return Err(FactsError::HugeInput {
                    input: input(),
                    shape: text(),
                });
            }
        }
        match constants {
            Constants::Of(other) => facts.share(other),
            own => facts.read(graph, matches!(own, Constants::Few)),
        }
        for &n in graph.order() {
            facts.visit(graph, n, matches!(constants, Constants::Of(_)));
        }
        Ok(facts)
    }

    /// What the file holds; `lean`: without the weights of layers.
    fn read(&mut self, graph: &Graph<'_>, lean: bool) {
        for t in graph.tensors() {
            if let Some(value) = graph.initializer_value(t) {
                self.set_read(t, value);
                if lean && only_weights(graph, t) {
                    self.leave(t);
                }
            } else if let Some(dims) = graph
                .initializer(t)
                .map(|p| &p.dims)
                .or_else(|| graph.sparse_initializer(t).map(|s| &s.dims))
                && let Some((shape, _)) = crate::onnx::element_count(dims)
            {
                // An element type we do not compute with still has a shape.
                self.here.set_shape(t, shape);
            }
        }
    }

    /// All of `other` that does not depend on the size of its inputs.
    fn share(&mut self, other: &Self) {
        for i in 0..self.here.values.len().min(other.here.values.len()) {
            if !other.depends_on_input(TensorId(i)) {
                self.here.values[i].clone_from(&other.here.values[i]);
                self.here.shapes[i].clone_from(&other.here.shapes[i]);
                self.left[i] = other.left[i];
            }
        }
        self.here.budget = other.here.budget;
    }

    /// `shared`: what depends on constants alone is known.
    fn visit(&mut self, graph: &Graph<'_>, n: super::NodeId, shared: bool) {
        let node = graph.node(n);
        let Some(out) = graph.output_of(n, 0) else {
            return;
        };
        if let Some(value) = node.constant().filter(|_| !shared) {
            self.set_read(out, value);
            return;
        }
        let inputs = graph.inputs_of(n);
        let from_data = inputs.iter().flatten().any(|t| self.data[t.0])
            || graph.captured_by(n).any(|t| self.data[t.0]);
        let of_shape = inputs.iter().flatten().any(|t| self.of_shape[t.0]);
        if shared && !from_data && !of_shape {
            return;
        }
        if !from_data {
            // A layer of constants is a constant.
            inputs.iter().flatten().for_each(|&t| self.recall(graph, t));
        }
        if matches!(node.op(), "Shape" | "Size") {
            let of = graph.input_of(n, 0);
            let value = |shape: Option<&[usize]>| shapes::value(&node, shape?);
            if let Some(value) = value(of.and_then(|t| self.shape(t))) {
                self.of_shape[out.0] = of_shape || from_data;
                self.here.set_value(out, value);
            }
            if let Some(value) = value(of.and_then(|t| self.shape_elsewhere(t))) {
                self.elsewhere.set_value(out, value);
            }
            return;
        }
        let outputs = graph.outputs_of(n);
        for t in outputs.iter().flatten() {
            self.data[t.0] = from_data;
            self.of_shape[t.0] = of_shape;
        }
        let shape = |t| self.shape(t);
        let value = |t| self.value(t);
        let mut budget = self.here.budget;
        let found = compute(graph, &node, &inputs, (shape, value), &mut budget);
        self.here.budget = budget;
        self.here.set(&outputs, found);
        if from_data || of_shape {
            let shape = |t| self.shape_elsewhere(t);
            let value = |t| self.value_elsewhere(t);
            let mut budget = self.elsewhere.budget;
            let found = compute(graph, &node, &inputs, (shape, value), &mut budget);
            self.elsewhere.budget = budget;
            self.elsewhere.set(&outputs, found);
        }
    }

    /// A value that the file holds.
    fn set_read(&mut self, t: TensorId, value: Tensor) {
        if self.here.budget.read(value.shape()) {
            self.here.set_value(t, value);
        }
    }

    /// Leaves a float value in the file; its shape stays.
    fn leave(&mut self, t: TensorId) {
        let value = &mut self.here.values[t.0];
        if (value.as_ref()).is_some_and(|v| v.data_type().is_float()) {
            *value = None;
            self.left[t.0] = true;
        }
    }

    fn recall(&mut self, graph: &Graph<'_>, t: TensorId) {
        if std::mem::take(&mut self.left[t.0]) {
            self.here.values[t.0] = graph.initializer_value(t).map(Arc::new);
        }
    }

    fn depends_on_input(&self, t: TensorId) -> bool {
        self.data[t.0] || self.of_shape[t.0]
    }

    fn shape_elsewhere(&self, t: TensorId) -> Option<&[usize]> {
        match self.depends_on_input(t) {
            true => self.elsewhere.shapes[t.0].as_deref(),
            false => self.shape(t),
        }
    }

    fn value_elsewhere(&self, t: TensorId) -> Option<&Tensor> {
        match self.depends_on_input(t) {
            true => self.elsewhere.values[t.0].as_deref(),
            false => self.value(t),
        }
    }

    /// The batch size that shapes were inferred at.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the file fixes the batch size.
    pub fn fixed_batch(&self) -> bool {
        self.fixed_batch
    }

    /// A tensor's shape at [`Facts::batch`].
    pub fn shape(&self, t: TensorId) -> Option<&[usize]> {
        self.here.shapes[t.0].as_deref()
    }

    /// A tensor's value where it follows from initializers and constants alone.
    pub fn constant(&self, t: TensorId) -> Option<&Tensor> {
        self.here.values[t.0]
            .as_deref()
            .filter(|_| !self.of_shape[t.0])
    }

    /// The value of a constant of a float type, also where it was left in the file
    /// ([`Facts::lean`]); that of another type than `f32` is converted.
    pub fn weights(&self, graph: &Graph<'_>, t: TensorId) -> Option<Cow<'_, ArrayD<f32>>> {
        match self.typed_weights(graph, t)? {
            Cow::Borrowed(value) => value.floats(),
            Cow::Owned(Tensor::F32(value)) => Some(Cow::Owned(value)),
            Cow::Owned(value) => value.floats().map(|v| Cow::Owned(v.into_owned())),
        }
    }

    /// What [`Facts::weights`] gives, in its own type.
    pub fn typed_weights(&self, graph: &Graph<'_>, t: TensorId) -> Option<Cow<'_, Tensor>> {
        let value = match (self.left[t.0], self.constant(t)) {
            (true, _) => Cow::Owned(graph.initializer_value(t)?),
            (false, value) => Cow::Borrowed(value?),
        };
        value.data_type().is_float().then_some(value)
    }

    /// The shape of what [`Facts::weights`] gives.
    pub fn weights_shape(&self, t: TensorId) -> Option<&[usize]> {
        match self.left[t.0] {
            true => self.shape(t),
            false => {
                let value = self.constant(t)?;
                value.data_type().is_float().then(|| value.shape())
            }
        }
    }

    /// The type of a tensor's elements, as ONNX numbers it; `None` where an operator hides it.
    pub fn element(&self, t: TensorId) -> Option<i32> {
        self.elements.get(t.0).copied().flatten()
    }

    /// Whether a tensor holds 16-bit floats.
    pub fn is_half(&self, t: TensorId) -> bool {
        let kind = self.element(t).and_then(DataType::from_onnx);
        kind.is_some_and(DataType::is_half)
    }

    /// Numbers as a constant of a tensor's own float type; `f32` where that is not known.
    pub fn typed_as(&self, t: Option<TensorId>, values: &ArrayD<f64>) -> Tensor {
        let kind = t
            .and_then(|t| self.element(t))
            .and_then(DataType::from_onnx);
        let kind = kind.filter(|k| k.is_float());
        Tensor::of(kind.unwrap_or(DataType::F32), values)
    }

    /// A tensor's value where it is a constant, or follows from those dimensions of the input that
    /// the file fixes: the same for any batch.
    pub fn fixed(&self, t: TensorId) -> Option<&Tensor> {
        let value = self.value(t)?;
        (!self.of_shape[t.0] || self.elsewhere.values[t.0].as_deref() == Some(value))
            .then_some(value)
    }

    /// Whether two tensors have the same shape, whatever the batch.
    pub fn same_shape(&self, a: TensorId, b: TensorId) -> bool {
        self.shape(a).is_some()
            && self.shape(a) == self.shape(b)
            && self.shape_elsewhere(a) == self.shape_elsewhere(b)
    }

    /// The value of a tensor whose shape may follow from the batch, at two batch sizes.
    pub fn at_two_sizes(&self, t: TensorId) -> Option<[&Tensor; 2]> {
        Some([self.value(t)?, self.value_elsewhere(t)?])
    }

    /// A tensor's value, also where it depends on the shape of data (at [`Facts::batch`]).
    pub fn value(&self, t: TensorId) -> Option<&Tensor> {
        self.here.values[t.0].as_deref()
    }

    /// The value for one image of a tensor that repeats it for each: an `Expand` or
    /// `ConstantOfShape` to the shape of data, and what is computed of it. It broadcasts to any
    /// batch.
    pub fn expanded(&self, t: TensorId) -> Option<&Tensor> {
        let [one, more] = self.at_two_sizes(t)?;
        let repeats = one.shape().first() == Some(&1)
            && eval::broadcast_to(one, more.shape()).as_ref() == Some(more);
        repeats.then_some(one)
    }

    /// Whether a known value depends on the shape of data (a `Shape` of something computed from
    /// the graph's input).
    pub fn is_of_shape(&self, t: TensorId) -> bool {
        self.of_shape[t.0]
    }

    /// Whether a tensor's elements depend on the graph's inputs.
    pub fn is_data(&self, t: TensorId) -> bool {
        self.data[t.0]
    }
}

/// Whether a tensor is only read as the matrix or the kernel of a layer.
fn only_weights(graph: &Graph<'_>, t: TensorId) -> bool {
    let as_weight = |u: &Use| {
        let row = graph.node(u.node).operator();
        let sums = row.is_some_and(|row| matches!(row.kind, Kind::Products));
        matches!(u.input, Some(0 | 1)) && sums
    };
    !graph.is_output(t) && graph.consumers(t).iter().all(as_weight)
}

/// What follows of a node's outputs from what is known of its inputs.
fn compute<'f>(
    graph: &Graph<'_>,
    node: &Node<'_>,
    inputs: &[Option<TensorId>],
    (shape, value): (
        impl Fn(TensorId) -> Option<&'f [usize]>,
        impl Fn(TensorId) -> Option<&'f Tensor>,
    ),
    budget: &mut Budget,
) -> Found {
    if node.op() == "If" {
        return Found::Shapes(branches::shapes(graph, node, (&shape, &value), budget));
    }
    let values: Vec<Option<&Tensor>> = inputs.iter().map(|t| value((*t)?)).collect();
    let shapes: Vec<Option<&[usize]>> = inputs.iter().map(|t| shape((*t)?)).collect();
    let mut known = inputs.iter().zip(&values);
    let all_known = known.all(|(t, v)| t.is_none() || v.is_some());
    let found = shapes::infer(
        node,
        &Inputs {
            shapes: &shapes,
            values: &values,
        },
    );
    if all_known && !inputs.is_empty() {
        let result = found.as_ref().and_then(|s| s.first()).map(Vec::as_slice);
        let touched = |r| shapes.iter().copied().flatten().chain([r]);
        if result.is_some_and(|r| budget.spend(touched(r)))
            && let Some(value) = eval::evaluate(node, &values)
        {
            return Found::Value(value);
        }
    }
    Found::Shapes(found.unwrap_or_default())
}
