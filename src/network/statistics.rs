//! A network whose input can be made to give the statistics that it stores.

use std::sync::Arc;

use super::graph::{Input, Network, StepId};
use crate::arrays::slice;
use crate::ops::MatchStatistics;

/// Channels that hardly vary are held to this share of their layer's mean variance.
const LEAST_VARIANCE: f32 = 1e-2;

impl Network {
    /// Puts a [`MatchStatistics`] of that weight in front of every BatchNormalization, with its
    /// running mean and variance. Step positions change.
    pub fn match_statistics(&mut self, weight: f32) {
        let norms = self.batch_norms(StepId(0));
        let share = weight / norms.len().max(1) as f32;
        // From the back, so that the positions in front stay.
        for at in norms.into_iter().rev() {
            let step = self.step(at);
            let [
                Input::Value(source),
                _,
                _,
                Input::Param(mean),
                Input::Param(variance),
            ] = step.inputs[..]
            else {
                continue;
            };
            let origin = (step.node, step.name.clone());
            let mean = slice(&self.param(mean).value).to_vec();
            let variance = slice(&self.param(variance).value);
            let least =
                LEAST_VARIANCE * variance.iter().sum::<f32>() / variance.len().max(1) as f32;
            let least = least.max(f32::MIN_POSITIVE);
            let op = MatchStatistics {
                mean,
                variance: variance.iter().map(|v| v.max(least)).collect(),
                weight: share,
            };
            let output = self.insert_step(at, (Arc::new(op), Vec::new()), source, origin);
            self.steps[at.0 + 1].inputs[0] = Input::Value(output);
        }
    }
}
