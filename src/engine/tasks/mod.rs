//! What a plan is made of: one file for each kind of task, forward and backward together.

mod binary_layer;
mod elementwise_chain;
mod float_convolution;
mod operator;
mod threshold_chain;
mod thresholds;

use std::fmt::Debug;

use bnn_kernels::elementwise::{ChannelStatistics, Moments};
use ndarray::ArrayD;

use super::error::RunError;
use super::gradients::{Found, Precision, Target};
use super::value::Value;
use super::weights::Weights;
use crate::arrays::{recycle_array, update};
use crate::network::{Input, Network, ParamId, Step, StepId, ValueId};
use crate::ops::Saved;

pub(super) use binary_layer::{BinaryLayer, form_of as binary_form};
pub(super) use elementwise_chain::{ElementwiseChain, Link, large_enough};
pub(super) use float_convolution::{FloatConvolution, form_of as float_form};
pub(super) use operator::Operator;
pub(super) use threshold_chain::ThresholdChain;

/// Steps that run as one.
pub(super) trait Task: Debug + Send + Sync {
    /// The steps, in the order of execution.
    fn steps(&self) -> &[StepId];

    /// Computes the value that the last step writes, and what the backward pass needs beside values.
    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError>;

    /// Whether it is a chain of elementwise steps.
    #[cfg(test)]
    fn is_chain(&self) -> bool {
        false
    }

    /// Passes the gradient of that value on to what the steps read. Called only if a wanted
    /// parameter is among that, or leads there.
    fn backward(&self, pass: &mut Backward<'_>, record: &Record, grad: ArrayD<f32>);

    /// The task as one that normalises by the statistics of the whole batch, of which it has only a part;
    /// [`Task::forward`] and [`Task::backward`] are not called then.
    fn normalizer(&self) -> Option<&dyn BatchNormalizer> {
        None
    }
}

/// A task in two halves each way, between which parts of a batch are added up.
pub(super) trait BatchNormalizer {
    /// The BatchNormalization.
    fn step(&self) -> StepId;

    /// Whether a gradient has to go to what the steps read.
    fn passes_on(&self) -> bool;

    /// What the part at hand adds to the batch's statistics.
    fn moments(&self, pass: &Forward<'_>) -> Result<Moments, RunError>;

    /// Computes the value that the last step writes.
    fn forward(&self, pass: &mut Forward<'_>, batch: &ChannelStatistics) -> Result<(), RunError>;

    /// Takes the gradient of that value to the normalisation's output, and what is wanted behind it to
    /// parameters. For each channel the sums that the other half needs, of all parts.
    fn to_normalization(
        &self,
        pass: &mut Backward<'_>,
        batch: &ChannelStatistics,
        grad: &mut ArrayD<f32>,
    ) -> Vec<[f64; 2]>;

    /// Takes it on to what the steps read; `sums` are those of all parts.
    fn past_normalization(
        &self,
        pass: &mut Backward<'_>,
        statistics: &ChannelStatistics,
        sums: &[[f64; 2]],
        grad: ArrayD<f32>,
    );
}

/// What the steps of a task need to know for a backward pass.
#[derive(Debug, Clone, Default)]
pub(super) struct StepGradients {
    /// For each input whether a gradient has to go there.
    pub wanted: Vec<bool>,
}

impl StepGradients {
    /// Whether any gradient is wanted.
    pub fn any(&self) -> bool {
        self.wanted.contains(&true)
    }
}

/// What a task's forward pass leaves for its backward pass.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// What an operator saved.
    pub saved: Option<Saved>,
    /// Shapes of the step's inputs, if a gradient has to go to one of them.
    pub shapes: Vec<Vec<usize>>,
}

impl Record {
    /// What was saved.
    pub fn saved(&self) -> &Saved {
        self.saved.as_ref().unwrap_or(&Saved::Nothing)
    }
}

/// A forward pass under way.
#[derive(Debug)]
pub(super) struct Forward<'a> {
    pub network: &'a Network,
    pub weights: &'a Weights,
    /// What exists now.
    pub values: Vec<Option<Value>>,
}

impl<'a> Forward<'a> {
    /// A value that `step` reads.
    pub fn value(&self, step: &Step, v: ValueId) -> Result<&Value, RunError> {
        let value = self.values.get(v.0).and_then(Option::as_ref);
        value.ok_or_else(|| RunError::Missing {
            node: step.name.clone(),
        })
    }

