//! A binary layer on packed activations.

use std::sync::Arc;

use bnn_kernels::binary::{Codes, RoundedGradient, Sums, forward_scaled, forward_sums};
use bnn_kernels::binary::{supports, weight_gradient};
use bnn_kernels::buffers::buffer;
use bnn_kernels::float::conv_backward_input;
use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::operator::Operator;
use super::{Backward, Forward, Record, Task};
use crate::arrays::{array, recycle_array, slice};
use crate::engine::error::RunError;
use crate::engine::gradients::Precision;
use crate::engine::value::Value;
use crate::engine::weights::PackedLayer;
use crate::network::{BinaryId, Input, Network, Step, StepId};
use crate::ops::ConvolutionForm;

/// A layer with weights of ±1, on activations of -1, 0 and +1 as codes; as its operator does it where
/// the activations turn out to be others, or a weight is 0.
#[derive(Debug)]
pub(in crate::engine) struct BinaryLayer {
    pub operator: Operator,
    /// Whoever reads the output takes it as sums.
    pub sums: bool,
}

/// The layer at `step` as a convolution, for an input of that shape. `None` if it has no binary
/// weight, or the kernels do not have its geometry.
pub(in crate::engine) fn form_of(
    network: &Network,
    step: &Step,
    input: &[usize],
) -> Option<ConvolutionForm> {
    let &[Input::Value(_), Input::Binary(id), ..] = &step.inputs[..] else {
        return None;
    };
    let convolution = step.op.traits(&[]).convolution?;
    let form = convolution.form(input, network.latent(id).shape())?;
    supports(&form.geometry).then_some(form)
}

/// A value as codes of a layer's input, if it has that form or can be given it.
pub(super) fn codes_of(form: &ConvolutionForm, x: &Value) -> Option<Arc<Codes>> {
    match x.codes() {
        Some(codes) if codes.shape() == form.input() => Some(Arc::clone(codes)),
        _ => Some(Arc::new(form.pack(x.float())?)),
    }
}

impl PackedLayer {
    /// The layer's output as floats.
    fn floats(&self, form: &ConvolutionForm, x: &Codes) -> Value {
        let mut y = buffer(form.output.iter().product());
        forward_scaled(
            &form.geometry,
            x,
            &self.weight,
            &self.scale,
            &self.bias,
            &mut y,
        );
        array(&form.output, y).into()
    }

    /// The layer's output as sums.
    fn sums(&self, form: &ConvolutionForm, x: &Codes) -> Value {
        let mut y = buffer(form.output.iter().product());
        forward_sums(&form.geometry, x, &self.weight, &mut y);
        Value::of_sums(Sums {
            sums: y,
            shape: form.output.clone(),
            scale: self.scale.clone(),
            bias: self.bias.clone(),
        })
    }
}

impl BinaryLayer {
    /// The output; `None` if the input or the weight is not binary.
    fn packed(&self, pass: &Forward<'_>) -> Option<Value> {
        let network = pass.network;
        let step = network.step(self.operator.step);
        let Input::Value(v) = step.inputs.first()? else {
            return None;
        };
        let x = pass.values.get(v.0)?.as_ref()?;
        let form = form_of(network, step, x.shape())?;
        let codes = codes_of(&form, x)?;
        let layer = pass.weights.packed(network, self.operator.step, &form)?;
        Some(match self.sums {
            true => layer.sums(&form, &codes),
            false => layer.floats(&form, &codes),
        })
    }
}

impl Task for BinaryLayer {
    fn steps(&self) -> &[StepId] {
        self.operator.steps()
    }

    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError> {
        let Some(y) = self.packed(pass) else {
            return self.operator.forward(pass);
        };
        let network = pass.network;
        let step = network.step(self.operator.step);
        let shapes = match self.operator.gradients.any() {
            true => pass.input_shapes(step),
            false => Vec::new(),
        };
        pass.set(step.output, y);
        Ok(Record {
            saved: None,
            shapes,
        })
    }

    fn backward(&self, pass: &mut Backward<'_>, record: &Record, grad: ArrayD<f32>) {
        let grads = Gradient::of(self, pass, record, &grad).and_then(|g| g.all(pass.precision));
        match grads {
            Some(grads) => {
                recycle_array(grad);
                let step = pass.network.step(self.operator.step);
                pass.add_all(step, &self.operator.gradients, grads);
            }
            None => self.operator.backward(pass, record, grad),
        }
    }
}

