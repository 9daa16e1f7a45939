//! Bop: binary weights turn, and have no latents that say how sure they are.

use bnn_kernels::parallel::CHUNK;
use rayon::prelude::*;

use super::{Adam, OptimizerRule, Step};
use crate::ops::ParamKind;

/// Decay of the mean of squared gradients.
const SQUARES: f32 = 0.01;
/// How large the mean of gradients has to be, in units of their root mean square. Of gradients that are noise, the
/// running mean at a rate of 0.001 has a standard deviation of √(0.001 / 2); this is three of them.
const THRESHOLD: f32 = 0.067;
/// Added to the root mean square.
const EPSILON: f32 = 1e-12;

/// The optimiser of Helwegen et al., *Latent weights do not exist* (2019), with the gradients' mean measured in
/// their root mean square, as in Suarez-Ramirez et al., *A Bop and beyond* (2021): a binary weight turns when the
/// running mean of its gradients is against it and above a threshold. The learning rate is how fast the mean
/// forgets. A latent of 0, a weight that a ternary file leaves out, stays. What is not binary is left to Adam.
#[derive(Debug)]
pub struct Bop;

impl OptimizerRule for Bop {
    fn name(&self) -> &'static str {
        "bop"
    }

    fn about(&self) -> &'static str {
        "Bop for binary weights, which turn on evidence and have no latents; Adam for the rest"
    }

    fn kept(&self, kind: ParamKind) -> usize {
        match kind {
            ParamKind::Latent => 2,
            other => Adam.kept(other),
        }
    }

    fn step(&self, step: Step, values: &mut [f32], gradients: &[f32], moments: &mut [Vec<f32>]) {
        if step.kind != ParamKind::Latent {
            return Adam.step(step, values, gradients, moments);
        }
        let [mean, squares] = moments else { return };
        let (rate, limit) = (step.rate.min(1.0), step.limit());
        let seen = (1.0 - f64::from(1.0 - SQUARES).powi(step.count)) as f32;
        let parts = values
            .par_chunks_mut(CHUNK)
            .zip(gradients.par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK))
            .zip(squares.par_chunks_mut(CHUNK));
        parts.for_each(|(((x, g), m), v)| {
            for ((x, g), (m, v)) in x.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                *m += rate * (g - *m);
                *v += SQUARES * (g * g - *v);
                let evidence = *m / ((*v / seen).sqrt() + EPSILON);
                let turns = *x != 0.0 && evidence * x.signum() > THRESHOLD;
                *x = (if turns { -*x } else { *x }).clamp(-limit, limit);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_turns_when_its_gradients_are_against_it_long_enough() {
        let (mut x, mut moments) = ([0.3, -0.3, 0.3, 0.0], vec![vec![0.0; 4]; 2]);
        let mut turned = None;
        for count in 1..=200 {
            let step = Step {
                kind: ParamKind::Latent,
                rate: 1e-3,
                count,
            };
            // Against the first, for the second, now this way and now that for the third.
            let noise = if count % 2 == 0 { 5.0 } else { -5.0 };
            Bop.step(step, &mut x, &[0.01, 0.01, noise, 0.01], &mut moments);
            if x[0] < 0.0 {
                turned.get_or_insert(count);
            }
        }
        // 1 - 0.999^n reaches 0.067 at the 70th step.
        assert_eq!(turned, Some(70));
        assert_eq!(x, [-0.3, -0.3, 0.3, 0.0]);
        assert!(x[3].is_sign_positive());
    }
}