    /// Writes a value.
    pub fn set(&mut self, v: ValueId, x: Value) {
        if let Some(slot) = self.values.get_mut(v.0) {
            *slot = Some(x);
        }
    }

    /// Gives a value's memory back.
    pub fn free(&mut self, v: ValueId) {
        let value = self.values.get_mut(v.0).and_then(Option::take);
        value.into_iter().for_each(Value::recycle);
    }

    /// The inputs of a step as floats.
    pub fn inputs(&self, step: &'a Step) -> Result<Vec<&ArrayD<f32>>, RunError> {
        let inputs = step.inputs.iter().map(|i| match i {
            Input::Value(v) => Ok(self.value(step, *v)?.float()),
            Input::Param(p) => Ok(&self.network.param(*p).value),
            Input::Binary(b) => Ok(self.weights.effective(self.network, *b)),
        });
        inputs.collect()
    }

    /// The shapes of a step's inputs.
    pub fn input_shapes(&self, step: &Step) -> Vec<Vec<usize>> {
        let shape = |i: &Input| match i {
            Input::Value(v) => match self.values.get(v.0) {
                Some(Some(x)) => x.shape().to_vec(),
                _ => Vec::new(),
            },
            Input::Param(p) => self.network.param(*p).value.shape().to_vec(),
            Input::Binary(b) => self.network.latent(*b).shape().to_vec(),
        };
        step.inputs.iter().map(shape).collect()
    }
}

/// A backward pass under way.
#[derive(Debug)]
pub(super) struct Backward<'a> {
    pub network: &'a Network,
    pub weights: &'a Weights,
    pub precision: Precision,
    /// What the forward pass kept.
    pub values: &'a [Option<Value>],
    /// Gradients on their way, by the value that they are with respect to.
    pub flowing: Vec<Option<ArrayD<f32>>>,
    /// Those of what is trained.
    pub found: Found,
}

impl<'a> Backward<'a> {
    /// A value that the forward pass kept.
    pub fn value(&self, v: ValueId) -> Option<&'a Value> {
        self.values.get(v.0)?.as_ref()
    }

    /// Adds to the gradient with respect to what a step reads.
    pub fn add(&mut self, input: Input, grad: ArrayD<f32>) {
        match input {
            Input::Value(v) => self.add_to_value(v, grad),
            Input::Param(p) => self.add_to_param(p, grad),
            Input::Binary(b) => self.found.add(Target::Binary(b), grad),
        }
    }

    /// Adds to the gradient with respect to a parameter.
    pub fn add_to_param(&mut self, p: ParamId, grad: ArrayD<f32>) {
        self.found.add(Target::Param(p), grad);
    }

    /// Adds to the gradient with respect to a value.
    pub fn add_to_value(&mut self, v: ValueId, grad: ArrayD<f32>) {
        match self.flowing.get_mut(v.0) {
            Some(Some(sum)) => {
                update(sum, &grad, |a, b| a + b);
                recycle_array(grad);
            }
            Some(slot) => *slot = Some(grad),
            None => {}
        }
    }

    /// Adds the wanted ones among the gradients with respect to a step's inputs.
    pub fn add_all(
        &mut self,
        step: &Step,
        wanted: &StepGradients,
        grads: impl IntoIterator<Item = Option<ArrayD<f32>>>,
    ) {
        let inputs = step.inputs.iter().zip(&wanted.wanted);
        for ((&input, &wanted), grad) in inputs.zip(grads) {
            if let Some(grad) = grad.filter(|_| wanted) {
                self.add(input, grad);
            }
        }
    }
}
