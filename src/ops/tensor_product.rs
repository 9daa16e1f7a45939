//! `MatMul` of two tensors of data, as attention has them.

use bnn_kernels::float::{Matrix, Product, gemm};
use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::broadcast::{common_shape, sum_to};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{slice, slice_mut};

/// `y = a · b`: a `[…, M, K]`, b `[…, K, N]`, y `[…, M, N]`; the axes in front broadcast.
#[derive(Debug, Clone)]
struct TensorProduct;

/// The matrices of which a product consists.
struct Layout {
    /// The axes in front, of the product.
    lead: Vec<usize>,
    m: usize,
    k: usize,
    n: usize,
    /// For each matrix of the product which ones of a and b it is made of.
    pairs: Vec<[usize; 2]>,
}

impl Layout {
    fn of(a: &[usize], b: &[usize]) -> Result<Self, ShapeError> {
        let fail = || ShapeError(format!("no product of {a:?} and {b:?}"));
        let (&[m, k], &[rows, n]) = (
            a.last_chunk::<2>().ok_or_else(fail)?,
            b.last_chunk::<2>().ok_or_else(fail)?,
        );
        check(k == rows, || fail().0)?;
        let lead = common_shape(&a[..a.len() - 2], &b[..b.len() - 2])?;
        let places = [a, b].map(|shape| places(&lead, &shape[..shape.len() - 2]));
        let count: usize = lead.iter().product();
        let pairs = (0..count).map(|i| [places[0][i], places[1][i]]).collect();
        Ok(Self {
            lead,
            m,
            k,
            n,
            pairs,
        })
    }

    fn a<'x>(&self, x: &'x ArrayD<f32>, at: usize) -> Matrix<'x> {
        let size = self.m * self.k;
        Matrix::new(&slice(x)[at * size..(at + 1) * size], self.m, self.k)
    }

    fn b<'x>(&self, x: &'x ArrayD<f32>, at: usize) -> Matrix<'x> {
        let size = self.k * self.n;
        Matrix::new(&slice(x)[at * size..(at + 1) * size], self.k, self.n)
    }

    /// For each matrix of the product one of `rows × columns`, in their order.
    fn each<'x>(
        &self,
        [rows, columns]: [usize; 2],
        factors: impl Fn(usize) -> [Matrix<'x>; 2] + Sync,
    ) -> ArrayD<f32> {
        let shape = [&self.lead[..], &[rows, columns]].concat();
        let mut out = ArrayD::zeros(&shape[..]);
        if rows * columns > 0 {
            let matrices = slice_mut(&mut out).par_chunks_exact_mut(rows * columns);
            matrices.enumerate().for_each(|(i, out)| {
                let [left, right] = factors(i);
                gemm(out, left, right, 1.0, Product::Written);
            });
        }
        out
    }
}

/// For each place along the axes `lead` where `shape`, which broadcasts to them, is read.
fn places(lead: &[usize], shape: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for (axis, &size) in lead.iter().enumerate() {
        let own = (axis + shape.len()).checked_sub(lead.len());
        let own = own.map_or(1, |axis| shape[axis]);
        let along =
            |&place: &usize| (0..size).map(move |i| place * own + if own == 1 { 0 } else { i });
        places = places.iter().flat_map(along).collect();
    }
    places
}

impl Op for TensorProduct {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (a, b) = (inputs[0], inputs[1]);
        let layout = Layout::of(a.shape(), b.shape())?;
        let y = layout.each([layout.m, layout.n], |i| {
            let [of_a, of_b] = layout.pairs[i];
            [layout.a(a, of_a), layout.b(b, of_b)]
        });
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let layout =
            Layout::of(pass.shapes[0], pass.shapes[1]).expect("shapes of the forward pass");
        let size = layout.m * layout.n;
        let of_y = |i: usize| {
            let part = &slice(&grad)[i * size..(i + 1) * size];
            Matrix::new(part, layout.m, layout.n)
        };
        let of_a = pass.wanted[0].then(|| {
            let b = pass.input(1);
            let each = layout.each([layout.m, layout.k], |i| {
                [of_y(i), layout.b(b, layout.pairs[i][1]).t()]
            });
            sum_to(each, pass.shapes[0])
        });
        let of_b = pass.wanted[1].then(|| {
            let a = pass.input(0);
            let each = layout.each([layout.k, layout.n], |i| {
                [layout.a(a, layout.pairs[i][0]).t(), of_y(i)]
            });
            sum_to(each, pass.shapes[1])
        });
        vec![of_a, of_b]
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        wanted[1 - k]
    }
}

/// Of data of one rank, whose batches are multiplied image by image.
pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (a, b) = (view.input_shape(0)?, view.input_shape(1)?);
    let of_data = !view.is_constant(0) && !view.is_constant(1);
    if !of_data || a.len() <= 2 || a.len() != b.len() {
        return Err(view.reject(
            "only products with a constant matrix, and of two tensors of one rank that both have the batch, are supported",
        ));
    }
    view.imported(TensorProduct, &[ParamKind::Constant; 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn forward_is_the_definition_and_gradients_are_finite_differences() {
        for (a, b) in [
            (vec![2, 3, 4, 5], vec![2, 3, 5, 2]),
            (vec![2, 1, 4, 5], vec![2, 3, 5, 2]),
            (vec![3, 4, 5], vec![1, 5, 2]),
        ] {
            let inputs = [random(&a, 1), random(&b, 2)];
            let y = forward(&TensorProduct, &[&inputs[0], &inputs[1]]);
            for (i, &v) in y.indexed_iter() {
                let i = ndarray::Dimension::as_array_view(&i).to_vec();
                let (lead, at) = i.split_at(i.len() - 2);
                let read = |x: &ArrayD<f32>, row: usize, column: usize| {
                    let own = lead.len() + 2 - x.ndim();
                    let front = lead[own..].iter().zip(x.shape());
                    let mut index: Vec<usize> = front.map(|(&i, &d)| i.min(d - 1)).collect();
                    index.extend([row, column]);
                    x[&index[..]]
                };
                let terms = (0..5).map(|k| read(&inputs[0], at[0], k) * read(&inputs[1], k, at[1]));
                assert!((v - terms.sum::<f32>()).abs() < 1e-5, "{a:?} {b:?}");
            }
            check_gradients(&TensorProduct, &inputs);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let of = |a: &[usize], b: &[usize]| {
            TensorProduct
                .forward(&[&random(a, 1), &random(b, 2)])
                .is_err()
        };
        assert!(of(&[2, 3, 4], &[2, 3, 4]) && of(&[2, 3, 4], &[3, 4, 2]) && of(&[4], &[4, 2]));
    }
}
