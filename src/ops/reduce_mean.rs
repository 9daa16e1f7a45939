//! `ReduceMean` and `GlobalAveragePool`: means over axes other than the batch.

use bnn_kernels::parallel::Planes;
use ndarray::{ArrayD, Axis};

use super::ParamKind;
use super::broadcast::expand;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{array, slice, slice_mut};
use crate::graph::normalize_axis;

/// The mean over `axes` (ascending, without the batch axis) of an input of rank `rank`.
#[derive(Debug, Clone)]
struct ReduceMean {
    name: &'static str,
    rank: usize,
    axes: Vec<usize>,
    keep_dims: bool,
}

impl ReduceMean {
    /// The input's shape with the reduced axes at size 1.
    fn kept(&self, shape: &[usize]) -> Vec<usize> {
        let size = |(i, &d): (usize, &usize)| if self.axes.contains(&i) { 1 } else { d };
        shape.iter().enumerate().map(size).collect()
    }

    fn count(&self, shape: &[usize]) -> usize {
        self.axes.iter().map(|&a| shape[a]).product()
    }

    /// Whether the reduced axes are the last ones.
    fn is_trailing(&self) -> bool {
        let first = self.axes.first().copied().unwrap_or(self.rank);
        self.axes.len() == self.rank - first
    }
}

impl Op for ReduceMean {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        check(x.ndim() == self.rank, || {
            format!("an input of rank {} instead of {}", x.ndim(), self.rank)
        })?;
        let kept = self.kept(x.shape());
        let count = self.count(x.shape());
        check(count > 0, || {
            format!("the mean of nothing: {:?}", x.shape())
        })?;
        let mean = if self.is_trailing() {
            let planes = Planes {
                outer: 1,
                channels: x.len() / count,
                inner: count,
            };
            let sums = planes.sums(slice(x)).into_iter();
            array(&kept, sums.map(|s| (s / count as f64) as f32).collect())
        } else {
            let mut sum = x.mapv(f64::from);
            for &a in &self.axes {
                sum = sum.sum_axis(Axis(a)).insert_axis(Axis(a));
            }
            let mean = sum.mapv(|s| (s / count as f64) as f32);
            mean.as_standard_layout().into_owned()
        };
        if self.keep_dims {
            return Ok((mean, Saved::Nothing));
        }
        let left = (0..self.rank).filter(|i| !self.axes.contains(i));
        let shape: Vec<usize> = left.map(|i| kept[i]).collect();
        let data = mean.into_raw_vec_and_offset().0;
        Ok((array(&shape, data), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shape = pass.shapes[0];
        let factor = 1.0 / self.count(shape) as f32;
        slice_mut(&mut grad).iter_mut().for_each(|g| *g *= factor);
        let grad = array(&self.kept(shape), grad.into_raw_vec_and_offset().0);
        vec![Some(expand(&grad, shape))]
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.input_shape(0)?.len();
    let axes = match view.node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if view.has_input(1) => view.ints(1)?,
        None => vec![],
    };
    let mut axes: Vec<usize> = if axes.is_empty() {
        if view.node.int("noop_with_empty_axes", 0) != 0 {
            return Err(view.reject("it reduces nothing (noop_with_empty_axes = 1)"));
        }
        (0..rank).collect()
    } else {
        let axes: Option<_> = axes.iter().map(|&a| normalize_axis(a, rank)).collect();
        axes.ok_or_else(|| view.reject("its axes are out of range"))?
    };
    axes.sort_unstable();
    axes.dedup();
    if axes.contains(&0) {
        return Err(view.reject("it averages over the batch, which is not supported"));
    }
    let op = ReduceMean {
        name: "ReduceMean",
        rank,
        axes,
        keep_dims: view.node.int("keepdims", 1) != 0,
    };
    view.imported(op, &[ParamKind::Constant])
}

pub(super) fn import_global(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.input_shape(0)?.len();
    let op = ReduceMean {
        name: "GlobalAveragePool",
        rank,
        axes: (2..rank).collect(),
        keep_dims: true,
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients() {
        let x = random(&[2, 3, 4, 5], 1);
        for (axes, keep_dims, shape) in [
            (vec![2, 3], true, vec![2, 3, 1, 1]),
            (vec![2, 3], false, vec![2, 3]),
            (vec![1, 2], true, vec![2, 1, 1, 5]),
            (vec![1, 3], false, vec![2, 4]),
        ] {
            let op = ReduceMean {
                name: "ReduceMean",
                rank: 4,
                axes,
                keep_dims,
            };
            let y = forward(&op, &[&x]);
            assert_eq!(y.shape(), shape);
            let mut expected = x.clone();
            for &a in op.axes.iter().rev() {
                expected = expected.mean_axis(Axis(a)).unwrap();
            }
            for (y, e) in y.iter().zip(&expected) {
                assert!((y - e).abs() < 1e-6);
            }
            check_gradients(&op, std::slice::from_ref(&x));
        }
    }
}
