//! BatchNormalizations that a file's form hides, put back for training.
//!
//! A trained layer with BatchNormalization can be written in many ways: folded into weights and bias,
//! as a threshold in front of the binariser (`Conv(±1) → Sub(t) → Sign`, or a comparison with t), as
//! a scale and a shift, or with nothing left of it. Sums of ±1 have the size of √fan-in, so a
//! straight-through estimator passes next to nothing in such a form, and a threshold that is not
//! measured again behind a mask ruins the layer. Here is found where a BatchNormalization can stand,
//! and it is put there without changing what the network computes; [`restored`](super::restored)
//! writes what was learned in the form of the file.

mod find;
mod probe;

use std::sync::Arc;

use ndarray::{Array1, ArrayD};

use super::binary_weight::ScaleMode;
use super::edit::EditError;
use super::form::{Ending, Form};
use super::graph::{Input, Network, Step, StepId, ValueId};
use super::param::ParamId;
use super::restored::RestoredNorm;
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::ops::{BatchNorm, ParamKind};
use find::Finder;

/// `epsilon` of a BatchNormalization that is put back.
pub(super) const EPSILON: f32 = 1e-5;
/// Mean and variance of each channel of a tensor.
pub type Moments = (ArrayD<f32>, ArrayD<f32>);

/// A binary layer without BatchNormalization, and where one can stand.
#[derive(Debug, Clone)]
pub struct HiddenNorm {
    form: Form,
    /// What it will read.
    reads: ValueId,
    /// What it will write.
    writes: ValueId,
    /// Whether a filter may be turned around.
    flips: bool,
}

impl HiddenNorm {
    /// The layer's node.
    pub fn layer(&self) -> NodeId {
        self.form.layer
    }

    /// The value whose moments the BatchNormalization starts with, as it is before that is put back.
    pub fn measured(&self) -> ValueId {
        self.reads
    }
}

impl Network {
    /// The binary layers that have no BatchNormalization but could: those that end in a binariser, and
    /// those with constant weights and a shift for each channel.
    pub fn hidden_norms(&self) -> Vec<HiddenNorm> {
        let readers = self.readers();
        let steps = (0..self.steps.len()).map(StepId);
        steps
            .filter_map(|at| Finder::new(self, &readers, at)?.find())
            .collect()
    }

    /// The step that writes a value; `None` for the network's input.
    pub fn writer(&self, value: ValueId) -> Option<StepId> {
        self.steps
            .iter()
            .position(|s| s.output == value)
            .map(StepId)
    }

    /// Puts a BatchNormalization back where it is hidden (one of [`Network::hidden_norms`]), with the
    /// moments of [`HiddenNorm::measured`]: constant weights become ±1, shifts and scales become its
    /// parameters. The network computes what it computed before, in front of a binariser up to a
    /// positive factor. [`write_back`](super::write_back) gives the file's form again. Step positions
    /// change.
    ///
    /// # Errors
    /// If the network is not as it was when the place was found. Nothing is changed then.
    pub fn restore_norm(
        &mut self,
        hidden: HiddenNorm,
        measured: Option<Moments>,
    ) -> Result<(), EditError> {
        let missing = EditError::NoStep(hidden.form.layer.0);
        let at = self.step_of(hidden.form.layer).ok_or(missing.clone())?;
        let written = self.writer(hidden.writes).ok_or(missing)?;
        let start = hidden.start(measured);
        let (node, name) = (self.step(written).node, self.step(written).name.clone());
        let label = self.step(at).name.clone();
        let mut add = |kind, what: &str, v: Vec<f32>| {
            self.add_param(&format!("{label}.{what}"), kind, Array1::from(v).into_dyn())
        };
        let gamma_kind = match hidden.flips {
            true => ParamKind::Gamma,
            false => ParamKind::Constant,
        };
        let gamma = add(gamma_kind, "gamma", start.gamma);
        let beta = add(ParamKind::Beta, "beta", start.beta);
        let mean = add(ParamKind::RunningMean, "running_mean", start.mean);
        let variance = add(ParamKind::RunningVariance, "running_var", start.variance);
        if hidden.form.weights.absorbed() {
            self.steps[at.0].inputs.truncate(2);
            let alive = hidden.form.weights.alive();
            // A filter of zeros stays one.
            self.binary[hidden.form.binary.0].scale = match alive.contains(&0.0) {
                true => {
                    let alive = Array1::from(alive).into_dyn();
                    let name = format!("{label}.alive");
                    ScaleMode::Param(self.add_param(&name, ParamKind::Constant, alive))
                }
                false => ScaleMode::One,
            };
        }
        let params = [gamma, beta, mean, variance].map(Input::Param);
        let op = Arc::new(BatchNorm { epsilon: EPSILON });
        if hidden.form.steps.is_empty() {
            let behind = StepId(written.0 + 1);
            let output = self.insert_step(behind, op, params.to_vec(), hidden.reads, node, name);
            self.redirect(behind.0 + 1, hidden.reads, output);
        } else {
            let inputs = std::iter::once(Input::Value(hidden.reads)).chain(params);
            self.steps[written.0] = Step {
                op,
                inputs: inputs.collect(),
                output: hidden.writes,
                node,
                name,
            };
            let gone = |v: ValueId| hidden.form.steps.iter().any(|s| s.output == v);
            self.steps
                .retain(|s| s.output == hidden.writes || !gone(s.output));
            self.revision += 1;
        }
        self.restored.push(RestoredNorm {
            form: hidden.form,
            gamma,
            beta,
            mean,
            variance,
        });
        Ok(())
    }
}

