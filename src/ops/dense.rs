//! `Gemm`, and `MatMul` with a constant on the right.

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::WeightStrides;
use bnn_kernels::float::{Matrix, par_gemm};
use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Convolution, ConvolutionForm, Op, Params, Saved, ShapeError, Traits, check};
use super::{left_matrix, tensor_product};
use crate::arrays::{array, slice, slice_mut};

/// `y = alpha · x · W (+ beta · bias)`: x `[…, I]`, weight `[I, O]` or, transposed, `[O, I]`, bias
/// with one element or O.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    name: &'static str,
    /// The weight is `[O, I]`.
    transposed: bool,
    alpha: f32,
    beta: f32,
}

impl Dense {
    /// `(I, O)` of a weight's shape.
    fn sizes(&self, weight: &[usize]) -> Option<(usize, usize)> {
        match *weight {
            [o, i] if self.transposed => Some((i, o)),
            [i, o] => Some((i, o)),
            _ => None,
        }
    }

    /// The weight as `[I, O]`.
    fn matrix<'a>(&self, weight: &'a ArrayD<f32>, inputs: usize, outputs: usize) -> Matrix<'a> {
        match self.transposed {
            true => Matrix::new(slice(weight), outputs, inputs).t(),
            false => Matrix::new(slice(weight), inputs, outputs),
        }
    }
}

impl Op for Dense {
    fn name(&self) -> &'static str {
        self.name
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            convolution: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, w) = (inputs[0], inputs[1]);
        let fail = || {
            let (w, x) = (w.shape(), x.shape());
            ShapeError(format!("the weight {w:?} does not fit the input {x:?}"))
        };
        let (i, o) = self.sizes(w.shape()).ok_or_else(fail)?;
        let Some((&last, lead)) = x.shape().split_last() else {
            return Err(fail());
        };
        if last != i || lead.is_empty() {
            return Err(fail());
        }
        let rows: usize = lead.iter().product();
        let mut y = vec![0.0; rows * o];
        let x = Matrix::new(slice(x), rows, i);
        par_gemm(&mut y, x, self.matrix(w, i, o), self.alpha);
        if let Some(bias) = inputs.get(2) {
            check(bias.len() == o || bias.len() == 1, || {
                format!("a bias of shape {:?} for {o} outputs", bias.shape())
            })?;
            let bias = slice(bias);
            if o > 0 {
                for y in y.chunks_exact_mut(o) {
                    let bias = bias.iter().cycle();
                    y.iter_mut()
                        .zip(bias)
                        .for_each(|(y, b)| *y += self.beta * b);
                }
            }
        }
        Ok((array(&[lead, &[o]].concat(), y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let sizes = self.sizes(pass.shapes[1]);
        let (i, o) = sizes.expect("shapes of the forward pass");
        let x_shape = pass.shapes[0];
        let rows: usize = x_shape[..x_shape.len() - 1].iter().product();
        let grad_y = Matrix::new(slice(&grad), rows, o);
        let grad_x = pass.wanted[0].then(|| {
            let mut out = ArrayD::zeros(x_shape);
            let w = self.matrix(pass.input(1), i, o).t();
            par_gemm(slice_mut(&mut out), grad_y, w, self.alpha);
            out
        });
        let grad_w = pass.wanted[1].then(|| {
            let mut out = ArrayD::zeros(pass.shapes[1]);
            let x = Matrix::new(slice(pass.input(0)), rows, i);
            let (left, right) = match self.transposed {
                true => (grad_y.t(), x),
                false => (x.t(), grad_y),
            };
            par_gemm(slice_mut(&mut out), left, right, self.alpha);
            out
        });
        let mut grads = vec![grad_x, grad_w];
        if let Some(&wanted) = pass.wanted.get(2) {
            grads.push(wanted.then(|| {
                let mut out = ArrayD::zeros(pass.shapes[2]);
                let sums = slice_mut(&mut out);
                let count = sums.len();
                for (j, g) in slice(&grad).iter().enumerate() {
                    sums[(j % o) % count] += self.beta * g;
                }
                out
            }));
        }
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

impl Convolution for Dense {
    fn factors(&self) -> [f32; 2] {
        [self.alpha, self.beta]
    }

    fn filter_axis(&self) -> usize {
        usize::from(!self.transposed)
    }

    fn form(&self, x: &[usize], weight: &[usize]) -> Option<ConvolutionForm> {
        let (inputs, outputs) = self.sizes(weight)?;
        let rows = match *x {
            [rows, i] if i == inputs => rows,
            _ => return None,
        };
        let (filter, channel) = match self.transposed {
            true => (inputs, 1),
            false => (1, outputs),
        };
        Some(ConvolutionForm {
            geometry: ConvGeometry::of_matrix(rows, inputs, outputs, 1),
            strides: WeightStrides { filter, channel },
            output: vec![rows, outputs],
            alpha: self.alpha,
            beta: self.beta,
        })
    }
}

const KINDS: &[ParamKind] = &[ParamKind::Weight, ParamKind::Weight, ParamKind::Bias];

pub(super) fn import_gemm(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.node.int("transA", 0) != 0 {
        return Err(view.reject("transA = 1 is not supported: it mixes the images of a batch"));
    }
    let op = Dense {
        name: "Gemm",
        transposed: view.node.int("transB", 0) != 0,
        alpha: view.node.float("alpha", 1.0),
        beta: view.node.float("beta", 1.0),
    };
    view.imported(op, KINDS)
}

pub(super) fn import_matmul(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (left, right) = (view.input_shape(0)?.len(), view.input_shape(1)?.len());
    if left == 2 && right > 2 && view.is_constant(0) {
        return left_matrix::import(view);
    }
    if right != 2 || !view.is_constant(1) {
        return tensor_product::import(view);
    }
    let op = Dense {
        name: "MatMul",
        transposed: false,
        alpha: 1.0,
        beta: 0.0,
    };
    view.imported(op, KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn forward_is_the_definition_and_gradients_are_finite_differences() {
        for (transposed, alpha, beta, bias) in [
            (false, 1.0, 1.0, vec![4]),
            (true, 0.5, 2.0, vec![1, 4]),
            (true, 1.0, 1.0, vec![1]),
        ] {
            let op = Dense {
                name: "Gemm",
                transposed,
                alpha,
                beta,
            };
            let w = if transposed { [4, 5] } else { [5, 4] };
            let inputs = [random(&[37, 5], 1), random(&w, 2), random(&bias, 3)];
            let y = forward(&op, &[&inputs[0], &inputs[1], &inputs[2]]);
            for (i, v) in y.indexed_iter() {
                let at = |k| if transposed { [i[1], k] } else { [k, i[1]] };
                let dot: f32 = (0..5)
                    .map(|k| inputs[0][[i[0], k]] * inputs[1][at(k)])
                    .sum();
                let bias = slice(&inputs[2]);
                let expected = alpha * dot + beta * bias[i[1] % bias.len()];
                assert!((v - expected).abs() < 1e-5);
            }
            check_gradients(&op, &inputs);
        }
    }

    #[test]
    fn leading_axes_are_rows() {
        let op = Dense {
            name: "MatMul",
            transposed: false,
            alpha: 1.0,
            beta: 0.0,
        };
        let inputs = [random(&[2, 3, 4], 1), random(&[4, 2], 2)];
        assert_eq!(forward(&op, &[&inputs[0], &inputs[1]]).shape(), [2, 3, 2]);
        check_gradients(&op, &inputs);
    }
}
