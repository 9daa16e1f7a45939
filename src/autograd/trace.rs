//! What runs start from, are told, and leave behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bnn_kernels::elementwise::ChannelStatistics;
use ndarray::ArrayD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::arrays::update;
use super::network::{StepId, ValueId};
use super::ops::Saved;
use super::param::ParamId;
use super::prepared::Prepared;
use super::value::Value;

/// Why a run failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// An operator was given shapes that do not fit.
    #[error("node '{node}' ({op}): {reason}")]
    Step {
        /// The node's name.
        node: String,
        /// The operator.
        op: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The input has another shape than the model's.
    #[error("an input of shape {given:?} for a model that takes [N, {}]", shape_text(.expected))]
    InputShape {
        /// As given, with the batch.
        given: Vec<usize>,
        /// One sample of the model's input.
        expected: Vec<usize>,
    },
    /// A step reads a value that the run was not given.
    #[error("node '{node}': reads a value that is not among those the run started from")]
    Missing {
        /// The node's name.
        node: String,
    },
}

fn shape_text(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    dims.join(", ")
}

/// How a forward pass runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode<'a> {
    /// BatchNormalizations at and behind this step normalise by the batch's statistics, the others
    /// by their running ones. `None`: all by their running ones.
    pub batch_statistics_from: Option<StepId>,
    /// Keep what the backward pass to these parameters needs.
    pub wanted: Option<&'a Wanted>,
    /// How binary layers compute gradients.
    pub gradients: Precision,
    /// Binary weights that were prepared earlier, and have not changed; `None`: they are prepared for
    /// this pass.
    pub prepared: Option<&'a Arc<Prepared>>,
}

/// With which numbers binary layers compute gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In single precision: the reference.
    #[default]
    F32,
    /// The gradient of a layer's output is rounded to 8 bits, by chance up or down so that it is
    /// right on average, and what follows from it is computed on integers. Layers with groups, or few
    /// channels or filters, stay in single precision.
    Int8,
}

/// A set of parameters whose gradients are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) params: Vec<bool>,
}

impl Wanted {
    /// Whether a parameter's gradient is wanted.
    pub fn contains(&self, p: ParamId) -> bool {
        self.params.get(p.0).copied().unwrap_or(false)
    }
}

/// What a forward pass leaves behind.
#[derive(Debug)]
pub struct Trace {
    /// The first step that ran.
    pub(super) start: StepId,
    pub(super) values: Vec<Option<Value>>,
    /// The binary weights that it ran with.
    pub(super) prepared: Arc<Prepared>,
    pub(super) steps: Vec<Record>,
    /// Steps that ran as one: the last of each such run, and the first.
    pub(super) fused: BTreeMap<usize, usize>,
    /// The wanted parameters.
    pub(super) params: Vec<bool>,
    pub(super) gradients: Precision,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.values.drain(..).flatten().for_each(Value::recycle);
    }
}

/// What one step leaves behind.
#[derive(Debug)]
pub(super) struct Record {
    pub saved: Saved,
    /// Shapes of the inputs, if a gradient has to go to one of them.
    pub shapes: Vec<Vec<usize>>,
    /// For each input whether a gradient has to go there.
    pub wanted: Vec<bool>,
}

impl Trace {
    /// A value, if it was kept: the last step's output and everything that later steps read are.
    pub fn value(&self, v: ValueId) -> Option<&ArrayD<f32>> {
        Some(self.held(v)?.float())
    }

    /// A value that was kept, in its own form.
    pub(super) fn held(&self, v: ValueId) -> Option<&Value> {
        self.values.get(v.0)?.as_ref()
    }

    /// What a step has left, if it ran.
    pub(super) fn record(&self, at: StepId) -> Option<&Record> {
        self.steps.get(at.0.checked_sub(self.start.0)?)
    }

    /// The statistics that BatchNormalizations measured on this batch.
    pub fn batch_statistics(&self) -> impl Iterator<Item = (StepId, &ChannelStatistics)> {
        let records = self.steps.iter().enumerate();
        records.filter_map(|(i, r)| match &r.saved {
            Saved::Statistics(s) => Some((StepId(self.start.0 + i), s)),
            _ => None,
        })
    }

    /// The position behind the last step that ran.
    pub fn end(&self) -> StepId {
        StepId(self.start.0 + self.steps.len())
    }
}

/// Gradients with respect to parameters.
#[derive(Debug, Default)]
pub struct Gradients {
    pub(super) by_param: BTreeMap<ParamId, ArrayD<f32>>,
}

impl Gradients {
    /// The gradient of a parameter; `None` if it was not wanted or nothing leads to it.
    pub fn get(&self, p: ParamId) -> Option<&ArrayD<f32>> {
        self.by_param.get(&p)
    }

    /// All gradients, by ascending parameter.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &ArrayD<f32>)> {
        self.by_param.iter().map(|(p, g)| (*p, g))
    }

    /// Adds to the gradient of a parameter; both have its shape.
    pub fn add(&mut self, p: ParamId, grad: ArrayD<f32>) {
        match self.by_param.get_mut(&p) {
            Some(sum) => update(sum, &grad, |a, b| a + b),
            None => {
                self.by_param.insert(p, grad);
            }
        }
    }
}
