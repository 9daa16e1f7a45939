//! `Concat` along any axis but the batch.

use bnn_kernels::buffers::buffer;
use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{array, recycle_array, slice};

/// Inputs one after the other along `axis`.
#[derive(Debug, Clone)]
struct Concat {
    axis: usize,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let mut shape = inputs[0].shape().to_vec();
        let axis = self.axis;
        check(axis < shape.len(), || format!("shape {shape:?}"))?;
        for x in &inputs[1..] {
            let others = |s: &[usize]| [&s[..axis], &s[axis + 1..]].concat();
            check(
                x.ndim() == shape.len() && others(x.shape()) == others(&shape),
                || format!("shapes {shape:?} and {:?}", x.shape()),
            )?;
            shape[axis] += x.shape()[axis];
        }
        let mut y = buffer(shape.iter().product());
        let row = |shape: &[usize]| shape[axis..].iter().product::<usize>();
        y.par_chunks_mut(row(&shape).max(1))
            .enumerate()
            .for_each(|(i, mut y)| {
                for x in inputs {
                    let size = row(x.shape());
                    let (part, rest) = y.split_at_mut(size);
                    part.copy_from_slice(&slice(x)[i * size..(i + 1) * size]);
                    y = rest;
                }
            });
        Ok((array(&shape, y), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let row = |shape: &[usize]| shape[self.axis..].iter().product::<usize>();
        let (mut start, all) = (0, row(grad.shape()));
        let mut grads = Vec::with_capacity(pass.shapes.len());
        for (shape, wanted) in pass.shapes.iter().zip(pass.wanted) {
            let size = row(shape);
            grads.push(wanted.then(|| {
                let mut part = buffer(shape.iter().product());
                part.par_chunks_mut(size.max(1))
                    .zip(slice(&grad).par_chunks(all.max(1)))
                    .for_each(|(to, from)| to.copy_from_slice(&from[start..start + size]));
                array(shape, part)
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
    if (0..kinds.len()).any(|k| view.is_constant(k)) {
        return Err(view.reject("a constant among the inputs is not supported"));
    }
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
}
