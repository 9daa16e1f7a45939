//! `Conv` over one or two spatial axes.

use std::sync::Arc;

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::WeightStrides;
use bnn_kernels::buffers::buffer;
use bnn_kernels::float::{conv_backward_input, conv_backward_weight, conv_forward};
use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{
    Backward, ChannelsLeft, Convolution, ConvolutionForm, Op, Params, Saved, ShapeError, Traits,
    check,
};
use crate::arrays::{array, recycle_array, slice};

/// Inputs x `[N, C, (H,) W]`, weight `[O, C/g, (kH,) kW]`, optionally bias `[O]`.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Before each axis.
    begin: [usize; 2],
    /// After each axis.
    end: [usize; 2],
    groups: usize,
}

/// A one-dimensional pair of sizes gets a vertical axis of that size in front.
fn pair(v: &[usize], vertical: usize) -> [usize; 2] {
    match *v {
        [w] => [vertical, w],
        [h, w] => [h, w],
        _ => [vertical, vertical],
    }
}

/// The output's shape, of an input of that rank.
fn output_shape(g: &ConvGeometry, rank: usize) -> Vec<usize> {
    match rank {
        3 => vec![g.batch, g.filters, g.out_width],
        _ => vec![g.batch, g.filters, g.out_height, g.out_width],
    }
}