/// What the parameters of a put-back BatchNormalization start at.
#[derive(Debug, Default)]
struct Start {
    mean: Vec<f32>,
    variance: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl HiddenNorm {
    fn start(&self, measured: Option<Moments>) -> Start {
        let filters = self.form.weights.filters();
        let mut start = Start::default();
        for f in 0..filters {
            let layer = self.form.weights.affine(f);
            // The measured tensor is scale · n + bias, and n what will be normalised.
            let (mean, variance) = match &measured {
                Some((mean, variance)) if layer.factor != 0.0 => {
                    let (mean, variance) = (slice(mean)[f], slice(variance)[f]);
                    let mean = (f64::from(mean) - layer.shift) / layer.factor;
                    (mean, f64::from(variance) / layer.factor.powi(2))
                }
                _ => (0.0, 1.0),
            };
            let deviation = (variance + f64::from(EPSILON)).sqrt();
            let all = self.form.steps.iter().fold(layer, |a, s| s.behind(a, f));
            let (gamma, beta) = match &self.form.ending {
                Ending::Open => (all.factor * deviation, all.shift + all.factor * mean),
                Ending::Binarised { threshold, .. } if all.factor == 0.0 => {
                    let t = f64::from(threshold[f]);
                    (1.0, t + (all.shift - t).clamp(-1.0, 1.0))
                }
                Ending::Binarised { threshold, .. } => {
                    let t = f64::from(threshold[f]);
                    let direction = all.factor.signum();
                    let crossing = self.form.crossing(f, t);
                    (direction, direction * (mean - crossing) / deviation + t)
                }
            };
            start.mean.push(mean as f32);
            start.variance.push(variance as f32);
            start.gamma.push(gamma as f32);
            start.beta.push(beta as f32);
        }
        start
    }
}

/// An array that is repeated along all axes of data `[N, C, …]` but the channels', as one value a
/// channel; `None` if it is not.
fn by_channel(x: &ArrayD<f32>, channels: usize, rank: usize) -> Option<Vec<f32>> {
    if x.len() == 1 {
        return Some(vec![*x.first()?; channels]);
    }
    let axis = (1 + x.ndim()).checked_sub(rank)?;
    let fits = x.len() == channels && x.shape().get(axis) == Some(&channels);
    fits.then(|| x.iter().copied().collect())
}

/// Parameters of the BatchNormalization that was put back.
pub(super) fn norm_at(network: &Network, norm: &RestoredNorm, f: usize) -> (f64, f64, f64) {
    let value = |p: ParamId| f64::from(slice(&network.param(p).value)[f]);
    let deviation = (value(norm.variance) + f64::from(EPSILON)).sqrt();
    (
        value(norm.gamma) / deviation,
        value(norm.beta),
        value(norm.mean),
    )
}
