//! A layer and the steps behind it up to the next binariser, as one comparison with a threshold for
//! each filter. For inference alone.

use bnn_kernels::binary::{Codes, PoolWindows, Thresholds, forward_codes};
use bnn_kernels::float::FloatThresholds;
use ndarray::ArrayD;

use super::thresholds::Chain;
use super::{Backward, Forward, Record, Task, binary_layer, float_convolution};
use crate::arrays::slice;
use crate::engine::error::RunError;
use crate::engine::value::Value;
use crate::engine::weights::Weights;
use crate::network::{Input, Network, StepId, ValueId};
use crate::ops::ConvolutionForm;

/// A layer, and what follows it up to a tensor of -1, 0 and +1 that depends on it alone.
#[derive(Debug)]
pub(in crate::engine) struct ThresholdChain {
    /// The layer, then the steps behind it.
    steps: Vec<StepId>,
    input: ValueId,
    /// What the last step writes.
    output: ValueId,
    layer: Layer,
    pool: Option<PoolWindows>,
}

/// What the layer computes, and the thresholds of that.
#[derive(Debug)]
enum Layer {
    Binary(Thresholds),
    Float(FloatThresholds),
}

impl ThresholdChain {
    /// The chain of the layer at `step`, as far as it goes before `end`, for an input of shape
    /// `shape`. `readers`: see [`Network::readers`]. `None` if there is none, or it is not one threshold
    /// (or two, with 0 between them) for each filter.
    pub fn behind(
        network: &Network,
        weights: &Weights,
        at: StepId,
        end: StepId,
        shape: &[usize],
        readers: &[Vec<usize>],
    ) -> Option<Self> {
        let step = network.step(at);
        let &Input::Value(input) = step.inputs.first()? else {
            return None;
        };
        let chain = Chain::behind(network, at, end, readers)?;
        let (form, layer) = match binary_layer::form_of(network, step, shape) {
            Some(form) => {
                let layer = weights.packed(network, at, &form)?;
                if form.geometry.groups != 1 {
                    return None;
                }
                let thresholds = chain.of_sums(network, &form, layer)?;
                (form, Layer::Binary(thresholds))
            }
            None => {
                let (form, (weight, _)) = float_convolution::form_of(network, step, shape)?;
                let weight = slice(&network.param(weight).value);
                weights.output(at, &form.geometry, weight)?;
                let (filters, rank) = (form.geometry.filters, form.output.len());
                let thresholds = chain.of_floats(network, filters, rank)?;
                (form, Layer::Float(thresholds))
            }
        };
        let g = &form.geometry;
        let pool = chain.pool_windows(network, [g.out_height, g.out_width])?;
        let output = chain.output;
        Some(Self {
            steps: std::iter::once(at).chain(chain.steps).collect(),
            input,
            output,
            layer,
            pool,
        })
    }

    /// The output; `None` if the input of a binary layer is not binary.
    fn codes(&self, pass: &Forward<'_>) -> Option<Value> {
        let network = pass.network;
        let at = self.steps[0];
        let step = network.step(at);
        let x = pass.values.get(self.input.0)?.as_ref()?;
        let pool = self.pool.as_ref();
        let (codes, form) = match &self.layer {
            Layer::Binary(thresholds) => {
                let form = binary_layer::form_of(network, step, x.shape())?;
                let input = binary_layer::codes_of(&form, x)?;
                let layer = pass.weights.packed(network, at, &form)?;
                let codes = forward_codes(&form.geometry, &input, &layer.weight, pool, thresholds);
                (codes, form)
            }
            Layer::Float(thresholds) => {
                let (form, (weight, bias)) = float_convolution::form_of(network, step, x.shape())?;
                let weight = slice(&network.param(weight).value);
                let weights = pass.weights.output(at, &form.geometry, weight)?;
                let bias = bias.map(|b| slice(&network.param(b).value));
                let input = slice(x.float());
                (
                    weights.codes(&form.geometry, input, bias, pool, thresholds)?,
                    form,
                )
            }
        };
        let shape = shape_of(&codes, &form);
        Some(Value::of_codes(codes, shape))
    }
}

/// The shape of the tensor that codes stand for.
fn shape_of(codes: &Codes, form: &ConvolutionForm) -> Vec<usize> {
    let [n, c, h, w] = codes.shape();
    match form.output.len() {
        2 => vec![n, c],
        3 => vec![n, c, w],
        _ => vec![n, c, h, w],
    }
}

impl Task for ThresholdChain {
    fn steps(&self) -> &[StepId] {
        &self.steps
    }

    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError> {
        if let Some(y) = self.codes(pass) {
            pass.set(self.output, y);
            return Ok(Record::default());
        }
        for &step in &self.steps {
            let operator = super::Operator {
                step,
                gradients: super::StepGradients::default(),
            };
            operator.forward(pass)?;
        }
        for &step in self.steps.iter().rev().skip(1) {
            pass.free(pass.network.step(step).output);
        }
        Ok(Record::default())
    }

    /// Nothing: an inference has no backward pass.
    fn backward(&self, _: &mut Backward<'_>, _: &Record, _: ArrayD<f32>) {}
}
