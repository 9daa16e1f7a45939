//! The operators: one file each (or one for a family), each with its forward and backward pass and
//! its import from ONNX, and one table of them all, [`OPERATORS`].

mod activation;
mod arithmetic;
mod batch_norm;
mod binarize;
mod channel_mask;
mod choose;
mod clip;
mod concat;
mod conv;
mod dense;
mod identity;
mod pad;
mod pointwise;
mod pool;
mod quantize;
mod reduce_mean;
mod reshape;
pub(super) mod softmax;
mod transpose;

use std::fmt::Debug;

use super::import::{ImportError, Imported, NodeView};
use super::integer::IntegerForm;
use bnn_kernels::binary::PoolWindows;
use bnn_kernels::elementwise::{ChannelStatistics, ElementwiseMap};
use ndarray::ArrayD;
use thiserror::Error;

pub use batch_norm::BatchNorm;
pub(super) use batch_norm::measure;
pub(super) use binarize::{Binarize, sign};
pub(super) use channel_mask::ChannelMask;

/// Makes an operator of a node.
pub(super) type Importer = fn(&NodeView<'_, '_>) -> Result<Imported, ImportError>;

/// Every ONNX operator that the native network has.
pub(super) const OPERATORS: &[(&str, Importer)] = &[
    ("Abs", pointwise::import),
    ("Add", arithmetic::import),
    ("AveragePool", pool::import_average),
    ("BatchNormalization", batch_norm::import),
    ("Cast", pointwise::import_cast),
    ("Ceil", pointwise::import),
    ("Clip", clip::import),
    ("Concat", concat::import),
    ("Conv", conv::import),
    ("Div", arithmetic::import),
    ("Dropout", identity::import_dropout),
    ("Equal", choose::import_pair),
    ("Exp", pointwise::import),
    ("Flatten", reshape::import),
    ("Floor", pointwise::import),
    ("Gemm", dense::import_gemm),
    ("GlobalAveragePool", reduce_mean::import_global),
    ("Greater", choose::import_pair),
    ("GreaterOrEqual", choose::import_pair),
    ("Identity", identity::import),
    ("LeakyRelu", activation::import_leaky),
    ("Less", choose::import_pair),
    ("LessOrEqual", choose::import_pair),
    ("Log", pointwise::import),
    ("MatMul", dense::import_matmul),
    ("Max", choose::import_pair),
    ("MaxPool", pool::import_max),
    ("Min", choose::import_pair),
    ("Mul", arithmetic::import),
    ("Neg", pointwise::import),
    ("Not", pointwise::import),
    ("PRelu", activation::import_prelu),
    ("Pad", pad::import),
    ("ReduceMean", reduce_mean::import),
    ("Relu", activation::import_relu),
    ("Reshape", reshape::import),
    ("Round", pointwise::import),
    ("Sigmoid", pointwise::import),
    ("Sign", binarize::import_sign),
    ("Sqrt", pointwise::import),
    ("Squeeze", reshape::import),
    ("Sub", arithmetic::import),
    ("Tanh", pointwise::import),
    ("Transpose", transpose::import),
    ("Unsqueeze", reshape::import),
    ("Where", choose::import_where),
    ("qonnx.BipolarQuant", quantize::import),
    ("qonnx.Quant", quantize::import),
    ("qonnx.Trunc", quantize::import),
];

/// Inputs of an operator that do not fit it, in words.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// What the forward pass of an operator keeps for its backward pass beside inputs and output.
#[derive(Debug, Clone)]
pub enum Saved {
    /// Nothing.
    Nothing,
    /// For each output element the position of the chosen input element within its plane.
    Positions(Vec<u32>),
    /// Statistics of the batch.
    Statistics(ChannelStatistics),
}

impl Saved {
    /// Statistics, if some were measured.
    pub(super) fn of(statistics: Option<ChannelStatistics>) -> Self {
        statistics.map_or(Self::Nothing, Self::Statistics)
    }

    /// The statistics, if it is some.
    pub(super) fn statistics(&self) -> Option<&ChannelStatistics> {
        match self {
            Self::Statistics(statistics) => Some(statistics),
            _ => None,
        }
    }
}

/// How a forward pass is to be computed.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// BatchNormalization normalises by the batch's statistics instead of the running ones.
    pub batch_statistics: bool,
}

/// What a backward pass has to work with.
#[derive(Debug)]
pub struct Backward<'a> {
    /// For each input its value, if the operator asked for it ([`Op::needs_input`]).
    pub inputs: &'a [Option<&'a ArrayD<f32>>],
    /// For each input its shape.
    pub shapes: &'a [&'a [usize]],
    /// What the forward pass saved.
    pub saved: &'a Saved,
    /// For each input whether its gradient is wanted.
    pub wanted: &'a [bool],
}

impl<'a> Backward<'a> {
    /// Input `k`, which the operator asked for.
    fn input(&self, k: usize) -> &'a ArrayD<f32> {
        self.inputs[k].expect("an input the operator asked for")
    }
}

/// An operator on `f32` arrays in row-major layout. The first axis of data is the batch.
pub trait Op: Debug + Send + Sync {
    /// The ONNX operator, or what it stands for.
    fn name(&self) -> &'static str;

    /// Computes the output.
    ///
    /// # Errors
    /// If the inputs' shapes do not fit the operator.
    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        context: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError>;

    /// The gradients with respect to the wanted inputs (`None` for the others), from that with
    /// respect to the output. Called only with what [`Op::forward`] produced.
    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>>;

    /// Whether the backward pass reads the value of input `k`, given which gradients are wanted.
    fn needs_input(&self, _k: usize, _wanted: &[bool]) -> bool {
        false
    }

    /// For inputs of these shapes, how a layer with weights of ±1 is a convolution of integers.
    fn integer_form(&self, _x: &[usize], _weight: &[usize]) -> Option<IntegerForm> {
        None
    }

    /// Whether each element of the output is a monotone function of that element of the data (the
    /// input that is `None`), with the same direction wherever parameters are the same.
    fn is_monotone(&self, _params: &[Option<&ArrayD<f32>>]) -> bool {
        false
    }

    /// Whether the output holds nothing but -1, 0 and +1.
    fn is_ternary(&self) -> bool {
        false
    }

    /// Whether the output holds nothing but -1, 0 and +1 if the input does.
    fn keeps_signs(&self) -> bool {
        false
    }

    /// Whether this takes the largest element of each window of a plane.
    fn is_max_pool(&self) -> bool {
        false
    }

    /// Those windows, on planes of that size.
    fn max_windows(&self, _plane: [usize; 2]) -> Option<PoolWindows> {
        None
    }

    /// The operator as a function of single elements that may differ by channel (axis 1), if it is
    /// one, for data of `rank` axes, given the values of its parameters (`None`: data).
    fn channel_map<'a>(
        &'a self,
        _rank: usize,
        _params: &[Option<&'a ArrayD<f32>>],
    ) -> Option<Box<dyn ElementwiseMap + 'a>> {
        None
    }

    /// The operator as a BatchNormalization, if it is one.
    fn as_batch_norm(&self) -> Option<&BatchNorm> {
        None
    }

    /// The operator as a mask of channels, if it is one.
    fn as_channel_mask(&self) -> Option<&ChannelMask> {
        None
    }
}

/// Checks a condition on shapes.
fn check(holds: bool, message: impl FnOnce() -> String) -> Result<(), ShapeError> {
    if holds {
        Ok(())
    } else {
        Err(ShapeError(message()))
    }
}
