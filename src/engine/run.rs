//! Running a plan: forward, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bnn_kernels::elementwise::ChannelStatistics;
use ndarray::ArrayD;

use super::boundary::Boundary;
use super::error::RunError;
use super::gradients::Gradients;
use super::plan::Plan;
use super::tasks::{Backward, Forward, Record};
use super::value::Value;
use super::weights::Weights;
use crate::arrays::recycle_array;
use crate::network::{BinaryId, Network, ParamId, StepId, ValueId};
use crate::ops::Saved;

/// What a forward pass leaves behind.
#[derive(Debug)]
pub struct Trace {
    pub(super) values: Vec<Option<Value>>,
    /// The weights that it ran with.
    weights: Arc<Weights>,
    /// Of each task.
    records: Vec<Record>,
    /// Behind the last step that ran.
    end: StepId,
    boundary: Vec<ValueId>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.values.drain(..).flatten().for_each(Value::recycle);
    }
}

impl Trace {
    /// A value, if it was kept: the last step's output and everything that later steps read are.
    pub fn value(&self, v: ValueId) -> Option<&ArrayD<f32>> {
        Some(self.values.get(v.0)?.as_ref()?.float())
    }

    /// The statistics that BatchNormalizations measured on this batch.
    pub fn batch_statistics(&self) -> impl Iterator<Item = (StepId, &ChannelStatistics)> {
        self.records.iter().filter_map(|r| match &r.saved {
            Some((step, Saved::Statistics(s))) => Some((*step, s)),
            _ => None,
        })
    }

    /// Where the run ended, for another one to start from.
    pub fn boundary(&self) -> Boundary {
        let held = |v: &ValueId| Some((*v, self.values.get(v.0)?.clone()?.settled()));
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
        if self.revision != network.revision() || from.step != self.range.start {
            return Err(RunError::OtherNetwork);
        }
        let mut pass = Forward {
            network,
            weights,
            values: vec![None; network.value_count()],
        };
        for (v, x) in &from.values {
            pass.set(*v, x.clone());
        }
        let mut records = Vec::with_capacity(self.tasks.len());
        for planned in &self.tasks {
            records.push(planned.task.forward(&mut pass)?);
            planned.free.iter().for_each(|&v| pass.free(v));
        }
        Ok(Trace {
            values: pass.values,
            weights: Arc::clone(weights),
            records,
            end: self.range.end,
            boundary: self.boundary.clone(),
        })
    }

    /// The gradients with respect to the wanted parameters, from that of the loss with respect to the
    /// logits. Computes nothing that does not lead there.
    ///
    /// The parameters must be those of the forward pass.
    ///
    /// # Panics
    /// If `grad` has another shape than the logits.
    pub fn backward(&self, network: &Network, trace: &Trace, grad: ArrayD<f32>) -> Gradients {
        let mut pass = Backward {
            network,
            weights: &trace.weights,
            precision: self.mode.gradients,
            values: &trace.values,
            flowing: vec![None; network.value_count()],
            gradients: Gradients::default(),
            binary: BTreeMap::new(),
        };
        let grad = grad.as_standard_layout().into_owned();
        pass.add_to_value(network.logits(), grad);
        for (planned, record) in self.tasks.iter().zip(&trace.records).rev() {
            let grad = pass
                .flowing
                .get_mut(planned.output.0)
                .and_then(Option::take);
            match grad {
                Some(grad) if planned.moves => planned.task.backward(&mut pass, record, grad),
                Some(grad) => recycle_array(grad),
                None => {}
            }
        }
        if self.mode.input {
            let input = pass.flowing.get_mut(network.input().0);
            pass.gradients.set_input(input.and_then(Option::take));
        }
        for (b, grad) in std::mem::take(&mut pass.binary) {
            self.add_binary(network, b, &grad, &mut pass.gradients);
        }
        pass.gradients
    }

    /// From the gradient of an effective weight to those of its latents and its scale.
    fn add_binary(
        &self,
        network: &Network,
        b: BinaryId,
        grad: &ArrayD<f32>,
        gradients: &mut Gradients,
    ) {
        let params: Vec<ParamId> = network.binary_params(b).collect();
        let wanted = |k: usize| params.get(k).is_some_and(|p| self.mode.wanted.contains(*p));
        let (latent, scale) = network.binary_backward(b, grad, wanted(0), wanted(1));
        for (p, grad) in params.into_iter().zip([latent, scale]) {
            if let Some(grad) = grad {
                gradients.add(p, grad);
            }
        }
    }
}
