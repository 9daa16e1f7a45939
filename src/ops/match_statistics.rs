//! What pulls a tensor's statistics towards those that a network stores.

use ndarray::ArrayD;

use super::{Backward, Monotone, Op, Params, Saved, ShapeError, Signs, Traits, channel_statistics};
use crate::arrays::{copy, slice};

/// The input as it is. Its gradient has beside that of the output the one of
/// `weight · N · mean over channels of ((μ - mean)² / variance + spread · (σ² / variance - 1)²)`, where
/// μ and σ² are the statistics of the batch of N samples: inputs that follow it get the statistics of the
/// images that the network was trained on (Yin et al., *Dreaming to Distill*, CVPR 2020, equation 4).
/// Input `[N, C, …]`.
#[derive(Debug, Clone)]
pub struct MatchStatistics {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The variance of each channel, positive.
    pub variance: Vec<f32>,
    /// How much the variance weighs beside the mean.
    pub spread: f32,
    /// How much both weigh.
    pub weight: f32,
}

impl Op for MatchStatistics {
    fn name(&self) -> &'static str {
        "MatchStatistics"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let channels = inputs[0].shape().get(1).copied().unwrap_or_default();
        if [self.mean.len(), self.variance.len()] != [channels; 2] {
            return Err(ShapeError(format!(
                "statistics of {} channels do not fit {channels} channels",
                self.mean.len()
            )));
        }
        let measured = channel_statistics(inputs[0]);
        Ok((copy(inputs[0]), Saved::Statistics(measured)))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        if let Saved::Statistics(measured) = pass.saved {
            let x = pass.input(0);
            let (channels, inner) = (
                self.mean.len(),
                x.shape().iter().skip(2).product::<usize>().max(1),
            );
            // N samples and N · inner numbers a channel.
            let factor = 2.0 * self.weight / (channels * inner).max(1) as f32;
            let gradients = grad.as_slice_mut().into_iter();
            let rows = gradients.flat_map(|g| g.chunks_exact_mut(inner));
            for ((row, g), x) in rows.enumerate().zip(slice(x).chunks_exact(inner)) {
                let c = row % channels;
                let (mean, stored) = (measured.mean[c], self.variance[c]);
                let shift = (mean - self.mean[c]) / stored;
                let excess = measured.variance[c] / stored - 1.0;
                let spread = 2.0 * self.spread * excess / stored;
                for (g, x) in g.iter_mut().zip(x) {
                    *g += factor * (shift + spread * (x - mean));
                }
            }
        }
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::Exact,
            signs: Signs::Keeps,
            ..Traits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backward, forward, random};

    fn loss(op: &MatchStatistics, x: &ArrayD<f32>) -> f64 {
        let s = channel_statistics(x);
        let of = |c: usize| {
            let stored = f64::from(op.variance[c]);
            let shift = f64::from(s.mean[c] - op.mean[c]).powi(2) / stored;
            shift + f64::from(op.spread) * (f64::from(s.variance[c]) / stored - 1.0).powi(2)
        };
        let sum: f64 = (0..op.mean.len()).map(of).sum();
        f64::from(op.weight) * x.shape()[0] as f64 * sum / op.mean.len() as f64
    }

    #[test]
    fn the_gradient_is_that_of_the_statistics() {
        for shape in [&[4, 3][..], &[3, 3, 2, 5]] {
            let x = random(shape, 3);
            let op = MatchStatistics {
                mean: vec![0.2, -0.5, 0.0],
                variance: vec![0.3, 1.5, 0.1],
                spread: 0.6,
                weight: 0.7,
            };
            assert_eq!(forward(&op, &[&x]), x);
            let (_, saved) = op.forward(&[&x]).unwrap();
            let pass = Backward {
                inputs: &[Some(&x)],
                shapes: &[x.shape()],
                saved: &saved,
                wanted: &[true],
            };
            let found = op.backward(&pass, ArrayD::zeros(x.raw_dim()));
            let found = found[0].as_ref().unwrap();
            for i in 0..x.len() {
                let at = |d: f32| {
                    let mut x = x.clone();
                    x.as_slice_mut().unwrap()[i] += d;
                    loss(&op, &x)
                };
                let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
                let got = f64::from(found.as_slice().unwrap()[i]);
                assert!(
                    (got - expected).abs() < 2e-3 * expected.abs().max(1.0),
                    "{got} instead of {expected}"
                );
            }
            // What comes from behind goes through.
            let through = backward(&op, &[&x], ArrayD::ones(x.raw_dim()), &[true]);
            let through = through[0].as_ref().unwrap();
            let added = found + &ArrayD::<f32>::ones(x.raw_dim());
            assert!(
                through
                    .iter()
                    .zip(&added)
                    .all(|(a, b)| (a - b).abs() < 1e-5)
            );
        }
    }
}
