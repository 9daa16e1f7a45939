//! What an operator of the native network is: [`Op`].
//!
//! An operator says how it computes forward and backward, which inputs the backward pass reads, and
//! in one value, [`Traits`], what an engine may make of it. It knows of no engine, and an engine
//! asks for no operator by its name.

use std::fmt::Debug;
use std::sync::Arc;

use bnn_kernels::elementwise::{ChannelStatistics, ElementwiseMap};
use ndarray::{ArrayD, Axis};
use thiserror::Error;

use super::{Arithmetic, BatchNorm, Binarize, ChannelMask, ConvolutionForm, Part, Pool};

/// Inputs of an operator that do not fit it, in words.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// What the forward pass of an operator keeps for its backward pass beside inputs and output.
#[derive(Debug, Clone, Default)]
pub enum Saved {
    /// Nothing.
    #[default]
    Nothing,
    /// For each output element the position of the chosen input element within its plane, or what it was
    /// chosen from.
    Positions(Vec<u32>),
    /// Mean and variance that were measured on the batch.
    Statistics(ChannelStatistics),
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
    pub(super) fn input(&self, k: usize) -> &'a ArrayD<f32> {
        self.inputs[k].expect("an input the operator asked for")
    }
}

/// The values of a step's inputs where they are parameters; `None` where they depend on the data.
pub type Params<'p, 'a> = &'p [Option<&'a ArrayD<f32>>];

/// An operator on `f32` arrays in row-major layout. The first axis of data is the batch.
pub trait Op: Debug + Send + Sync {
    /// The ONNX operator, or what it stands for: for messages.
    fn name(&self) -> &'static str;

    /// Computes the output.
    ///
    /// # Errors
    /// If the inputs' shapes do not fit the operator.
    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError>;

    /// The gradients with respect to the wanted inputs (`None` for the others), from that with
    /// respect to the output. Called only with what [`Op::forward`] produced.
    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>>;

    /// Whether the backward pass reads the value of input `k`, given which gradients are wanted.
    fn needs_input(&self, _k: usize, _wanted: &[bool]) -> bool {
        false
    }

    /// The operator where only some channels are left; `None` if it is the same for any number of
    /// them.
    fn with_channels(&self, _left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        None
    }

    /// What an engine may make of the operator, given its parameters.
    fn traits(&self, _params: Params<'_, '_>) -> Traits<'_> {
        Traits::default()
    }
}

/// Positions along one axis of a tensor `[N, …]` that stay, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOnAxis {
    /// The axis, the batch's being 0.
    pub axis: usize,
    /// The positions.
    pub kept: Vec<usize>,
}

impl LeftOnAxis {
    /// What is left of an array that is repeated (by the rules of broadcasting) along a tensor of
    /// `rank` axes.
    pub(super) fn of_repeated(&self, x: &ArrayD<f32>, rank: usize) -> ArrayD<f32> {
        let axis = (self.axis + x.ndim()).checked_sub(rank);
        match axis.filter(|&a| x.shape().get(a).is_some_and(|&d| d > 1)) {
            Some(axis) => x.select(Axis(axis), &self.kept),
            None => x.clone(),
        }
    }
}

/// The channels that are left around an operator; `None`: all.
#[derive(Debug, Clone, Copy)]
pub struct ChannelsLeft<'a> {
    /// Of the first input.
    pub input: Option<&'a LeftOnAxis>,
    /// Of the output.
    pub output: Option<&'a LeftOnAxis>,
    /// The shape of one sample of the output, with what is left; `None` if it is not known.
    pub sample: Option<&'a [usize]>,
}

/// What an engine may make of an operator. The default promises nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits<'a> {
    /// As a function of its data, element by element.
    pub monotone: Monotone,
    /// What is known of the output's values.
    pub signs: Signs,
    /// What it is for.
    pub role: Role<'a>,
    /// The operator as a function of single elements, if it may be one.
    pub elementwise: Option<&'a dyn Elementwise>,
    /// The operator as a convolution, if it may be one.
    pub convolution: Option<&'a dyn Convolution>,
    /// Its parameters have one value for each channel (axis 1), and no other axis.
    pub per_channel: bool,
}

/// Whether each element of the output is a monotone function of that element of the data (the one
/// input that is no parameter), with the same direction wherever parameters are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Monotone {
    /// It is not, or not known to be.
    #[default]
    No,
    /// To the last bit, as computed.
    Exact,
    /// As a function of real numbers; what is computed may fall by a rounding error.
    Rounded,
}

impl Monotone {
    /// [`Monotone::Exact`] if that holds, else [`Monotone::No`].
    pub(super) fn exact_if(holds: bool) -> Self {
        if holds { Self::Exact } else { Self::No }
    }
}

/// Whether an operator's output holds nothing but -1, 0 and +1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signs {
    /// Not known to.
    #[default]
    No,
    /// If its input does.
    Keeps,
    /// Whatever its input.
    Makes,
}

/// What an operator is for, beside computing.
#[derive(Debug, Clone, Copy, Default)]
pub enum Role<'a> {
    /// Nothing that an engine treats in its own way.
    #[default]
    Plain,
    /// Normalises each channel by its mean and variance.
    Normalization(&'a BatchNorm),
    /// Multiplies channels by the mask of a subsidiary network.
    Mask(&'a ChannelMask),
    /// Takes the largest element of each window of a plane.
    MaxPooling(&'a Pool),
    /// Adds, subtracts, multiplies or divides element by element.
    Arithmetic(Arithmetic),
    /// Gives one of two values by a threshold.
    Binariser(&'a Binarize),
    /// Hands on what lies at some positions of its input.
    Part(&'a Part),
}

/// An operator that computes element by element, possibly in another way for each channel (axis 1).
pub trait Elementwise: Debug + Send + Sync {
    /// The function, for data of `rank` axes (the batch included) and these parameters. `None` if it
    /// is none for such data.
    fn map<'a>(
        &'a self,
        rank: usize,
        params: Params<'_, 'a>,
    ) -> Option<Box<dyn ElementwiseMap + 'a>>;
}

/// An operator that is a convolution of its data with a weight.
pub trait Convolution: Debug + Send + Sync {
    /// The convolution, for data and weight of these shapes. `None` if it is none for such data.
    fn form(&self, x: &[usize], weight: &[usize]) -> Option<ConvolutionForm>;

    /// Which input of the ONNX operator is the data; the operator reads it first.
    fn data_input(&self) -> usize {
        0
    }

    /// The axis of the weight, of its first two, along which its filters lie.
    fn filter_axis(&self) -> usize {
        0
    }

    /// What sums and bias are multiplied by.
    fn factors(&self) -> [f32; 2] {
        [1.0, 1.0]
    }

    /// Parts that channels and filters are divided into.
    fn groups(&self) -> usize {
        1
    }
}

/// Checks a condition on shapes.
pub(super) fn check(holds: bool, message: impl FnOnce() -> String) -> Result<(), ShapeError> {
    if holds {
        Ok(())
    } else {
        Err(ShapeError(message()))
    }
}
