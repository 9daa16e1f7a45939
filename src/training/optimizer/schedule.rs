//! How the learning rate changes over the steps.

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

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
