//! `ReduceL1`, `ReduceL2`, `ReduceSumSquare`, `ReduceLogSum` and `ReduceLogSumExp`: sums of a function of each number,
//! over axes other than the batch.

use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::lanes::Lanes;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError, check};
use crate::arrays::{array, slice};

/// What is taken of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    /// Σ|x|.
    L1,
    /// √Σx².
    L2,
    /// Σx².
    SumSquare,
    /// ln Σx.
    LogSum,
    /// ln Σeˣ.
    LogSumExp,
}

/// The operators, by name.
const NORMS: [(&str, Norm); 5] = [
    ("ReduceL1", Norm::L1),
    ("ReduceL2", Norm::L2),
    ("ReduceSumSquare", Norm::SumSquare),
    ("ReduceLogSum", Norm::LogSum),
    ("ReduceLogSumExp", Norm::LogSumExp),
];

impl Norm {
    fn of(self, lane: &[f32]) -> f64 {
        let sum = |f: fn(f64) -> f64| lane.iter().map(|&v| f(f64::from(v))).sum::<f64>();
        match self {
            Self::L1 => sum(f64::abs),
            Self::L2 => sum(|v| v * v).sqrt(),
            Self::SumSquare => sum(|v| v * v),
            Self::LogSum => sum(|v| v).ln(),
            Self::LogSumExp => {
                // Away from what overflows; where all is infinite there is nothing to subtract.
                let most = lane.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v.into()));
                let most = if most.is_finite() { most } else { 0.0 };
                let terms = lane.iter().map(|&v| (f64::from(v) - most).exp());
                terms.sum::<f64>().ln() + most
            }
        }
    }

    /// The derivative by a number of a lane, of which `y` was taken.
    fn slope(self, x: f64, y: f64) -> f64 {
        match self {
            Self::L1 if x == 0.0 => 0.0,
            Self::L1 => x.signum(),
            // Where all numbers are 0 no direction is the steepest.
            Self::L2 if y == 0.0 => 0.0,
            Self::L2 => x / y,
            Self::SumSquare => 2.0 * x,
            Self::LogSum => (-y).exp(),
            Self::LogSumExp => (x - y).exp(),
        }
    }
}

/// One number of each lane.
#[derive(Debug, Clone)]
struct ReduceNorm {
    name: &'static str,
    norm: Norm,
    lanes: Lanes,
    keep_dims: bool,
}

impl Op for ReduceNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let rank = self.lanes.rank;
        check(x.ndim() == rank, || {
            format!("an input of rank {} instead of {rank}", x.ndim())
        })?;
        let count = self.lanes.count(x.shape());
        check(count > 0, || format!("a reduction of {:?}", x.shape()))?;
        let lanes = self.lanes.gather(x);
        let of = |lane: &[f32]| self.norm.of(lane) as f32;
        let values = lanes.par_chunks_exact(count).map(of).collect();
        let shape = match self.keep_dims {
            true => self.lanes.kept(x.shape()),
            false => self.lanes.left(x.shape()),
        };
        Ok((array(&shape, values), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let shape = pass.shapes[0];
        let count = self.lanes.count(shape);
        let mut lanes = self.lanes.gather(pass.input(0));
        let all = lanes.par_chunks_exact_mut(count).zip(slice(&grad));
        all.for_each(|(lane, &g)| {
            let y = self.norm.of(lane);
            for v in lane {
                *v = (f64::from(g) * self.norm.slope(f64::from(*v), y)) as f32;
            }
        });
        vec![Some(self.lanes.scatter(lanes, shape))]
    }

    fn needs_input(&self, _: usize, wanted: &[bool]) -> bool {
        wanted[0]
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let named = NORMS.iter().find(|(name, _)| *name == view.node.op());
    let &(name, norm) = named.ok_or_else(|| view.reject("it is no norm"))?;
    let op = ReduceNorm {
        name,
        norm,
        lanes: Lanes::of_reduction(view)?,
        keep_dims: view.node.int("keepdims", 1) != 0,
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    fn all(axes: &[usize], keep_dims: bool) -> [ReduceNorm; 5] {
        NORMS.map(|(name, norm)| ReduceNorm {
            name,
            norm,
            lanes: Lanes {
                rank: 4,
                axes: axes.to_vec(),
            },
            keep_dims,
        })
    }

    #[test]
    fn values_are_the_definition() {
        let x = ArrayD::from_shape_vec(vec![1, 2, 1, 2], vec![3.0, -4.0, 1.0, 2.0]).unwrap();
        let e = |v: f32| v.exp();
        let expected = [
            [7.0, 3.0],
            [5.0, 5.0f32.sqrt()],
            [25.0, 5.0],
            [f32::NAN, 3.0f32.ln()],
            [(e(3.0) + e(-4.0)).ln(), (e(1.0) + e(2.0)).ln()],
        ];
        for (op, expected) in all(&[2, 3], false).iter().zip(expected) {
            let y = forward(op, &[&x]);
            assert_eq!(y.shape(), [1, 2]);
            for (y, e) in y.iter().zip(expected) {
                assert!(e.is_nan() || (y - e).abs() < 1e-5, "{op:?}: {y}");
            }
        }
    }

    #[test]
    fn large_numbers_do_not_overflow_and_zeros_have_no_slope() {
        let x = ArrayD::from_elem(vec![1, 1, 1, 4], 200.0);
        let y = forward(&all(&[3], true)[4], &[&x]);
        assert!((y[[0, 0, 0, 0]] - (200.0 + 4.0f32.ln())).abs() < 1e-3);
        assert_eq!(
            [Norm::L1.slope(0.0, 0.0), Norm::L2.slope(0.0, 0.0)],
            [0.0; 2]
        );
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (axes, keep_dims) in [(vec![2, 3], true), (vec![1, 3], false), (vec![1, 2], true)] {
            for op in all(&axes, keep_dims) {
                // Sums of which a logarithm is taken are above 0.
                let x = random(&[2, 3, 4, 5], 1);
                let x = if op.norm == Norm::LogSum {
                    x.mapv(|v| v + 2.0)
                } else {
                    x
                };
                check_gradients(&op, &[x]);
            }
        }
    }
}
