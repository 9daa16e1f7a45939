//! From the inputs on: what is known of each node's outputs by what is known of its inputs.

use std::sync::Arc;

use super::repeats::{self, one_for_all};
use super::world::{Found, World};
use super::{Facts, FactsError};
use crate::graph::budget::Budget;
use crate::graph::shapes::Inputs;
use crate::graph::{Graph, Node, NodeId, TensorId, Use, branches, elements, eval, shapes};
use crate::onnx::Tensor;
use crate::operators::Kind;

/// The other batch size is larger by this: enough for a batch divided by 8 to show.
const FURTHER: usize = 8;

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
        let start = Self::start(graph, batch, constants)?;
        let shared = matches!(constants, Constants::Of(_));
        let facts = start.clone().followed(graph, shared, None);
        match repeats::repeated(graph, &facts) {
            Some(repeated) => Ok(start.followed(graph, shared, Some(&repeated))),
            None => Ok(facts),
        }
    }

    /// What the file says: the inputs' shapes, and what it holds.
    fn start(
        graph: &Graph<'_>,
        batch: usize,
        constants: Constants<'_>,
    ) -> Result<Self, FactsError> {
        let count = graph.tensor_count();
        let mut facts = Self {
            batch,
            fixed_batch: false,
            of_shape: vec![false; count],
            data: vec![false; count],
            left: vec![false; count],
            repeated: vec![false; count],
            elements: elements::infer(graph),
            here: World::new(count),
            larger_batch: World::new(count),
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
                facts.larger_batch.set_shape(t, shape);
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
        Ok(facts)
    }

    /// From the inputs to the outputs, once; `shared`: what depends on constants alone is known. Of the tensors that
    /// are `repeated`, if that is known, one number is kept for all that are the same.
    fn followed(mut self, graph: &Graph<'_>, shared: bool, repeated: Option<&[bool]>) -> Self {
        for &n in graph.order() {
            let out = graph.output_of(n, 0);
            let repeats = repeated.is_some_and(|repeated| out.is_some_and(|t| repeated[t.0]));
            self.visit(graph, n, shared, repeats);
        }
        self
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
                self.repeated[i] = other.repeated[i];
            }
        }
        self.here.budget = other.here.budget;
    }

    /// `shared`: what depends on constants alone is known; `repeats`: one number is enough for all that are the same.
    fn visit(&mut self, graph: &Graph<'_>, n: NodeId, shared: bool, repeats: bool) {
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
            if let Some(value) = value(of.and_then(|t| self.shape_at_larger_batch(t))) {
                self.larger_batch.set_value(out, value);
            }
            return;
        }
        let outputs = graph.outputs_of(n);
        let of_repeated = inputs.iter().flatten().any(|t| self.repeated[t.0]);
        for t in outputs.iter().flatten() {
            self.data[t.0] = from_data;
            self.of_shape[t.0] = of_shape;
            self.repeated[t.0] = repeats || (of_repeated && !from_data);
        }
        let shape = |t| self.shape(t);
        let value = |t| self.value(t);
        let mut budget = self.here.budget;
        let found = compute(graph, &node, &inputs, shape, value, repeats, &mut budget);
        self.here.budget = budget;
        self.here.set(&outputs, found);
        if from_data || of_shape {
            let shape = |t| self.shape_at_larger_batch(t);
            let value = |t| self.value_at_larger_batch(t);
            let mut budget = self.larger_batch.budget;
            let found = compute(graph, &node, &inputs, shape, value, repeats, &mut budget);
            self.larger_batch.budget = budget;
            self.larger_batch.set(&outputs, found);
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
    shape: impl Fn(TensorId) -> Option<&'f [usize]>,
    value: impl Fn(TensorId) -> Option<&'f Tensor>,
    repeats: bool,
    budget: &mut Budget,
) -> Found {
    if node.op() == "If" {
        return Found::Shapes(branches::shapes(graph, node, &shape, &value, budget));
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
        let one = result.filter(|_| repeats);
        if let Some(one) = one.and_then(|r| one_for_all(node, &values, r.len())) {
            return Found::Value(one);
        }
        let touched = |r| shapes.iter().copied().flatten().chain([r]);
        if result.is_some_and(|r| budget.spend(touched(r)))
            && let Some(value) = eval::evaluate(node, &values)
        {
            return Found::Value(value);
        }
    }
    Found::Shapes(found.unwrap_or_default())
}
