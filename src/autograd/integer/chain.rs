//! From a binary layer's sums to the next binariser: a threshold for each filter.

use ndarray::ArrayD;

use super::layer::{IntegerForm, IntegerLayer};
use crate::autograd::kernels::packed::{Thresholds, Windows};
use crate::autograd::network::{Input, Network, StepId, ValueId};
use crate::autograd::ops::Context;
use crate::autograd::parallel::slice;
use crate::bisection;

/// Steps from behind a binary layer to a tensor of -1, 0 and +1 that depends on its output alone.
#[derive(Debug)]
pub(super) struct Chain {
    /// In the order of execution.
    pub steps: Vec<usize>,
    /// Which of them is a MaxPool.
    pool: Option<usize>,
    /// What the last one writes.
    pub output: ValueId,
}

impl Chain {
    /// The chain behind step `at`, as far as it goes before `end`. `readers` has for each value the
    /// steps of the whole network that read it.
    pub fn behind(
        network: &Network,
        at: StepId,
        end: StepId,
        readers: &[Vec<usize>],
    ) -> Option<Self> {
        let mut value = network.step(at).output;
        let (mut steps, mut pool, mut ternary) = (Vec::new(), None, None);
        while let [reader] = readers[value.0][..]
            && reader < end.0
            && value != network.logits()
        {
            let step = network.step(StepId(reader));
            if step.op.is_max_pool() && pool.is_none() && ternary.is_none() {
                pool = Some(steps.len());
            } else {
                let params: Option<Vec<_>> = step
                    .inputs
                    .iter()
                    .map(|i| match i {
                        Input::Value(v) if *v == value => Some(None),
                        Input::Param(p) => Some(Some(&network.param(*p).value)),
                        _ => None,
                    })
                    .collect();
                let Some(params) = params else {
                    break;
                };
                let data = params.iter().filter(|p| p.is_none()).count();
                if data != 1 || !step.op.is_monotone(&params) {
                    break;
                }
            }
            steps.push(reader);
            value = step.output;
            if step.op.is_ternary() || (ternary.is_some() && step.op.keeps_signs()) {
                ternary = Some((steps.len(), value));
            } else if ternary.is_some() {
                break;
            }
        }
        let (count, output) = ternary?;
        steps.truncate(count);
        Some(Self {
            steps,
            pool,
            output,
        })
    }

    /// The windows of its MaxPool on planes of that size.
    pub fn windows(&self, network: &Network, plane: [usize; 2]) -> Option<Option<Windows>> {
        let Some(pool) = self.pool else {
            return Some(None);
        };
        let step = network.step(StepId(self.steps[pool]));
        let windows = step.op.max_windows(plane)?;
        let full = |spans: &[Vec<usize>]| spans.iter().all(|s| !s.is_empty());
        (full(&windows.rows) && full(&windows.columns)).then_some(Some(windows))
    }

    /// What becomes of the layer's sums, found by computing the chain itself at integers. `None` if
    /// it is not one threshold (or two, with 0 between them) per filter.
    pub fn thresholds(
        &self,
        network: &Network,
        form: &IntegerForm,
        layer: &IntegerLayer,
    ) -> Option<Thresholds> {
        let channels = layer.scale.len();
        let most = i64::try_from(form.fan_in()).ok()?;
        let all = self.steps.len();
        let rank = form.output.len();
        let at = |sums: &[i64], steps: usize| self.values(network, layer, sums, (rank, steps));
        let (low, high) = (vec![-most; channels], vec![most; channels]);
        if let Some(pool) = self.pool {
            // The largest sum must give the largest value where pooling chooses.
            let (a, b) = (at(&low, pool)?, at(&high, pool)?);
            if a.iter().zip(&b).any(|(a, b)| b < a) {
                return None;
            }
        }
        let (a, b) = (at(&low, all)?, at(&high, all)?);
        let direction: Vec<i64> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| if b < a { -1 } else { 1 })
            .collect();
        let turned = |u: &[i64]| {
            let sums: Vec<i64> = u.iter().zip(&direction).map(|(u, d)| u * d).collect();
            at(&sums, all)
        };
        let find = |least: f32| bisection::first(channels, most, turned, |v| v >= least);
        let narrow =
            |v: &[i64]| -> Option<Vec<i16>> { v.iter().map(|&v| i16::try_from(v).ok()).collect() };
        Some(Thresholds {
            not_negative: narrow(&find(0.0)?)?,
            positive: narrow(&find(1.0)?)?,
            direction: narrow(&direction)?,
        })
    }

    /// What its first `count` steps make of one sum for each filter.
    fn values(
        &self,
        network: &Network,
        layer: &IntegerLayer,
        sums: &[i64],
        (rank, count): (usize, usize),
    ) -> Option<Vec<f32>> {
        let mut shape = vec![1; rank];
        *shape.get_mut(1)? = sums.len();
        let affine = layer.scale.iter().zip(&layer.bias);
        let y = sums.iter().zip(affine).map(|(&n, (s, b))| s * n as f32 + b);
        let mut x = ArrayD::from_shape_vec(shape, y.collect()).ok()?;
        let context = Context {
            batch_statistics: false,
        };
        for (i, &step) in self.steps.iter().enumerate().take(count) {
            if Some(i) == self.pool {
                continue;
            }
            let step = network.step(StepId(step));
            let inputs: Vec<&ArrayD<f32>> = step
                .inputs
                .iter()
                .map(|i| match i {
                    Input::Param(p) => &network.param(*p).value,
                    _ => &x,
                })
                .collect();
            let (y, _) = step.op.forward(&inputs, context).ok()?;
            if y.shape() != x.shape() || y.iter().any(|v| !v.is_finite()) {
                return None;
            }
            x = y;
        }
        Some(slice(&x).to_vec())
    }
}
