//! `Concat` along any axis but the batch.

use bnn_kernels::buffers::buffer;
use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::broadcast::sum_to;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{array, recycle_array, slice};

/// Inputs one after the other along `axis`. One of a single row, as a constant is, is that of all images.
#[derive(Debug, Clone)]
struct Concat {
    axis: usize,
}

impl Concat {
    /// The shape of what is written.
    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, ShapeError> {
        let axis = self.axis;
        let mut shape = inputs.first().map(|s| s.to_vec()).unwrap_or_default();
        check(axis > 0 && axis < shape.len(), || {
            format!("shape {shape:?}")
        })?;
        for &own in &inputs[1..] {
            let others = |s: &[usize]| [&s[1..axis], &s[axis + 1..]].concat();
            let batches = own.first() == shape.first() || own.first() == Some(&1) || shape[0] == 1;
            check(
                own.len() == shape.len() && others(own) == others(&shape) && batches,
                || format!("shapes {shape:?} and {own:?}"),
            )?;
            shape[axis] += own[axis];
            shape[0] = shape[0].max(own[0]);
        }
        Ok(shape)
    }

    /// Numbers that lie together in a tensor of that shape.
    fn row(&self, shape: &[usize]) -> usize {
        shape[self.axis..].iter().product()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape()).collect();
        let shape = self.shape(&shapes)?;
        let mut y = buffer(shape.iter().product());
        y.par_chunks_mut(self.row(&shape).max(1))
            .enumerate()
            .for_each(|(i, mut y)| {
                for x in inputs {
                    let size = self.row(x.shape());
                    let (part, rest) = y.split_at_mut(size);
                    let rows = x.shape()[..self.axis].iter().product::<usize>();
                    let row = i % rows.max(1);
                    part.copy_from_slice(&slice(x)[row * size..(row + 1) * size]);
                    y = rest;
                }
            });
        Ok((array(&shape, y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let (mut start, all) = (0, self.row(grad.shape()));
        let mut grads = Vec::with_capacity(pass.shapes.len());
        for (shape, wanted) in pass.shapes.iter().zip(pass.wanted) {
            let size = self.row(shape);
            grads.push(wanted.then(|| {
                let mut of_all = shape.to_vec();
                of_all[0] = grad.shape()[0];
                let mut part = buffer(of_all.iter().product());
                part.par_chunks_mut(size.max(1))
                    .zip(slice(&grad).par_chunks(all.max(1)))
                    .for_each(|(to, from)| to.copy_from_slice(&from[start..start + size]));
                sum_to(array(&of_all, part), shape)
            }));
            start += size;
        }
        recycle_array(grad);
        grads
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.output_shape()?.len();
    let axis = view.node.axis(0, rank).filter(|&a| a > 0);
    let axis = axis.ok_or_else(|| view.reject("only axes after the batch can be concatenated"))?;
    let kinds = vec![ParamKind::Constant; view.input_count()];
    view.imported(Concat { axis }, &kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients() {
        let inputs = [
            random(&[2, 3, 4], 1),
            random(&[2, 1, 4], 2),
            random(&[2, 2, 4], 3),
        ];
        let y = forward(&Concat { axis: 1 }, &inputs.each_ref());
        assert_eq!(y.shape(), [2, 6, 4]);
        assert_eq!(y[[1, 3, 2]], inputs[1][[1, 0, 2]]);
        check_gradients(&Concat { axis: 1 }, &inputs);
    }

    #[test]
    fn a_constant_is_that_of_all_images() {
        let token = random(&[1, 1, 4], 1);
        let x = random(&[3, 2, 4], 2);
        for inputs in [[token.clone(), x.clone()], [x, token.clone()]] {
            let y = forward(&Concat { axis: 1 }, &inputs.each_ref());
            assert_eq!(y.shape(), [3, 3, 4]);
            let at = if inputs[0].shape()[0] == 1 { 0 } else { 2 };
            assert!((0..3).all(|n| y[[n, at, 2]] == token[[0, 0, 2]]));
            check_gradients(&Concat { axis: 1 }, &inputs);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let of = |a: &[usize], b: &[usize]| {
            let both = [&random(a, 1), &random(b, 2)];
            Concat { axis: 1 }.forward(&both).is_err()
        };
        assert!(of(&[2, 1, 4], &[3, 1, 4]) && of(&[2, 1, 4], &[2, 1, 3]) && of(&[2], &[2]));
    }
}
