//! `ReduceMean`, `ReduceSum`, `ReduceMax` and `ReduceMin`, and pooling over a whole plane: one number of many,
//! over axes other than the batch.

use bnn_kernels::parallel::Planes;
use ndarray::{ArrayD, Axis};
use rayon::prelude::*;

use super::ParamKind;
use super::broadcast::expand;
use super::lanes::Lanes;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{array, slice, slice_mut};

/// What is taken of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mean,
    Sum,
    Max,
    Min,
}

/// One number of each lane.
#[derive(Debug, Clone)]
struct Reduce {
    name: &'static str,
    kind: Kind,
    lanes: Lanes,
    keep_dims: bool,
}

impl Reduce {
    /// What sums are divided by.
    fn divisor(&self, shape: &[usize]) -> f64 {
        match self.kind {
            Kind::Mean => self.lanes.count(shape) as f64,
            _ => 1.0,
        }
    }

    fn sums(&self, x: &ArrayD<f32>) -> ArrayD<f32> {
        let count = self.lanes.count(x.shape());
        let kept = self.lanes.kept(x.shape());
        let divisor = self.divisor(x.shape());
        if self.lanes.are_rows() {
            let planes = Planes {
                outer: 1,
                channels: x.len() / count,
                inner: count,
            };
            let sums = planes.sums(slice(x)).into_iter();
            return array(&kept, sums.map(|s| (s / divisor) as f32).collect());
        }
        let mut sum = x.mapv(f64::from);
        for &a in &self.lanes.axes {
            sum = sum.sum_axis(Axis(a)).insert_axis(Axis(a));
        }
        let mean = sum.mapv(|s| (s / divisor) as f32);
        mean.as_standard_layout().into_owned()
    }

    /// The extreme of each lane, and where in it the first such number is.
    fn extremes(&self, x: &ArrayD<f32>) -> (ArrayD<f32>, Vec<u32>) {
        let count = self.lanes.count(x.shape());
        let lanes = self.lanes.gather(x);
        let better = |a: f32, b: f32| match self.kind {
            Kind::Min => a < b,
            _ => a > b,
        };
        let extreme = |lane: &[f32]| {
            let mut best = 0;
            for (i, &v) in lane.iter().enumerate() {
                // NaN stays, and is seen.
                if better(v, lane[best]) || (v.is_nan() && !lane[best].is_nan()) {
                    best = i;
                }
            }
            (lane[best], best as u32)
        };
        let (values, at) = lanes.par_chunks_exact(count).map(extreme).unzip();
        (array(&self.lanes.kept(x.shape()), values), at)
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        check(x.ndim() == self.lanes.rank, || {
            format!(
                "an input of rank {} instead of {}",
                x.ndim(),
                self.lanes.rank
            )
        })?;
        let count = self.lanes.count(x.shape());
        check(count > 0 && u32::try_from(count).is_ok(), || {
            format!("a reduction of {:?}", x.shape())
        })?;
        let (y, saved) = match self.kind {
            Kind::Mean | Kind::Sum => (self.sums(x), Saved::Nothing),
            Kind::Max | Kind::Min => {
                let (y, at) = self.extremes(x);
                (y, Saved::Positions(at))
            }
        };
        if self.keep_dims {
            return Ok((y, saved));
        }
        let shape = self.lanes.left(x.shape());
        Ok((array(&shape, y.into_raw_vec_and_offset().0), saved))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shape = pass.shapes[0];
        let grad = match pass.saved {
            Saved::Positions(at) => {
                let count = self.lanes.count(shape);
                let mut lanes = vec![0.0; shape.iter().product()];
                let all = lanes.chunks_exact_mut(count).zip(at);
                for ((lane, &at), &g) in all.zip(slice(&grad)) {
                    lane[at as usize] = g;
                }
                self.lanes.scatter(lanes, shape)
            }
            _ => {
                let factor = (1.0 / self.divisor(shape)) as f32;
                slice_mut(&mut grad).iter_mut().for_each(|g| *g *= factor);
                let grad = array(&self.lanes.kept(shape), grad.into_raw_vec_and_offset().0);
                expand(&grad, shape)
            }
        };
        vec![Some(grad)]
    }
}

/// A reduction along axes.
pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (name, kind) = match view.node.op() {
        "ReduceSum" => ("ReduceSum", Kind::Sum),
        "ReduceMax" => ("ReduceMax", Kind::Max),
        "ReduceMin" => ("ReduceMin", Kind::Min),
        _ => ("ReduceMean", Kind::Mean),
    };
    let op = Reduce {
        name,
        kind,
        lanes: Lanes::of_reduction(view)?,
        keep_dims: view.node.int("keepdims", 1) != 0,
    };
    view.imported(op, &[ParamKind::Constant])
}

/// Pooling over all positions of a channel.
pub(super) fn import_global(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let (name, kind) = match view.node.op() {
        "GlobalMaxPool" => ("GlobalMaxPool", Kind::Max),
        _ => ("GlobalAveragePool", Kind::Mean),
    };
    let op = Reduce {
        name,
        kind,
        lanes: Lanes::from(2, view.input_shape(0)?.len()),
        keep_dims: true,
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, distinct, forward};

    #[test]
    fn values_and_gradients() {
        let x = distinct(&[2, 3, 4, 5]);
        for (axes, keep_dims, shape) in [
            (vec![2, 3], true, vec![2, 3, 1, 1]),
            (vec![2, 3], false, vec![2, 3]),
            (vec![1, 2], true, vec![2, 1, 1, 5]),
            (vec![1, 3], false, vec![2, 4]),
        ] {
            for kind in [Kind::Mean, Kind::Sum, Kind::Max, Kind::Min] {
                let op = Reduce {
                    name: "Reduce",
                    kind,
                    lanes: Lanes {
                        rank: 4,
                        axes: axes.clone(),
                    },
                    keep_dims,
                };
                let y = forward(&op, &[&x]);
                assert_eq!(y.shape(), shape);
                let mut expected = x.clone();
                for &a in axes.iter().rev() {
                    expected = match kind {
                        Kind::Mean => expected.mean_axis(Axis(a)).unwrap(),
                        Kind::Sum => expected.sum_axis(Axis(a)),
                        Kind::Max => {
                            expected.fold_axis(Axis(a), f32::NEG_INFINITY, |m, x| m.max(*x))
                        }
                        Kind::Min => expected.fold_axis(Axis(a), f32::INFINITY, |m, x| m.min(*x)),
                    };
                }
                for (y, e) in y.iter().zip(&expected) {
                    assert!((y - e).abs() < 1e-5 * (1.0 + e.abs()), "{kind:?}");
                }
                check_gradients(&op, std::slice::from_ref(&x));
            }
        }
    }
}
