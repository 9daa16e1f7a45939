//! Normalisation with constant statistics, and Softmax.

use ndarray::{ArrayD, Axis, Zip};

use super::sums::largest;
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId};

impl Bounds<'_> {
    /// γ·(x − μ)/√(σ² + ε) + β with constant statistics.
    pub(super) fn batch_normalization(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let &[x, gamma, beta, mean, variance] = inputs else {
            return None;
        };
        let column = |t: TensorId| -> Option<Vec<f64>> {
            let value = self.facts.constant(t)?.as_f32()?;
            Some(value.iter().map(|&v| f64::from(v)).collect())
        };
        let (gamma, beta) = (column(gamma)?, column(beta)?);
        let (mean, variance) = (column(mean)?, column(variance)?);
        let epsilon = f64::from(node.epsilon());
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let mut bound = self.bound(x)?.broadcast(out.shape())?;
        if let Some(latent) = self.latent.get(&x).filter(|l| l.shape() == out.shape()) {
            // A runtime folds it into the layer's weights.
            Zip::from(&mut bound.sums)
                .and(latent)
                .for_each(|sums, &latent| *sums = sums.max(latent));
        }
        let axis = Axis(usize::from(out.ndim() > 1));
        for c in 0..out.len_of(axis) {
            let gain = gamma.get(c)? / (variance.get(c)? + epsilon).sqrt();
            let gain = gain.abs();
            let fixed = gain * mean.get(c)?.abs() + beta.get(c)?.abs();
            Zip::from(bound.sums.index_axis_mut(axis, c))
                .and(bound.single.index_axis_mut(axis, c))
                .and(value.index_axis(axis, c))
                .and(out.index_axis(axis, c))
                .for_each(|sums, single, &x, &y| {
                    let terms = gain * f64::from(x.abs()) + fixed + f64::from(y.abs());
                    *sums = scaled(gain, *sums);
                    *single = scaled(gain, *single) + (SAFETY * UNIT * terms) as f32;
                });
        }
        Some(bound)
    }

    /// Softmax moves by no more than its input, LogSoftmax by no more than twice that.
    pub(super) fn softmax(&self, logarithm: bool, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        let before = self.bound(x)?;
        let slope = if logarithm { 2.0 } else { 1.0 };
        let uniform = |part: &ArrayD<f32>| {
            ArrayD::from_elem(out.raw_dim(), (slope * largest(part.view())) as f32)
        };
        let level = largest(self.value(x)?.view()).max(1.0);
        Some(Bound {
            sums: uniform(&before.sums),
            single: uniform(&before.single)
                + (SAFETY * UNIT * 8.0 * level.max(largest(out.view()))) as f32,
        })
    }
}

fn scaled(gain: f64, error: f32) -> f32 {
    match error == 0.0 {
        true => 0.0,
        false => (gain * f64::from(error)) as f32,
    }
}
