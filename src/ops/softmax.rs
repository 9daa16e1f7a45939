//! `Softmax` and `LogSoftmax` within a network. Where it ends in one, that is its [`Head`](super::Head).

use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::lanes::Lanes;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};

/// What each lane becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `Softmax`.
    Shares,
    /// `LogSoftmax`.
    Logarithms,
}

/// Shares of each lane, or their logarithms.
#[derive(Debug, Clone)]
struct Softmax {
    kind: Kind,
    lanes: Lanes,
}

impl Softmax {
    /// The logarithms of the shares, lane by lane.
    fn logarithms(&self, x: &ArrayD<f32>) -> Vec<f32> {
        let mut lanes = self.lanes.gather(x);
        let count = self.lanes.count(x.shape()).max(1);
        lanes.par_chunks_exact_mut(count).for_each(log_softmax);
        lanes
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Shares => "Softmax",
            Kind::Logarithms => "LogSoftmax",
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        check(x.ndim() == self.lanes.rank, || {
            format!("an input of shape {:?}", x.shape())
        })?;
        let mut y = self.logarithms(x);
        if self.kind == Kind::Shares {
            y.iter_mut().for_each(|y| *y = y.exp());
        }
        Ok((self.lanes.scatter(y, x.shape()), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shares = self.logarithms(pass.input(0));
        let mut grads = self.lanes.gather(&grad);
        let count = self.lanes.count(grad.shape()).max(1);
        let lanes = grads.par_chunks_exact_mut(count);
        lanes
            .zip(shares.par_chunks_exact(count))
            .for_each(|(g, logs)| {
                let pairs = || g.iter().zip(logs);
                match self.kind {
                    Kind::Shares => {
                        let mean: f64 = pairs()
                            .map(|(g, l)| f64::from(*g) * f64::from(*l).exp())
                            .sum();
                        let each = g.iter_mut().zip(logs);
                        each.for_each(|(g, l)| *g = l.exp() * (*g - mean as f32));
                    }
                    Kind::Logarithms => {
                        let sum: f64 = g.iter().map(|g| f64::from(*g)).sum();
                        let each = g.iter_mut().zip(logs);
                        each.for_each(|(g, l)| *g -= l.exp() * sum as f32);
                    }
                }
            });
        vec![Some(self.lanes.scatter(grads, pass.shapes[0]))]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

/// Along one axis; up to opset 12 along all from one on.
pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.input_shape(0)?.len();
    let axes = view.node.softmax_axes(rank).filter(|axes| axes.start > 0);
    let axes =
        axes.ok_or_else(|| view.reject("it normalises over the batch, which is not supported"))?;
    let op = Softmax {
        kind: match view.node.op() {
            "LogSoftmax" => Kind::Logarithms,
            _ => Kind::Shares,
        },
        lanes: Lanes {
            rank,
            axes: axes.collect(),
        },
    };
    view.imported(op, &[ParamKind::Constant])
}

/// Replaces logits by the logarithm of their softmax.
pub(crate) fn log_softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    let shift = f64::from(max) + sum.ln();
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) - shift) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn shares_and_gradients_along_any_axis() {
        for kind in [Kind::Shares, Kind::Logarithms] {
            for axes in [vec![1], vec![2], vec![1, 2]] {
                let op = Softmax {
                    kind,
                    lanes: Lanes { rank: 3, axes },
                };
                let x = random(&[2, 3, 4], 1);
                let y = op.lanes.gather(&forward(&op, &[&x]));
                for lane in y.chunks_exact(op.lanes.count(x.shape())) {
                    let share = |y: &f32| match kind {
                        Kind::Shares => *y,
                        Kind::Logarithms => y.exp(),
                    };
                    assert!((lane.iter().map(share).sum::<f32>() - 1.0).abs() < 1e-6);
                }
                check_gradients(&op, &[x]);
            }
        }
    }
}
