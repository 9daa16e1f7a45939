//! Optimisers and learning-rate schedules.

use std::collections::BTreeMap;

use bnn_kernels::parallel::CHUNK;
use bnn_kernels::simd::wide;
use ndarray::ArrayD;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::arrays::slice;
use crate::engine::Gradients;
use crate::network::{Network, ParamId};

/// How the learning rate changes over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Exponentially, to `factor` of the first rate after `steps` steps.
    Exponential {
        /// Last rate divided by first rate.
        factor: f32,
        /// Steps until then.
        steps: usize,
    },
    /// Half a cosine down to 0 after `steps` steps.
    Cosine {
        /// Steps until then.
        steps: usize,
    },
}

impl Schedule {
    /// What the first rate is multiplied with at `step` (from 0).
    pub fn at(self, step: usize) -> f32 {
        let share = |steps: usize| (step as f64 / steps.max(1) as f64).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Exponential { factor, steps } => f64::from(factor).powf(share(steps)) as f32,
            Self::Cosine { steps } => {
                (0.5 * (1.0 + (std::f64::consts::PI * share(steps)).cos())) as f32
            }
        }
    }
}

/// The rule that turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Update {
    /// Adam (Kingma and Ba), with bias correction.
    Adam {
        /// Decay of the mean of gradients.
        beta1: f32,
        /// Decay of the mean of squared gradients.
        beta2: f32,
        /// Added to the root of the latter.
        epsilon: f32,
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Share of the previous step that is kept.
        momentum: f32,
    },
}

impl Update {
    /// Adam with its usual constants.
    pub const ADAM: Self = Self::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
}

/// An optimiser with its state for each parameter; serialised, it goes on where it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Optimizer {
    rule: Update,
    rate: f32,
    schedule: Schedule,
    /// Steps in which the rate rises from 0.
    warm_up: usize,
    step: usize,
    moments: BTreeMap<ParamId, Moments>,
}

/// Running means of a parameter's gradients and of their squares (Adam), or its velocity (SGD).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
    /// Steps taken.
    count: i32,
}

