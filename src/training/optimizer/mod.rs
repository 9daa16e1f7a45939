//! Optimisers: one file each, and one line each in [`OPTIMIZERS`].

mod adam;
mod bop;
mod schedule;
mod sgd;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arrays::slice;
use crate::engine::Gradients;
use crate::network::{Network, ParamId};
use crate::ops::ParamKind;

pub use adam::Adam;
pub use schedule::Schedule;
pub use sgd::Sgd;

/// Every rule that turns gradients into steps, in the order in which the command line lists them.
pub const OPTIMIZERS: &[&dyn OptimizerRule] = &[&Adam, &Sgd, &bop::Bop];

/// A rule that turns gradients into steps.
pub trait OptimizerRule: Sync {
    /// Its name on the command line, in reports and in checkpoints.
    fn name(&self) -> &'static str;

    /// What it is, in one line for `--help`.
    fn about(&self) -> &'static str;

    /// How many numbers it keeps for each value of a parameter of that kind; they start at 0.
    fn kept(&self, kind: ParamKind) -> usize;

    /// Changes a parameter's `values`, row-major, by their gradients. `moments` are what it keeps, an array of as
    /// many numbers each. The same bits at any number of threads.
    fn step(&self, step: Step, values: &mut [f32], gradients: &[f32], moments: &mut [Vec<f32>]);
}

/// One step of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What the parameter is for.
    pub kind: ParamKind,
    /// The learning rate.
    pub rate: f32,
    /// How many steps the parameter has taken, this one included.
    pub count: i32,
}

impl Step {
    /// Values have to stay within plus and minus this.
    pub fn limit(self) -> f32 {
        match self.kind.is_clipped() {
            true => 1.0,
            false => f32::INFINITY,
        }
    }
}

/// The rule of that name, if there is one.
pub fn optimizer(name: &str) -> Option<&'static dyn OptimizerRule> {
    OPTIMIZERS.iter().copied().find(|rule| rule.name() == name)
}

impl fmt::Debug for dyn OptimizerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn OptimizerRule {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Serialize for dyn OptimizerRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn named<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<&'static dyn OptimizerRule, D::Error> {
    let name = String::deserialize(deserializer)?;
    optimizer(&name).ok_or_else(|| D::Error::custom(format!("no optimiser is called '{name}'")))
}

/// An optimiser with its state for each parameter; serialised, it goes on where it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Optimizer {
    #[serde(deserialize_with = "named")]
    rule: &'static dyn OptimizerRule,
    rate: f32,
    schedule: Schedule,
    /// Steps in which the rate rises from 0.
    warm_up: usize,
    step: usize,
    kept: BTreeMap<ParamId, Kept>,
}

/// What is kept of a parameter.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    moments: Vec<Vec<f32>>,
    /// Steps taken.
    count: i32,
}

impl Optimizer {
    /// An optimiser that starts at learning rate `rate`.
    pub fn new(rule: &'static dyn OptimizerRule, rate: f32, schedule: Schedule) -> Self {
        Self {
            rule,
            rate,
            schedule,
            warm_up: 0,
            step: 0,
            kept: BTreeMap::new(),
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
            let rule = self.rule;
            let kept = self.kept.entry(p).or_insert_with(|| Kept {
                moments: vec![vec![0.0; grad.len()]; rule.kept(kind)],
                count: 0,
            });
            kept.count = kept.count.saturating_add(1);
            let step = Step {
                kind,
                rate,
                count: kept.count,
            };
            let mut values = network.values_mut(p);
            let values = values.as_slice_mut().expect("values are row-major");
            rule.step(step, values, slice(grad), &mut kept.moments);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where f(x) = Σ (x - 3)², gradient 2 (x - 3), is led to.
    fn minimise(rule: &dyn OptimizerRule, kind: ParamKind, rate: f32) -> f32 {
        let mut x = [0.0, -5.0];
        let mut moments = vec![vec![0.0; 2]; rule.kept(kind)];
        for count in 1..=400 {
            let gradient = x.map(|x: f32| 2.0 * (x - 3.0));
            let step = Step { kind, rate, count };
            rule.step(step, &mut x, &gradient, &mut moments);
        }
        x.iter().fold(0f32, |m, x| m.max((x - 3.0).abs()))
    }

    #[test]
    fn rules_find_a_minimum() {
        assert!(minimise(&Adam, ParamKind::Weight, 0.1) < 1e-2);
        assert!(minimise(&Sgd, ParamKind::Weight, 0.01) < 1e-2);
    }

    #[test]
    fn an_optimiser_is_saved_by_its_name() {
        for rule in OPTIMIZERS {
            let optimizer = Optimizer::new(*rule, 0.5, Schedule::Constant);
            let saved = postcard::to_allocvec(&optimizer).unwrap();
            let again: Optimizer = postcard::from_bytes(&saved).unwrap();
            assert_eq!(again.rule.name(), rule.name());
        }
    }

    #[test]
    fn the_rate_rises_in_the_warm_up_and_follows_the_schedule_then() {
        let mut optimizer = Optimizer::new(&Adam, 0.5, Schedule::Constant).with_warm_up(4);
        let rates: Vec<f32> = (0..6)
            .map(|step| {
                optimizer.step = step;
                optimizer.learning_rate()
            })
            .collect();
        assert_eq!(rates, [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]);
    }
}