impl Conv {
    fn geometry(&self, x: &[usize], w: &[usize]) -> Result<ConvGeometry, ShapeError> {
        let fail = || ShapeError(format!("the weight {w:?} does not fit the input {x:?}"));
        if x.len() != w.len() || !(3..=4).contains(&x.len()) {
            return Err(fail());
        }
        let (channels, filters) = (x[1], w[0]);
        let size = pair(&x[2..], 1);
        let kernel = pair(&w[2..], 1);
        let fits = w[1].checked_mul(self.groups) == Some(channels)
            && filters % self.groups == 0
            && !kernel.contains(&0);
        if !fits {
            return Err(fail());
        }
        let output = |i: usize| {
            let padded = size[i]
                .checked_add(self.begin[i])?
                .checked_add(self.end[i])?;
            let extent = (kernel[i] - 1)
                .checked_mul(self.dilation[i])?
                .checked_add(1)?;
            Some(padded.checked_sub(extent)? / self.stride[i] + 1)
        };
        let (Some(out_height), Some(out_width)) = (output(0), output(1)) else {
            return Err(fail());
        };
        Ok(ConvGeometry {
            batch: x[0],
            channels,
            height: size[0],
            width: size[1],
            filters,
            out_height,
            out_width,
            kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad: self.begin,
            groups: self.groups,
        })
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        // A channel a group: there are as many groups as channels.
        let groups = left.output.filter(|_| self.groups > 1)?.kept.len();
        Some(Arc::new(Self {
            groups,
            ..self.clone()
        }))
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            convolution: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, w, bias) = (inputs[0], inputs[1], inputs.get(2));
        let g = self.geometry(x.shape(), w.shape())?;
        check(bias.is_none_or(|b| b.len() == g.filters), || {
            format!("the bias does not have {} elements", g.filters)
        })?;
        let shape = output_shape(&g, x.ndim());
        let mut y = buffer(shape.iter().product());
        conv_forward(&g, slice(x), slice(w), bias.map(|b| slice(b)), &mut y);
        Ok((array(&shape, y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let (x, w) = (pass.shapes[0], pass.shapes[1]);
        let g = self.geometry(x, w).expect("shapes of the forward pass");
        let grad_x = pass.wanted[0].then(|| {
            let mut out = buffer(x.iter().product());
            conv_backward_input(&g, slice(&grad), slice(pass.input(1)), &mut out);
            array(x, out)
        });
        let grad_w = pass.wanted[1].then(|| {
            let mut out = vec![0.0; w.iter().product()];
            conv_backward_weight(&g, slice(pass.input(0)), slice(&grad), &mut out);
            array(w, out)
        });
        let mut grads = vec![grad_x, grad_w];
        if let Some(&wanted) = pass.wanted.get(2) {
            grads.push(wanted.then(|| {
                let sums = Planes::around(grad.shape(), 1).sums(slice(&grad));
                array(pass.shapes[2], sums.into_iter().map(|s| s as f32).collect())
            }));
        }
        recycle_array(grad);
        grads
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        match k {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        }
    }
}

impl Convolution for Conv {
    fn groups(&self) -> usize {
        self.groups
    }

    fn form(&self, x: &[usize], weight: &[usize]) -> Option<ConvolutionForm> {
        let g = self.geometry(x, weight).ok()?;
        let area = g.kernel[0] * g.kernel[1];
        Some(ConvolutionForm {
            strides: WeightStrides {
                filter: weight[1] * area,
                channel: area,
            },
            output: output_shape(&g, x.len()),
            alpha: 1.0,
            beta: 1.0,
            geometry: g,
        })
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let kernel = view.input_shape(1)?;
    let window = view.window(kernel.get(2..))?;
    if !(1..=2).contains(&window.kernel.len()) {
        return Err(view.reject("only one and two spatial axes are supported"));
    }
    let groups = view.node.groups().unwrap_or(0);
    if groups == 0 {
        return Err(view.reject("the attribute 'group' must be at least 1"));
    }
    let op = Conv {
        stride: pair(&window.strides, 1),
        dilation: pair(&window.dilations, 1),
        begin: pair(&window.begin, 0),
        end: pair(&window.end, 0),
        groups,
    };
    view.imported(op, &[ParamKind::Weight, ParamKind::Weight, ParamKind::Bias])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    /// The definition of the operator, in loops.
    fn direct(c: &Conv, x: &ArrayD<f32>, w: &ArrayD<f32>, b: &ArrayD<f32>) -> ArrayD<f32> {
        let g = c.geometry(x.shape(), w.shape()).unwrap();
        ArrayD::from_shape_fn(vec![g.batch, g.filters, g.out_height, g.out_width], |i| {
            let (n, o, oy, ox) = (i[0], i[1], i[2], i[3]);
            let per_group = g.channels / g.groups;
            let group = o / (g.filters / g.groups);
            let mut sum = f64::from(b[[o]]);
            for ci in 0..per_group {
                for ky in 0..g.kernel[0] {
                    for kx in 0..g.kernel[1] {
                        let y = (oy * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pad[0]);
                        let x_ = (ox * g.stride[1] + kx * g.dilation[1]).checked_sub(g.pad[1]);
                        if let (Some(y), Some(x_)) = (y, x_)
                            && let Some(v) = x.get([n, group * per_group + ci, y, x_])
                        {
                            sum += f64::from(*v) * f64::from(w[[o, ci, ky, kx]]);
                        }
                    }
                }
            }
            sum as f32
        })
    }

    fn variants() -> Vec<(Conv, [usize; 4], [usize; 4])> {
        let plain = Conv {
            stride: [1, 1],
            dilation: [1, 1],
            begin: [1, 1],
            end: [1, 1],
            groups: 1,
        };
        let asymmetric = Conv {
            stride: [2, 3],
            begin: [0, 2],
            end: [1, 0],
            ..plain.clone()
        };
        let dilated = Conv {
            dilation: [2, 1],
            groups: 2,
            ..plain.clone()
        };
        let pointwise = Conv {
            begin: [0, 0],
            end: [0, 0],
            ..plain.clone()
        };
        let depthwise = Conv {
            groups: 4,
            ..plain.clone()
        };
        let wide_pads = Conv {
            begin: [4, 5],
            end: [3, 4],
            stride: [2, 2],
            ..plain.clone()
        };
        vec![
            (plain, [3, 2, 5, 4], [3, 2, 3, 3]),
            (asymmetric, [19, 2, 7, 8], [4, 2, 3, 2]),
            (dilated, [2, 4, 6, 5], [4, 2, 3, 3]),
            (pointwise.clone(), [2, 3, 24, 24], [5, 3, 1, 1]),
            (pointwise, [18, 3, 2, 2], [5, 3, 1, 1]),
            (depthwise, [2, 4, 5, 5], [4, 1, 3, 3]),
            (wide_pads, [2, 2, 3, 3], [2, 2, 3, 3]),
        ]
    }

    #[test]
    fn forward_is_the_definition() {
        for (c, xs, ws) in variants() {
            let (x, w, b) = (random(&xs, 1), random(&ws, 2), random(&[ws[0]], 3));
            let expected = direct(&c, &x, &w, &b);
            let y = forward(&c, &[&x, &w, &b]);
            assert_eq!(y.shape(), expected.shape());
            let worst = (&y - &expected).iter().fold(0f32, |m, d| m.max(d.abs()));
            assert!(worst < 1e-4, "{c:?}: {worst}");
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (c, xs, ws) in variants() {
            let inputs = [random(&xs, 4), random(&ws, 5), random(&[ws[0]], 6)];
            check_gradients(&c, &inputs);
        }
    }

    #[test]
    fn one_spatial_axis_is_a_row() {
        let c = Conv {
            stride: [1, 2],
            dilation: [1, 1],
            begin: [0, 1],
            end: [0, 2],
            groups: 1,
        };
        let inputs = [random(&[2, 3, 9], 7), random(&[4, 3, 3], 8)];
        assert_eq!(forward(&c, &[&inputs[0], &inputs[1]]).shape(), [2, 4, 5]);
        check_gradients(&c, &inputs);
    }

    #[test]
    fn a_wrong_channel_count_is_an_error() {
        let (c, _, _) = variants().swap_remove(0);
        let (x, w) = (random(&[1, 3, 5, 5], 0), random(&[2, 2, 3, 3], 0));
        assert!(c.forward(&[&x, &w]).is_err());
    }
}
