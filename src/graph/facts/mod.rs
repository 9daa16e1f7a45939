//! What is known of each tensor before the model runs: shape at a concrete batch size, and value
//! where it is constant.

mod inference;
mod repeats;
mod world;

use std::borrow::Cow;

use ndarray::ArrayD;
use thiserror::Error;

use self::world::World;
use super::{Graph, TensorId, eval};
use crate::onnx::{DataType, Tensor};

/// Shapes and constant values of a graph's tensors. A clone shares the values.
#[derive(Debug, Clone)]
pub struct Facts {
    batch: usize,
    fixed_batch: bool,
    of_shape: Vec<bool>,
    data: Vec<bool>,
    /// Constants whose value was left in the file.
    left: Vec<bool>,
    /// Constants that are known by one number for all that are the same.
    repeated: Vec<bool>,
    /// The type of each tensor's elements.
    elements: Vec<Option<i32>>,
    pub(super) here: World,
    /// The same of everything that depends on the input's shape, at another batch size: what is the
    /// same there does not depend on it.
    larger_batch: World,
}

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
    fn depends_on_input(&self, t: TensorId) -> bool {
        self.data[t.0] || self.of_shape[t.0]
    }

    fn shape_at_larger_batch(&self, t: TensorId) -> Option<&[usize]> {
        match self.depends_on_input(t) {
            true => self.larger_batch.shapes[t.0].as_deref(),
            false => self.shape(t),
        }
    }

    fn value_at_larger_batch(&self, t: TensorId) -> Option<&Tensor> {
        match self.depends_on_input(t) {
            true => self.larger_batch.values[t.0].as_deref(),
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
        (!self.of_shape[t.0] || self.larger_batch.values[t.0].as_deref() == Some(value))
            .then_some(value)
    }

    /// Whether two tensors have the same shape, whatever the batch.
    pub fn same_shape(&self, a: TensorId, b: TensorId) -> bool {
        self.shape(a).is_some()
            && self.shape(a) == self.shape(b)
            && self.shape_at_larger_batch(a) == self.shape_at_larger_batch(b)
    }

    /// The value of a tensor whose shape may follow from the batch, at two batch sizes.
    pub fn at_two_sizes(&self, t: TensorId) -> Option<[&Tensor; 2]> {
        Some([self.value(t)?, self.value_at_larger_batch(t)?])
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

    /// Whether a constant is one that the program repeats to the shape of the data that it meets: its value and its
    /// shape are those of what is repeated, which broadcasts to them.
    pub fn is_repeated(&self, t: TensorId) -> bool {
        self.repeated[t.0]
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
