//! The backward pass of one binary layer: on codes, and by rounded gradients where that is asked for.

use bnn_kernels::binary::{RoundedGradient, weight_gradient};
use bnn_kernels::buffers::buffer;
use bnn_kernels::float::conv_backward_input;
use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::layer::IntegerForm;
use crate::autograd::arrays::{array, slice};
use crate::autograd::binary::BinaryId;
use crate::autograd::network::{Input, Network, StepId};
use crate::autograd::trace::{Precision, Record, Trace};
use crate::autograd::value::Value;

impl IntegerForm {
    /// Whether weights lie as those of a `Conv`, and nothing is multiplied with but their scale.
    fn is_plain(&self) -> bool {
        let g = &self.geometry;
        let area = g.kernel[0] * g.kernel[1];
        let strides = [self.strides.filter, self.strides.channel];
        strides == [g.channels * area, area] && self.alpha == 1.0 && self.beta == 1.0
    }
}

/// A binary convolution on its way back.
struct Layer<'a> {
    network: &'a Network,
    trace: &'a Trace,
    at: StepId,
    id: BinaryId,
    form: IntegerForm,
    record: &'a Record,
    grad: &'a ArrayD<f32>,
}

impl Network {
    /// The gradients of a binary convolution's inputs. `None` if it is another step, or they cannot be
    /// had in that way.
    pub(in crate::autograd) fn binary_gradients(
        &self,
        at: StepId,
        trace: &Trace,
        grad: &ArrayD<f32>,
    ) -> Option<Vec<Option<ArrayD<f32>>>> {
        let step = self.step(at);
        let Input::Binary(id) = *step.inputs.get(1)? else {
            return None;
        };
        let record = trace.record(at)?;
        let form = IntegerForm::of(self, step, record.shapes.first()?)?;
        let layer = Layer {
            network: self,
            trace,
            at,
            id,
            form: Some(form).filter(IntegerForm::is_plain)?,
            record,
            grad,
        };
        let mut grads = match trace.gradients {
            Precision::F32 => None,
            Precision::Int8 => layer.rounded(),
        }
        .or_else(|| layer.exact())?;
        if let (Some(&wanted), Some(shape)) = (record.wanted.get(2), record.shapes.get(2)) {
            grads.push(match wanted {
                true => Some(layer.bias(shape)?),
                false => None,
            });
        }
        Some(grads)
    }
}

impl Layer<'_> {
    /// The input, if it was kept.
    fn x(&self) -> Option<&Value> {
        match self.network.step(self.at).inputs.first()? {
            Input::Value(v) => self.trace.held(*v),
            _ => None,
        }
    }

    fn shape(&self, input: usize) -> &[usize] {
        &self.record.shapes[input]
    }

    /// Those of input and weight from the gradient rounded to 8 bits.
    fn rounded(&self) -> Option<Vec<Option<ArrayD<f32>>>> {
        let g = &self.form.geometry;
        let (network, prepared) = (self.network, &self.trace.prepared);
        let [wants_x, wants_w] = [self.record.wanted[0], self.record.wanted[1]];
        let signs = match wants_x {
            true => Some(prepared.rounded_signs(network, (self.at, self.id), g)?),
            false => None,
        };
        let rounded = RoundedGradient::new(g, slice(self.grad))?;
        let grad_w = match wants_w {
            true => {
                let mut out = buffer(self.shape(1).iter().product());
                let codes = self.form.codes(self.x()?)?;
                if !rounded.weight_gradient(&codes, &mut out) {
                    return None;
                }
                Some(array(self.shape(1), out))
            }
            false => None,
        };
        let grad_x = signs.map(|signs| {
            let mut out = buffer(self.shape(0).iter().product());
            rounded.input_gradient(signs, prepared.scales(network, self.id), &mut out);
            array(self.shape(0), out)
        });
        Some(vec![grad_x, grad_w])
    }

    /// The same in single precision.
    fn exact(&self) -> Option<Vec<Option<ArrayD<f32>>>> {
        let g = &self.form.geometry;
        let grad_w = match self.record.wanted[1] {
            true => {
                let mut out = buffer(self.shape(1).iter().product());
                let codes = self.form.codes(self.x()?)?;
                if !weight_gradient(g, &codes, slice(self.grad), &mut out) {
                    return None;
                }
                Some(array(self.shape(1), out))
            }
            false => None,
        };
        let grad_x = self.record.wanted[0].then(|| {
            let (network, prepared) = (self.network, &self.trace.prepared);
            let mut out = buffer(self.shape(0).iter().product());
            if let Some(signs) = prepared.signs(network, (self.at, self.id), g) {
                let scale = prepared.scales(network, self.id);
                signs.gradient(g, slice(self.grad), scale, &mut out);
                return array(self.shape(0), out);
            }
            match prepared.input(network, (self.at, self.id), g) {
                Some(weights) => weights.gradient(g, slice(self.grad), &mut out),
                None => {
                    let weight = slice(prepared.effective(network, self.id));
                    conv_backward_input(g, slice(self.grad), weight, &mut out);
                }
            }
            array(self.shape(0), out)
        });
        Some(vec![grad_x, grad_w])
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
