//! Running a plan over a batch as one part: forward, and back.

use std::sync::Arc;

use bnn_kernels::elementwise::ChannelStatistics;
use ndarray::ArrayD;

use super::batch::Batch;
use super::boundary::Boundary;
use super::error::RunError;
use super::gradients::Gradients;
use super::lockstep::{Part, Run, Statistics};
use super::plan::Plan;
use super::value::Value;
use super::weights::Weights;
use crate::network::{Network, StepId, ValueId};

/// What a forward pass leaves behind.
#[derive(Debug)]
pub struct Trace {
    part: Part,
    /// The weights that it ran with.
    weights: Arc<Weights>,
    batch: Batch<'static>,
    statistics: Statistics,
    /// The steps whose statistics these are.
    normalizations: Vec<StepId>,
    /// Behind the last step that ran.
    end: StepId,
    boundary: Vec<ValueId>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.part
            .values
            .drain(..)
            .flatten()
            .for_each(Value::recycle);
    }
}

impl Trace {
    /// A value, if it was kept: the last step's output and everything that later steps read are.
    pub fn value(&self, v: ValueId) -> Option<&ArrayD<f32>> {
        Some(self.part.values.get(v.0)?.as_ref()?.float())
    }

    /// The statistics that BatchNormalizations measured on this batch.
    pub fn batch_statistics(&self) -> impl Iterator<Item = (StepId, &ChannelStatistics)> {
        self.normalizations
            .iter()
            .copied()
            .zip(self.statistics.values())
    }

    /// Where the run ended, for another one to start from.
    pub fn boundary(&self) -> Boundary {
        let held = |v: &ValueId| Some((*v, self.part.values.get(v.0)?.clone()?.settled()));
        Boundary {
            step: self.end,
            values: self.boundary.iter().filter_map(held).collect(),
        }
    }
}

impl Plan {
    /// Runs the tasks. `from` is at the plan's first step; `weights` are of the network as it is.
    ///
    /// # Errors
    /// If shapes do not fit, the boundary lacks a value, or the network has got other steps since the
    /// plan was made.
    pub fn forward(
        &self,
        network: &Network,
        weights: &Arc<Weights>,
        from: &Boundary,
    ) -> Result<Trace, RunError> {
        let batch = Batch::whole(from);
        let run = Run {
            plan: self,
            network,
            weights,
            batch: &batch,
        };
        let mut parts = run.parts(from)?;
        let statistics = run.forward(&mut parts)?;
        let mut part = parts.pop().unwrap_or_default();
        run.forward_last(&mut part, &statistics)?;
        let normalizations = statistics.keys().filter_map(|&s| run.step(s)).collect();
        Ok(Trace {
            part,
            weights: Arc::clone(weights),
            statistics,
            normalizations,
            end: self.range.end,
            boundary: self.boundary.clone(),
            batch,
        })
    }

    /// The gradients with respect to the wanted parameters, from that of the loss with respect to the
    /// logits. Computes nothing that does not lead there.
    ///
    /// The parameters must be those of the forward pass.
    ///
    /// # Errors
    /// None on a trace of this plan.
    ///
    /// # Panics
    /// If `grad` has another shape than the logits.
    pub fn backward(
        &self,
        network: &Network,
        mut trace: Trace,
        grad: ArrayD<f32>,
    ) -> Result<Gradients, RunError> {
        let mut part = std::mem::take(&mut trace.part);
        let run = Run {
            plan: self,
            network,
            weights: &trace.weights,
            batch: &trace.batch,
        };
        let sums = run.back_last(&mut part, &trace.statistics, grad);
        let parts = std::slice::from_mut(&mut part);
        let found = run.backward(parts, &trace.statistics, vec![sums]);
        trace.part = part;
        found
    }
}
