//! One binary layer on packed activations.

use std::sync::Arc;

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{
    Codes, SignWeight, Sums, WeightStrides, forward_scaled, forward_sums, supports,
};
use bnn_kernels::buffers::buffer;
use ndarray::ArrayD;

use crate::autograd::arrays::{array, slice};
use crate::autograd::binary::BinaryId;
use crate::autograd::network::{Input, Network, Step, StepId};
use crate::autograd::prepared::Prepared;
use crate::autograd::value::{Form, Value};

/// A layer as a convolution of integers: `y = alpha · scale · dot + beta · bias`.
#[derive(Debug, Clone)]
pub struct IntegerForm {
    /// Its sizes.
    pub geometry: ConvGeometry,
    /// Where the weights lie.
    pub strides: WeightStrides,
    /// Shape of the output.
    pub output: Vec<usize>,
    /// Factor of the products (an attribute of `Gemm`).
    pub alpha: f32,
    /// Factor of the bias (an attribute of `Gemm`).
    pub beta: f32,
}

/// A binary layer's present weights.
#[derive(Debug)]
pub(in crate::autograd) struct IntegerLayer {
    pub weight: SignWeight,
    /// Of each filter, `alpha` included.
    pub scale: Vec<f32>,
    /// Of each filter, `beta` included.
    pub bias: Vec<f32>,
}

impl IntegerForm {
    /// The form of the layer at `step` for an input of that shape. `None` if it is not binary, or
    /// the kernels do not have its geometry.
    pub(in crate::autograd) fn of(network: &Network, step: &Step, input: &[usize]) -> Option<Self> {
        let (Input::Value(_), Input::Binary(id)) = (step.inputs.first()?, step.inputs.get(1)?)
        else {
            return None;
        };
        let form = step.op.integer_form(input, network.latent(*id).shape())?;
        supports(&form.geometry).then_some(form)
    }

    /// The input as codes; `None` if it holds anything but -1, 0 and +1.
    pub(super) fn pack(&self, x: &ArrayD<f32>) -> Option<Codes> {
        Codes::pack(slice(x), self.input())
    }

    /// The input as codes, if it has that form or can be given it.
    pub(super) fn codes(&self, x: &Value) -> Option<Arc<Codes>> {
        match x.codes() {
            Some(codes) if codes.shape() == self.input() => Some(Arc::clone(codes)),
            _ => Some(Arc::new(self.pack(x.float())?)),
        }
    }

    /// `[N, C, H, W]` of the packed input.
    pub(super) fn input(&self) -> [usize; 4] {
        let g = &self.geometry;
        [g.batch, g.channels, g.height, g.width]
    }

    /// Products of a sum, at most.
    pub(super) fn fan_in(&self) -> usize {
        let g = &self.geometry;
        g.channels / g.groups * g.kernel[0] * g.kernel[1]
    }
}

impl IntegerLayer {
    /// The layer at `step`. `None` if a weight is 0.
    pub fn of(network: &Network, step: &Step, form: &IntegerForm) -> Option<Self> {
        let Input::Binary(id) = step.inputs.get(1)? else {
            return None;
        };
        let latent = network.latent(*id);
        let filters = form.geometry.filters;
        let bias = match step.inputs.get(2) {
            None => vec![0.0; filters],
            Some(Input::Param(p)) => {
                let values = slice(&network.param(*p).value);
                let repeated = values.iter().cycle().map(|b| b * form.beta).take(filters);
                [1, filters]
                    .contains(&values.len())
                    .then(|| repeated.collect())?
            }
            Some(_) => return None,
        };
        let one = network.binary[id.0].zero > 0.0;
        let weight = SignWeight::pack(slice(latent), form.strides, &form.geometry, one)?;
        let scale: Vec<f32> = network.scales(*id).iter().map(|s| s * form.alpha).collect();
        (scale.len() == filters).then_some(Self {
            weight,
            scale,
            bias,
        })
    }

    /// The layer's output.
    pub fn forward(&self, form: &IntegerForm, x: &Codes) -> ArrayD<f32> {
        let mut y = buffer(form.output.iter().product());
        let factors = (&self.scale[..], &self.bias[..]);
        forward_scaled(&form.geometry, x, &self.weight, factors, &mut y);
        array(&form.output, y)
    }

    /// The layer's output as sums.
    fn sums(&self, form: &IntegerForm, x: &Codes) -> Sums {
        let mut y = buffer(form.output.iter().product());
        forward_sums(&form.geometry, x, &self.weight, &mut y);
        Sums {
            sums: y,
            shape: form.output.clone(),
            scale: self.scale.clone(),
            bias: self.bias.clone(),
        }
    }
}

impl Network {
    /// The latents of a binary weight.
    pub(in crate::autograd) fn latent(&self, id: BinaryId) -> &ArrayD<f32> {
        &self.params[self.binary[id.0].latent.0].value
    }

    /// The output of the binary layer at a step; `None` if its input is not binary. As sums, if those
    /// are asked for.
    pub(in crate::autograd) fn integer_forward(
        &self,
        at: StepId,
        form: &IntegerForm,
        x: &Value,
        (prepared, sums): (&Prepared, bool),
    ) -> Option<Value> {
        let codes = form.codes(x)?;
        let layer = prepared.layer(self, at, form)?;
        Some(match sums {
            true => Form::Sums(layer.sums(form, &codes)).into(),
            false => layer.forward(form, &codes).into(),
        })
    }
}
