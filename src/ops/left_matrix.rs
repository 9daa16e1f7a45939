//! `MatMul` with a constant matrix on the left: `torch.matmul(weight, x)`.

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::WeightStrides;
use bnn_kernels::float::{Matrix, Product, gemm};
use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Convolution, ConvolutionForm, Op, Params, Saved, ShapeError, Traits, check};
use crate::arrays::{array, slice, slice_mut};

/// `y = W · x`: x `[…, I, N]`, weight `[O, I]`, y `[…, O, N]`. To an image `[I, N]` it is a convolution of N places with
/// a kernel of one.
#[derive(Debug, Clone)]
struct LeftMatrix;

/// Rows of the weight's gradient that one task computes.
const ROWS: usize = 16;

/// The sizes of a product.
struct Sizes {
    images: usize,
    inputs: usize,
    outputs: usize,
    places: usize,
}

impl Sizes {
    fn of(x: &[usize], weight: &[usize]) -> Option<Self> {
        let (lead, &[rows, places]) = x.split_last_chunk()?;
        let &[outputs, inputs] = weight else {
            return None;
        };
        (rows == inputs).then_some(Self {
            images: lead.iter().product(),
            inputs,
            outputs,
            places,
        })
    }

    fn x<'a>(&self, x: &'a [f32], image: usize) -> Matrix<'a> {
        let size = self.inputs * self.places;
        Matrix::new(&x[image * size..], self.inputs, self.places)
    }

    /// Rows of one image's output, from one on.
    fn y<'a>(&self, y: &'a [f32], image: usize, row: usize, rows: usize) -> Matrix<'a> {
        let start = (image * self.outputs + row) * self.places;
        Matrix::new(&y[start..], rows, self.places)
    }
}

impl Op for LeftMatrix {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            convolution: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, weight) = (inputs[0], inputs[1]);
        let sizes = Sizes::of(x.shape(), weight.shape());
        check(sizes.is_some(), || {
            let (w, x) = (weight.shape(), x.shape());
            format!("the weight {w:?} does not fit the input {x:?}")
        })?;
        let mut shape = x.shape().to_vec();
        let rank = shape.len();
        shape[rank - 2] = weight.shape()[0];
        let mut y = vec![0.0; shape.iter().product()];
        if let Some(sizes) = sizes.filter(|_| !y.is_empty()) {
            let matrix = Matrix::new(slice(weight), sizes.outputs, sizes.inputs);
            let images = y.par_chunks_exact_mut(sizes.outputs * sizes.places);
            images.enumerate().for_each(|(image, y)| {
                gemm(y, matrix, sizes.x(slice(x), image), 1.0, Product::Written);
            });
        }
        Ok((array(&shape, y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let sizes = Sizes::of(pass.shapes[0], pass.shapes[1]).expect("shapes of the forward pass");
        let grad = slice(&grad);
        let grad_x = pass.wanted[0].then(|| {
            let mut out = ArrayD::zeros(pass.shapes[0]);
            let turned = Matrix::new(slice(pass.input(1)), sizes.outputs, sizes.inputs).t();
            let size = sizes.inputs * sizes.places;
            if size > 0 {
                let images = slice_mut(&mut out).par_chunks_exact_mut(size);
                images.enumerate().for_each(|(image, out)| {
                    let of_y = sizes.y(grad, image, 0, sizes.outputs);
                    gemm(out, turned, of_y, 1.0, Product::Written);
                });
            }
            out
        });
        let grad_w = pass.wanted[1].then(|| {
            let mut out = ArrayD::zeros(pass.shapes[1]);
            let x = slice(pass.input(0));
            // Each task adds up all images, in their order: the same sums on any number of threads.
            if sizes.inputs > 0 {
                let parts = slice_mut(&mut out).par_chunks_mut(ROWS * sizes.inputs);
                parts.enumerate().for_each(|(part, out)| {
                    let rows = out.len() / sizes.inputs;
                    for image in 0..sizes.images {
                        let of_y = sizes.y(grad, image, part * ROWS, rows);
                        gemm(out, of_y, sizes.x(x, image).t(), 1.0, Product::Added);
                    }
                });
            }
            out
        });
        vec![grad_x, grad_w]
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        wanted[1 - k]
    }
}

impl Convolution for LeftMatrix {
    fn data_input(&self) -> usize {
        1
    }

    fn form(&self, x: &[usize], weight: &[usize]) -> Option<ConvolutionForm> {
        let &[batch, _, places] = x else {
            return None;
        };
        let sizes = Sizes::of(x, weight)?;
        Some(ConvolutionForm {
            geometry: ConvGeometry::of_matrix(batch, sizes.inputs, sizes.outputs, places),
            strides: WeightStrides {
                filter: sizes.inputs,
                channel: 1,
            },
            output: vec![batch, sizes.outputs, places],
            alpha: 1.0,
            beta: 0.0,
        })
    }
}

/// Of a node whose first input is a constant matrix. The operator reads the data first.
pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let mut imported = view.imported(LeftMatrix, &[ParamKind::Weight, ParamKind::Constant])?;
    imported.operands.reverse();
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn forward_is_the_definition_and_gradients_are_finite_differences() {
        for shape in [vec![2, 5, 3], vec![2, 3, 5, 2], vec![1, 5, 1]] {
            let inputs = [random(&shape, 1), random(&[19, 5], 2)];
            let y = forward(&LeftMatrix, &[&inputs[0], &inputs[1]]);
            let rank = shape.len();
            for (i, &v) in y.indexed_iter() {
                let at = ndarray::Dimension::as_array_view(&i).to_vec();
                let term = |k: usize| {
                    let mut from = at.clone();
                    from[rank - 2] = k;
                    inputs[1][[at[rank - 2], k]] * inputs[0][&from[..]]
                };
                let sum: f32 = (0..5).map(term).sum();
                assert!((v - sum).abs() < 1e-5, "{shape:?} {at:?}");
            }
            check_gradients(&LeftMatrix, &inputs);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let fails = |x: &[usize], w: &[usize]| {
            let (x, w) = (random(x, 1), random(w, 2));
            LeftMatrix.forward(&[&x, &w]).is_err()
        };
        assert!(fails(&[2, 4, 3], &[7, 5]) && fails(&[5], &[7, 5]) && fails(&[2, 5, 3], &[5]));
    }
}
