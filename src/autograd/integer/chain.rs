//! From a binary layer's sums to the next binariser: a threshold for each filter.

use bnn_kernels::binary::{PoolWindows, Thresholds};
use bnn_kernels::float::FloatThresholds;
use ndarray::ArrayD;

use super::layer::{IntegerForm, IntegerLayer};
use crate::autograd::arrays::slice;
use crate::autograd::network::{Input, Network, StepId, ValueId};
use crate::autograd::ops::Context;
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
    pub fn windows(&self, network: &Network, plane: [usize; 2]) -> Option<Option<PoolWindows>> {
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
        let at = |sums: &[i64], steps: usize| {
            let affine = layer.scale.iter().zip(&layer.bias);
            let y = sums.iter().zip(affine).map(|(&n, (s, b))| s * n as f32 + b);
            self.values(network, y.collect(), (rank, steps))
        };
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

    /// What becomes of the output of a layer in single precision, `channels` and `rank` being its
    /// output's, found by computing the chain itself at floats. `None` if it is not one threshold (or
    /// two) per filter.
    pub fn float_thresholds(
        &self,
        network: &Network,
        channels: usize,
        rank: usize,
    ) -> Option<FloatThresholds> {
        let rounds = |&step: &usize| ROUNDED.contains(&network.step(StepId(step)).op.name());
        if self.steps.iter().any(rounds) {
            return None;
        }
        let most = key(LARGEST);
        let all = self.steps.len();
        let (low, high) = (vec![-LARGEST; channels], vec![LARGEST; channels]);
        if let Some(pool) = self.pool {
            let values = |y: &[f32]| self.values(network, y.to_vec(), (rank, pool));
            let (a, b) = (values(&low)?, values(&high)?);
            if a.iter().zip(&b).any(|(a, b)| b < a) {
                return None;
            }
        }
        let values = |y: Vec<f32>| self.values(network, y, (rank, all));
        let (a, b) = (values(low)?, values(high)?);
        let directions = a
            .iter()
            .zip(&b)
            .map(|(a, b)| if b < a { -1.0 } else { 1.0 });
        let direction: Vec<f32> = directions.collect();
        let turned = |u: &[i64]| {
            let y = u.iter().zip(&direction).map(|(&u, d)| d * of_key(u));
            values(y.collect())
        };
        let find = |least: f32| -> Option<Vec<f32>> {
            let found = bisection::first(channels, most, turned, |v| v >= least)?;
            let float = |u: i64| match u {
                u if u > most => f32::NAN,
                u if u == -most => f32::NEG_INFINITY,
                u => of_key(u),
            };
            Some(found.into_iter().map(float).collect())
        };
        Some(FloatThresholds {
            not_negative: find(0.0)?,
            positive: find(1.0)?,
            direction,
        })
    }

    /// What its first `count` steps make of one output `y` of the layer for each filter.
    fn values(
        &self,
        network: &Network,
        y: Vec<f32>,
        (rank, count): (usize, usize),
    ) -> Option<Vec<f32>> {
        let mut shape = vec![1; rank];
        *shape.get_mut(1)? = y.len();
        let mut x = ArrayD::from_shape_vec(shape, y).ok()?;
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

/// Beyond this no output of a layer is looked at.
const LARGEST: f32 = FloatThresholds::LARGEST;

/// Operators that are monotone, but not to the last bit.
const ROUNDED: [&str; 3] = ["Exp", "Sigmoid", "Tanh"];

/// An integer for each float, in the same order.
fn key(x: f32) -> i64 {
    let bits = x.to_bits() as i32;
    i64::from(bits ^ ((bits >> 31) as u32 >> 1) as i32)
}

/// The float of an integer that [`key`] gives.
fn of_key(key: i64) -> f32 {
    let bits = key as i32;
    f32::from_bits((bits ^ ((bits >> 31) as u32 >> 1) as i32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_floats() {
        let floats = [
            -LARGEST,
            -2.5,
            -f32::MIN_POSITIVE,
            -1e-44,
            0.0,
            1e-44,
            1.0,
            LARGEST,
        ];
        assert!(floats.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert!(floats.iter().all(|&x| of_key(key(x)) == x));
        assert_eq!(key(0.0), 0);
    }
}