/// A binary convolution on its way back.
struct Gradient<'a> {
    pass: &'a Backward<'a>,
    at: StepId,
    weight: BinaryId,
    form: ConvolutionForm,
    /// The input, if it was kept.
    x: Option<&'a Value>,
    shapes: &'a [Vec<usize>],
    wanted: &'a [bool],
    grad: &'a ArrayD<f32>,
}

impl<'a> Gradient<'a> {
    /// `None` if the kernels do not have the layer in this form.
    fn of(
        layer: &'a BinaryLayer,
        pass: &'a Backward<'a>,
        record: &'a Record,
        grad: &'a ArrayD<f32>,
    ) -> Option<Self> {
        let at = layer.operator.step;
        let step = pass.network.step(at);
        let &[Input::Value(v), Input::Binary(id), ..] = &step.inputs[..] else {
            return None;
        };
        let form = form_of(pass.network, step, record.shapes.first()?)?;
        Some(Self {
            at,
            weight: id,
            form: Some(form).filter(ConvolutionForm::is_plain)?,
            x: pass.value(v),
            shapes: &record.shapes,
            wanted: &layer.operator.gradients.wanted,
            grad,
            pass,
        })
    }

    /// Those of input, weight and bias.
    fn all(&self, precision: Precision) -> Option<Vec<Option<ArrayD<f32>>>> {
        let mut grads = match precision {
            Precision::F32 => None,
            Precision::Int8 => self.rounded(),
        }
        .or_else(|| self.exact())?;
        if let (Some(&wanted), Some(shape)) = (self.wanted.get(2), self.shapes.get(2)) {
            grads.push(match wanted {
                true => Some(self.bias(shape)?),
                false => None,
            });
        }
        Some(grads)
    }

    /// An array of input `k`'s shape, which `write` overwrites and says whether it could.
    fn written(&self, k: usize, write: impl FnOnce(&mut [f32]) -> bool) -> Option<ArrayD<f32>> {
        let shape = &self.shapes[k];
        let mut out = buffer(shape.iter().product());
        write(&mut out).then(|| array(shape, out))
    }

    /// Those of input and weight from the gradient rounded to 8 bits.
    fn rounded(&self) -> Option<Vec<Option<ArrayD<f32>>>> {
        let g = &self.form.geometry;
        let (network, weights) = (self.pass.network, self.pass.weights);
        let signs = match self.wanted[0] {
            true => Some(weights.rounded_signs(network, self.at, self.weight, g)?),
            false => None,
        };
        let rounded = RoundedGradient::new(g, slice(self.grad))?;
        let grad_w = match self.wanted[1] {
            true => {
                let codes = codes_of(&self.form, self.x?)?;
                Some(self.written(1, |out| rounded.weight_gradient(&codes, out))?)
            }
            false => None,
        };
        let grad_x = signs.and_then(|signs| {
            let scales = weights.scales(network, self.weight);
            self.written(0, |out| {
                rounded.input_gradient(signs, scales, out);
                true
            })
        });
        Some(vec![grad_x, grad_w])
    }

    /// The same in single precision.
    fn exact(&self) -> Option<Vec<Option<ArrayD<f32>>>> {
        let g = &self.form.geometry;
        let grad_w = match self.wanted[1] {
            true => {
                let codes = codes_of(&self.form, self.x?)?;
                let grad = slice(self.grad);
                Some(self.written(1, |out| weight_gradient(g, &codes, grad, out))?)
            }
            false => None,
        };
        let grad_x = match self.wanted[0] {
            true => self.written(0, |out| {
                self.input(out);
                true
            }),
            false => None,
        };
        Some(vec![grad_x, grad_w])
    }

    fn input(&self, out: &mut [f32]) {
        let (g, grad) = (&self.form.geometry, slice(self.grad));
        let (network, weights) = (self.pass.network, self.pass.weights);
        if let Some(signs) = weights.signs(network, self.at, self.weight, g) {
            signs.gradient(g, grad, weights.scales(network, self.weight), out);
        } else if let Some(weights) = weights.input(network, self.at, self.weight, g) {
            weights.gradient(g, grad, out);
        } else {
            let weight = slice(weights.effective(network, self.weight));
            conv_backward_input(g, grad, weight, out);
        }
    }

    fn bias(&self, shape: &[usize]) -> Option<ArrayD<f32>> {
        let g = &self.form.geometry;
        let planes = Planes {
            outer: g.batch,
            channels: g.filters,
            inner: g.out_height * g.out_width,
        };
        if shape.iter().product::<usize>() != g.filters {
            return None;
        }
        let sums = planes.sums(slice(self.grad)).into_iter();
        Some(array(shape, sums.map(|s| s as f32).collect()))
    }
}
