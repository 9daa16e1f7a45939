//! Stochastic gradient descent with momentum.

use bnn_kernels::parallel::CHUNK;
use bnn_kernels::simd::wide;
use rayon::prelude::*;

use super::{OptimizerRule, Step};
use crate::ops::ParamKind;

/// Share of the previous step that is kept.
const MOMENTUM: f32 = 0.9;

/// Stochastic gradient descent with momentum 0.9.
#[derive(Debug)]
pub struct Sgd;

impl OptimizerRule for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn about(&self) -> &'static str {
        "Stochastic gradient descent with momentum 0.9"
    }

    fn kept(&self, _: ParamKind) -> usize {
        1
    }

    fn step(&self, step: Step, values: &mut [f32], gradients: &[f32], moments: &mut [Vec<f32>]) {
        let [velocity] = moments else { return };
        let (rate, limit) = (step.rate, step.limit());
        let parts = values
            .par_chunks_mut(CHUNK)
            .zip(gradients.par_chunks(CHUNK))
            .zip(velocity.par_chunks_mut(CHUNK));
        parts.for_each(|((x, g), v)| {
            let each = x.iter_mut().zip(g).zip(v);
            wide(move || {
                for ((x, g), v) in each {
                    *v = MOMENTUM * *v + g;
                    *x = (*x - rate * *v).clamp(-limit, limit);
                }
            });
        });
    }
}