impl Optimizer {
    /// An optimiser that starts at learning rate `rate`.
    pub fn new(rule: Update, rate: f32, schedule: Schedule) -> Self {
        Self {
            rule,
            rate,
            schedule,
            warm_up: 0,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// The same with a learning rate that rises evenly from 0 in the first `steps` steps.
    pub fn with_warm_up(self, steps: usize) -> Self {
        Self {
            warm_up: steps,
            ..self
        }
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f32 {
        let risen = match self.step < self.warm_up {
            true => (self.step as f64 + 1.0) / self.warm_up as f64,
            false => 1.0,
        };
        self.rate * self.schedule.at(self.step) * risen as f32
    }

    /// Changes every parameter that has a gradient; latents and masks are clipped to [-1, 1]
    /// (latents that the file holds beyond that come back into it with the first step).
    pub fn step(&mut self, network: &mut Network, gradients: &Gradients) {
        let rate = self.learning_rate();
        self.step += 1;
        for (p, grad) in gradients.iter() {
            let kind = network.param(p).kind;
            let moments = self.moments.entry(p).or_insert_with(|| Moments {
                first: vec![0.0; grad.len()],
                second: match self.rule {
                    Update::Adam { .. } => vec![0.0; grad.len()],
                    Update::Sgd { .. } => Vec::new(),
                },
                count: 0,
            });
            let limit = match kind.is_clipped() {
                true => 1.0,
                false => f32::INFINITY,
            };
            let mut values = network.values_mut(p);
            let values = values.as_slice_mut().expect("values are row-major");
            moments.apply((self.rule, rate, limit), values, grad);
        }
    }
}

impl Moments {
    /// One step; values stay within ±`limit`.
    fn apply(
        &mut self,
        (rule, rate, limit): (Update, f32, f32),
        values: &mut [f32],
        grad: &ArrayD<f32>,
    ) {
        self.count = self.count.saturating_add(1);
        let parts = values
            .par_chunks_mut(CHUNK)
            .zip(slice(grad).par_chunks(CHUNK))
            .zip(self.first.par_chunks_mut(CHUNK));
        match rule {
            Update::Sgd { momentum } => parts.for_each(|((x, g), v)| {
                let each = x.iter_mut().zip(g).zip(v);
                wide(move || {
                    for ((x, g), v) in each {
                        *v = momentum * *v + g;
                        *x = (*x - rate * *v).clamp(-limit, limit);
                    }
                });
            }),
            Update::Adam {
                beta1,
                beta2,
                epsilon,
            } => {
                let correction = |beta: f32| 1.0 - f64::from(beta).powi(self.count);
                let step = (f64::from(rate) / correction(beta1)) as f32;
                let root = correction(beta2).sqrt() as f32;
                let parts = parts.zip(self.second.par_chunks_mut(CHUNK));
                parts.for_each(|(((x, g), m), v)| {
                    let each = x.iter_mut().zip(g).zip(m.iter_mut().zip(v));
                    wide(move || {
                        for ((x, g), (m, v)) in each {
                            *m = beta1 * *m + (1.0 - beta1) * g;
                            *v = beta2 * *v + (1.0 - beta2) * g * g;
                            let to = *x - step * *m / (v.sqrt() / root + epsilon);
                            *x = to.clamp(-limit, limit);
                        }
                    });
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::vector;

    fn minimise(rule: Update, rate: f32) -> f32 {
        // f(x) = Σ (x - 3)², gradient 2 (x - 3).
        let mut x = vector(&[0.0, -5.0]);
        let mut moments = Moments {
            first: vec![0.0; 2],
            second: vec![0.0; 2],
            count: 0,
        };
        for _ in 0..400 {
            let grad = x.mapv(|x| 2.0 * (x - 3.0));
            moments.apply(
                (rule, rate, f32::INFINITY),
                x.as_slice_mut().unwrap(),
                &grad,
            );
        }
        x.iter().fold(0f32, |m, x| m.max((x - 3.0).abs()))
    }

    #[test]
    fn rules_find_a_minimum() {
        assert!(minimise(Update::ADAM, 0.1) < 1e-2);
        assert!(minimise(Update::Sgd { momentum: 0.9 }, 0.01) < 1e-2);
    }

    #[test]
    fn the_first_adam_step_has_the_size_of_the_rate() {
        let mut x = vector(&[0.0, 0.0]);
        let mut moments = Moments {
            first: vec![0.0; 2],
            second: vec![0.0; 2],
            count: 0,
        };
        let how = (Update::ADAM, 0.01, f32::INFINITY);
        moments.apply(how, x.as_slice_mut().unwrap(), &vector(&[1e-3, -50.0]));
        assert!((x[0] + 0.01).abs() < 1e-5 && (x[1] - 0.01).abs() < 1e-5);
    }

    #[test]
    fn the_rate_rises_in_the_warm_up_and_follows_the_schedule_then() {
        let mut optimizer = Optimizer::new(Update::ADAM, 0.5, Schedule::Constant).with_warm_up(4);
        let rates: Vec<f32> = (0..6)
            .map(|step| {
                optimizer.step = step;
                optimizer.learning_rate()
            })
            .collect();
        assert_eq!(rates, [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn schedules_start_at_one_and_end_where_they_should() {
        let exponential = Schedule::Exponential {
            factor: 1e-3,
            steps: 100,
        };
        let cosine = Schedule::Cosine { steps: 100 };
        for s in [exponential, cosine, Schedule::Constant] {
            assert_eq!(s.at(0), 1.0);
        }
        assert!((exponential.at(50) - 1e-3f32.sqrt()).abs() < 1e-6);
        assert!((exponential.at(200) - 1e-3).abs() < 1e-9);
        assert!((cosine.at(50) - 0.5).abs() < 1e-6);
        assert!(cosine.at(100).abs() < 1e-6);
    }
}
