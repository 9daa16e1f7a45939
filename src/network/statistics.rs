//! A network whose input can be made to give the statistics that it stores.

use std::sync::Arc;

use super::graph::{Input, Network, StepId};
use super::hidden_norm::EPSILON;
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::ops::MatchStatistics;

/// Channels that hardly vary are held to this share of their layer's mean variance.
const LEAST_VARIANCE: f32 = 1e-2;

impl Network {
    /// The nodes of all BatchNormalizations.
    pub fn normalization_nodes(&self) -> Vec<NodeId> {
        let norms = self.batch_norms(StepId(0)).into_iter();
        norms.map(|at| self.step(at).node).collect()
    }

    /// Puts a [`MatchStatistics`] of that weight in front of every BatchNormalization. Those whose
    /// nodes are `stored` have been trained, and hold the mean and variance to match. The others were put
    /// back for thresholds ([`Network::restore_norm`]): a trained threshold is not far from the mean, so
    /// that is what the mean is to be, and nothing is known of the variance. Step positions change.
    pub fn match_statistics(&mut self, weight: f32, stored: &[NodeId]) {
        let norms = self.batch_norms(StepId(0));
        let share = weight / norms.len().max(1) as f32;
        // From the back, so that the positions in front stay.
        for at in norms.into_iter().rev() {
            let step = self.step(at);
            let [
                Input::Value(source),
                Input::Param(gamma),
                Input::Param(beta),
                Input::Param(mean),
                Input::Param(variance),
            ] = step.inputs[..]
            else {
                continue;
            };
            let (node, name) = (step.node, step.name.clone());
            let trained = stored.contains(&step.node);
            let [gamma, beta, mean, variance] =
                [gamma, beta, mean, variance].map(|p| slice(&self.param(p).value));
            // Those of thresholds have a factor of ±1; the others stand where nothing is compared.
            if !trained && gamma.iter().any(|g| g.abs() != 1.0) {
                continue;
            }
            let crossing = |c: usize| match trained {
                true => mean[c],
                false => mean[c] - beta[c] * gamma[c] * (variance[c] + EPSILON).sqrt(),
            };
            let least =
                LEAST_VARIANCE * variance.iter().sum::<f32>() / variance.len().max(1) as f32;
            let least = least.max(f32::MIN_POSITIVE);
            let op = MatchStatistics {
                mean: (0..mean.len()).map(crossing).collect(),
                variance: variance.iter().map(|v| v.max(least)).collect(),
                spread: if trained { 1.0 } else { 0.0 },
                weight: share,
            };
            let output = self.insert_step(at, Arc::new(op), Vec::new(), source, node, name);
            self.steps[at.0 + 1].inputs[0] = Input::Value(output);
        }
    }
}
