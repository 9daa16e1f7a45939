//! A convolution in single precision whose weights stay: they are laid out for the kernels once.

use bnn_kernels::buffers::buffer;

use super::operator::Operator;
use super::{Backward, Forward, Record, Task};
use crate::arrays::{array, slice};
use crate::engine::error::RunError;
use crate::engine::value::Value;
use crate::network::{Input, Network, ParamId, Step, StepId};
use crate::ops::ConvolutionForm;
use ndarray::ArrayD;

/// A convolution with a weight and a bias that are parameters, where nothing is trained; as its
/// operator does it where the kernels do not have its geometry.
#[derive(Debug)]
pub(in crate::engine) struct FloatConvolution {
    pub operator: Operator,
}

/// A float convolution's weight and bias.
pub(in crate::engine) type FloatParams = (ParamId, Option<ParamId>);

/// The float convolution at `step`, for an input of that shape `[N, C, (H,) W]`. `None` if the step is
/// something else.
pub(in crate::engine) fn form_of(
    network: &Network,
    step: &Step,
    input: &[usize],
) -> Option<(ConvolutionForm, FloatParams)> {
    let (weight, bias) = match step.inputs[..] {
        [Input::Value(_), Input::Param(w)] => (w, None),
        [Input::Value(_), Input::Param(w), Input::Param(b)] => (w, Some(b)),
        _ => return None,
    };
    let convolution = step.op.traits(&[]).convolution?;
    let form = convolution.form(input, network.param(weight).value.shape())?;
    let filters = form.geometry.filters;
    let fits = bias.is_none_or(|b| network.param(b).value.len() == filters);
    (fits && form.output.len() > 2 && form.geometry.batch > 0).then_some((form, (weight, bias)))
}

impl FloatConvolution {
    fn prepared(&self, pass: &Forward<'_>) -> Option<Value> {
        let network = pass.network;
        let step = network.step(self.operator.step);
        let Input::Value(v) = step.inputs.first()? else {
            return None;
        };
        let x = pass.values.get(v.0)?.as_ref()?;
        let (form, (weight, bias)) = form_of(network, step, x.shape())?;
        let weight = slice(&network.param(weight).value);
        let weights = (pass.weights).output(self.operator.step, &form.geometry, weight)?;
        let bias = bias.map(|b| slice(&network.param(b).value));
        let mut y = buffer(form.output.iter().product());
        weights.output(&form.geometry, slice(x.float()), bias, &mut y);
        Some(array(&form.output, y).into())
    }
}

impl Task for FloatConvolution {
    fn steps(&self) -> &[StepId] {
        self.operator.steps()
    }

    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError> {
        let Some(y) = self.prepared(pass) else {
            return self.operator.forward(pass);
        };
        let output = pass.network.step(self.operator.step).output;
        pass.set(output, y);
        Ok(Record::default())
    }

    fn backward(&self, pass: &mut Backward<'_>, record: &Record, grad: ArrayD<f32>) {
        self.operator.backward(pass, record, grad);
    }
}
