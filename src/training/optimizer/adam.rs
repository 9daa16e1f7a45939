//! Adam.

use bnn_kernels::parallel::CHUNK;
use bnn_kernels::simd::wide;
use rayon::prelude::*;

use super::{OptimizerRule, Step};
use crate::ops::ParamKind;

/// Decay of the mean of gradients.
const BETA_1: f32 = 0.9;
/// Decay of the mean of squared gradients.
const BETA_2: f32 = 0.999;
/// Added to the root of the latter.
const EPSILON: f32 = 1e-8;

/// Adam (Kingma and Ba, 2015) with its usual constants and bias correction.
#[derive(Debug)]
pub struct Adam;

impl OptimizerRule for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn about(&self) -> &'static str {
        "Adam"
    }

    fn kept(&self, _: ParamKind) -> usize {
        2
    }

    fn step(&self, step: Step, values: &mut [f32], gradients: &[f32], moments: &mut [Vec<f32>]) {
        let [first, second] = moments else { return };
        let (limit, Step { rate, count, .. }) = (step.limit(), step);
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(count);
        let step = (f64::from(rate) / correction(BETA_1)) as f32;
        let root = correction(BETA_2).sqrt() as f32;
        let parts = values
            .par_chunks_mut(CHUNK)
            .zip(gradients.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK));
        parts.for_each(|(((x, g), m), v)| {
            let each = x.iter_mut().zip(g).zip(m.iter_mut().zip(v));
            wide(move || {
                for ((x, g), (m, v)) in each {
                    *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                    *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
                    let to = *x - step * *m / (v.sqrt() / root + EPSILON);
                    *x = to.clamp(-limit, limit);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_size_of_the_rate() {
        let (mut x, mut moments) = ([0.0, 0.0], vec![vec![0.0; 2]; 2]);
        let step = Step {
            kind: ParamKind::Latent,
            rate: 0.01,
            count: 1,
        };
        Adam.step(step, &mut x, &[1e-3, -50.0], &mut moments);
        assert!((x[0] + 0.01).abs() < 1e-5 && (x[1] - 0.01).abs() < 1e-5);
    }
}
