//! What is known of each tensor before the model runs: shape at a concrete batch size, and value
//! where it is constant.

use thiserror::Error;

use super::budget::Budget;
use super::shapes::Inputs;
use super::{Graph, TensorId, eval, shapes};
use crate::onnx::Tensor;

/// Shapes and constant values of a graph's tensors.
#[derive(Debug)]
pub struct Facts {
    batch: usize,
    fixed_batch: bool,
    shapes: Vec<Option<Vec<usize>>>,
    values: Vec<Option<Tensor>>,
    of_shape: Vec<bool>,
    data: Vec<bool>,
    budget: Budget,
}

/// Why nothing can be inferred.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactsError {
    /// The image size is not in the file.
    #[error(
        "graph input '{input}' has no static shape beyond the batch ({shape}); set its dimensions in the file"
    )]
    DynamicInput {
        /// The input.
        input: String,
        /// As declared.
        shape: String,
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
        let count = graph.tensor_count();
        let mut facts = Self {
            batch,
            fixed_batch: false,
            shapes: vec![None; count],
            values: vec![None; count],
            of_shape: vec![false; count],
            data: vec![false; count],
            budget: Budget::new(),
        };
        for &t in graph.inputs() {
            facts.data[t.0] = true;
            let Some(declared) = graph.declared_shape(t) else {
                continue;
            };
            if let Some(Some(n)) = declared.first() {
                facts.fixed_batch = true;
                facts.batch = *n;
            }
            let fill = |(i, d): (usize, &Option<usize>)| match d {
                Some(d) => Some(*d),
                None => (i == 0).then_some(batch),
            };
            let shape: Option<Vec<usize>> = declared.iter().enumerate().map(fill).collect();
            let input = || graph.name(t).to_owned();
            let text = || {
                let dims = declared
                    .iter()
                    .map(|d| d.map_or("?".to_owned(), |d| d.to_string()));
                dims.collect::<Vec<_>>().join("×")
            };
            let Some(shape) = shape else {
                return Err(FactsError::DynamicInput {
                    input: input(),
                    shape: text(),
                });
            };
            facts.set_shape(t, shape);
            if facts.shapes[t.0].is_none() {
                return Err(FactsError::HugeInput {
                    input: input(),
                    shape: text(),
                });
            }
        }
        for t in graph.tensors() {
            if let Some(value) = graph.initializer_value(t) {
                facts.set_read(t, value);
            } else if let Some(proto) = graph.initializer(t)
                && let Some((shape, _)) = crate::onnx::element_count(&proto.dims)
            {
                // An element type we do not compute with still has a shape.
                facts.set_shape(t, shape);
            }
        }
        for &n in graph.order() {
            facts.visit(graph, n);
        }
        Ok(facts)
    }

    fn visit(&mut self, graph: &Graph<'_>, n: super::NodeId) {
        let node = graph.node(n);
        let Some(out) = graph.output_of(n, 0) else {
            return;
        };
        if let Some(value) = node.constant() {
            self.set_read(out, value);
            return;
        }
        let inputs = graph.inputs_of(n);
        let from_data = inputs.iter().flatten().any(|t| self.data[t.0]);
        let of_shape = inputs.iter().flatten().any(|t| self.of_shape[t.0]);
        if matches!(node.op(), "Shape" | "Size") {
            if let Some(value) = self.shape_value(graph, n) {
                self.of_shape[out.0] = of_shape || from_data;
                self.set_value(out, value);
            }
            return;
        }
        for t in graph.outputs_of(n).into_iter().flatten() {
            self.data[t.0] = from_data;
            self.of_shape[t.0] = of_shape;
        }
        let values: Vec<Option<&Tensor>> = inputs
            .iter()
            .map(|t| t.and_then(|t| self.values[t.0].as_ref()))
            .collect();
        let all_known = inputs
            .iter()
            .zip(&values)
            .all(|(t, v)| t.is_none() || v.is_some());
        let known: Vec<Option<&[usize]>> = inputs
            .iter()
            .map(|t| t.and_then(|t| self.shapes[t.0].as_deref()))
            .collect();
        let inferred = shapes::infer(
            &node,
            &Inputs {
                shapes: &known,
                values: &values,
            },
        );
        if all_known && !inputs.is_empty() {
            let result = inferred.as_ref().and_then(|s| s.first()).map(Vec::as_slice);
            let touched = |r| known.iter().copied().flatten().chain([r]);
            if result.is_some_and(|r| self.budget.spend(touched(r)))
                && let Some(value) = eval::evaluate(&node, &values)
            {
                self.set_value(out, value);
                return;
            }
        }
        for (t, s) in graph
            .outputs_of(n)
            .into_iter()
            .zip(inferred.into_iter().flatten())
        {
            if let Some(t) = t {
                self.set_shape(t, s);
            }
        }
    }

    /// The value of a Shape (with its `start` and `end`) or Size node.
    fn shape_value(&self, graph: &Graph<'_>, n: super::NodeId) -> Option<Tensor> {
        use ndarray::{Array1, arr0};
        let node = graph.node(n);
        let dims: Vec<i64> = self.shapes[graph.input_of(n, 0)?.0]
            .as_ref()?
            .iter()
            .map(|&d| d as i64)
            .collect();
        if node.op() == "Size" {
            let count = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d))?;
            return Some(Tensor::I64(arr0(count).into_dyn()));
        }
        let rank = dims.len() as i64;
        let place = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank) as usize;
        let (start, end) = (place(node.int("start", 0)), place(node.int("end", rank)));
        let part = dims.get(start..end.max(start))?.to_vec();
        Some(Tensor::I64(Array1::from(part).into_dyn()))
    }

    /// A value that the file holds.
    fn set_read(&mut self, t: TensorId, value: Tensor) {
        if self.budget.read(value.shape()) {
            self.set_value(t, value);
        }
    }

    /// A value within the budget.
    fn set_value(&mut self, t: TensorId, value: Tensor) {
        self.shapes[t.0] = Some(value.shape().to_vec());
        self.values[t.0] = Some(value);
    }

    /// A shape without a value, if it is believed.
    fn set_shape(&mut self, t: TensorId, shape: Vec<usize>) {
        self.shapes[t.0] = self.budget.admit(&shape).then_some(shape);
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
        self.shapes[t.0].as_deref()
    }

    /// A tensor's value where it follows from initializers and constants alone.
    pub fn constant(&self, t: TensorId) -> Option<&Tensor> {
        self.values[t.0].as_ref().filter(|_| !self.of_shape[t.0])
    }

    /// A tensor's value, also where it depends on the shape of data (at [`Facts::batch`]).
    pub fn value(&self, t: TensorId) -> Option<&Tensor> {
        self.values[t.0].as_ref()
    }

    /// The value of a tensor whose elements follow from constants alone and only its shape from that
    /// of data: an `Expand` or `ConstantOfShape` to it, and operators on single elements behind. For
    /// one image, so that it broadcasts to any batch.
    pub fn expanded(&self, graph: &Graph<'_>, t: TensorId) -> Option<&Tensor> {
        let value = self.value(t).filter(|v| v.shape().first() == Some(&1))?;
        let mut source = t;
        while self.of_shape[source.0] {
            let n = graph.producer(source)?;
            match graph.node(n).op() {
                "ConstantOfShape" => break,
                "Expand" | "Neg" | "Identity" | "Cast" => source = graph.input_of(n, 0)?,
                _ => return None,
            }
        }
        Some(value)
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
