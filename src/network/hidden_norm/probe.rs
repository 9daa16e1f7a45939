//! Steps in front of a binariser as a function of one number: where it turns.

use ndarray::{ArrayD, IxDyn};

use super::by_channel;
use crate::network::graph::{Input, Network, StepId};

/// Numbers that a step function's threshold is looked for among.
const MOST: f64 = 1e6;

/// Steps as a function of one number a channel.
pub(super) struct Probe<'a> {
    pub network: &'a Network,
    pub steps: &'a [StepId],
    pub filters: usize,
    pub rank: usize,
    pub threshold: &'a ArrayD<f32>,
}

impl Probe<'_> {
    /// For each channel whether the binariser's input is at or above its threshold.
    fn above(&self, x: &[f64]) -> Option<Vec<bool>> {
        let mut shape = vec![1; self.rank];
        *shape.get_mut(1)? = self.filters;
        let values = x.iter().map(|&x| x as f32).collect();
        let mut x = ArrayD::from_shape_vec(IxDyn(&shape), values).ok()?;
        for &at in self.steps {
            let step = self.network.step(at);
            let inputs = step.inputs.iter().map(|i| match i {
                Input::Value(_) => Some(&x),
                Input::Param(p) => Some(&self.network.param(*p).value),
                Input::Binary(_) => None,
            });
            let inputs: Vec<&ArrayD<f32>> = inputs.collect::<Option<_>>()?;
            // Whatever looks at more than one number, or knows their number, is no such function.
            if step.op.traits(&[]).convolution.is_some() {
                return None;
            }
            let y = step.op.forward(&inputs).ok()?.0;
            if y.shape() != shape {
                return None;
            }
            x = y;
        }
        let thresholds = by_channel(self.threshold, self.filters, self.rank)?;
        let pairs = x.iter().zip(&thresholds);
        Some(pairs.map(|(x, t)| x >= t).collect())
    }

    /// For each channel the least number at which it is.
    pub(super) fn threshold(&self) -> Option<Vec<f32>> {
        let mut low = vec![-MOST; self.filters];
        let mut high = vec![MOST; self.filters];
        if self.above(&low)?.contains(&true) || self.above(&high)?.contains(&false) {
            return None;
        }
        for _ in 0..80 {
            let middle: Vec<f64> = low.iter().zip(&high).map(|(l, h)| 0.5 * (l + h)).collect();
            let above = self.above(&middle)?;
            for ((above, m), (l, h)) in above
                .into_iter()
                .zip(middle)
                .zip(low.iter_mut().zip(&mut high))
            {
                match above {
                    true => *h = m,
                    false => *l = m,
                }
            }
        }
        let round = |h: f64| if h.abs() < 1e-12 { 0.0 } else { h as f32 };
        Some(high.into_iter().map(round).collect())
    }
}
