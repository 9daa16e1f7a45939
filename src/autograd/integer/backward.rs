//! The backward pass of one binary layer, by rounded gradients.

use ndarray::ArrayD;

use super::layer::IntegerForm;
use crate::autograd::kernels::rounded::Rounded;
use crate::autograd::memory::buffer;
use crate::autograd::network::{Input, Network, Step};
use crate::autograd::ops::{Backward, sign};
use crate::autograd::parallel::{Planes, array, map, slice};

impl IntegerForm {
    /// Whether weights lie as those of a `Conv`, and nothing is multiplied with but their scale.
    fn is_plain(&self) -> bool {
        let g = &self.geometry;
        let area = g.kernel[0] * g.kernel[1];
        let strides = [self.strides.filter, self.strides.channel];
        strides == [g.channels * area, area] && self.alpha == 1.0 && self.beta == 1.0
    }
}

impl Network {
    /// The gradients of a binary layer's inputs, from that of its output rounded to 8 bits. `None`
    /// if it is another step, or they cannot be had in that way.
    pub(in crate::autograd) fn rounded_backward(
        &self,
        step: &Step,
        pass: &Backward<'_>,
        grad: &ArrayD<f32>,
    ) -> Option<Vec<Option<ArrayD<f32>>>> {
        let Input::Binary(id) = step.inputs.get(1)? else {
            return None;
        };
        let form = IntegerForm::of(self, step, pass.shapes[0]).filter(IntegerForm::is_plain)?;
        let (g, weight) = (&form.geometry, &self.binary[id.0]);
        let rounded = Rounded::new(g, slice(grad))?;
        let grad_w = match pass.wanted[1] {
            true => {
                let mut out = buffer(pass.shapes[1].iter().product());
                let x = pass.inputs[0]?;
                if !rounded.weight(slice(x), &mut out) {
                    return None;
                }
                Some(array(pass.shapes[1], out))
            }
            false => None,
        };
        let grad_x = pass.wanted[0].then(|| {
            let mut out = buffer(pass.shapes[0].iter().product());
            let signs = map(&self.params[weight.latent.0].value, |w| {
                sign(w, weight.zero)
            });
            rounded.input(slice(&signs), &self.scales(*id), &mut out);
            array(pass.shapes[0], out)
        });
        let mut grads = vec![grad_x, grad_w];
        if let (Some(&wanted), Some(&shape)) = (pass.wanted.get(2), pass.shapes.get(2)) {
            let planes = Planes {
                outer: g.batch,
                channels: g.filters,
                inner: g.out_height * g.out_width,
            };
            if shape.iter().product::<usize>() != g.filters {
                return None;
            }
            grads.push(wanted.then(|| {
                let sums = planes.sums(grad).into_iter();
                array(shape, sums.map(|s| s as f32).collect())
            }));
        }
        Some(grads)
    }
}
