//! Changes of a network's steps: masks put in and taken out, and BatchNormalizations put back that an
//! exporter folded into the layer before.

use std::sync::Arc;

use ndarray::{Array1, ArrayD};
use thiserror::Error;

use super::binary_weight::{BinaryId, Folded, ScaleMode};
use super::graph::{Input, Network, Step, StepId, ValueId};
use super::param::ParamId;
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::ops::{BatchNorm, ChannelMask, Op, ParamKind, Role};

/// `epsilon` of a BatchNormalization that is put back.
const EPSILON: f32 = 1e-5;

/// Why a network cannot be edited as asked.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// No step came from that node.
    #[error("node {0}: is not a step of the native network")]
    NoStep(usize),
    /// The step has no such data input.
    #[error("node '{node}': input {input} is not a tensor that depends on the data")]
    NoInput {
        /// The node's name.
        node: String,
        /// The input asked for.
        input: usize,
    },
}

/// A mask on the channels of one tensor: see [`Network::insert_mask`].
#[derive(Debug, Clone)]
pub struct MaskSpec {
    /// The axis of the tensor that is masked.
    pub axis: usize,
    /// For each position on that axis the filter it belongs to; `None` leaves it as it is.
    pub filter_of: Vec<Option<usize>>,
    /// The mask parameter, one value per filter. Several masks may share one.
    pub param: ParamId,
}

impl MaskSpec {
    fn into_op(self) -> (Arc<dyn Op>, Vec<Input>) {
        let op = ChannelMask {
            axis: self.axis,
            filter_of: self.filter_of,
        };
        (Arc::new(op), vec![Input::Param(self.param)])
    }
}

/// Mean and variance of each channel of a tensor.
pub type Moments = (ArrayD<f32>, ArrayD<f32>);

impl Network {
    /// Puts a mask in front of input `input` of the step that came from `consumer`: only that
    /// reader sees the masked tensor. Returns the mask's step.
    ///
    /// # Errors
    /// If `consumer` is not a step, or its input not a tensor that depends on the data.
    pub fn insert_mask(
        &mut self,
        consumer: NodeId,
        input: usize,
        mask: MaskSpec,
    ) -> Result<StepId, EditError> {
        let at = self
            .step_of(consumer)
            .ok_or(EditError::NoStep(consumer.0))?;
        let step = self.step(at);
        let Some(&Input::Value(source)) = step.inputs.get(input) else {
            return Err(EditError::NoInput {
                node: step.name.clone(),
                input,
            });
        };
        let origin = (consumer, step.name.clone());
        let masked = self.insert_step(at, mask.into_op(), source, origin);
        self.steps[at.0 + 1].inputs[input] = Input::Value(masked);
        Ok(at)
    }

    /// Puts a mask behind the step that came from `node`: every reader sees the masked tensor.
    /// Returns the mask's step.
    ///
    /// # Errors
    /// If `node` is not a step.
    pub fn insert_output_mask(
        &mut self,
        node: NodeId,
        mask: MaskSpec,
    ) -> Result<StepId, EditError> {
        let at = self.output_step_of(node).ok_or(EditError::NoStep(node.0))?;
        let (source, name) = (self.step(at).output, self.step(at).name.clone());
        let behind = StepId(at.0 + 1);
        let masked = self.insert_step(behind, mask.into_op(), source, (node, name));
        self.redirect(behind.0 + 1, source, masked);
        Ok(behind)
    }

    /// Takes the masks of a parameter out again.
    pub fn remove_masks(&mut self, param: ParamId) {
        let is_mask = |_: &Self, s: &Step| s.is_mask();
        self.remove_masks_if(param, is_mask);
    }

    /// Takes the masks of a parameter out that let everything through.
    pub fn remove_idle_masks(&mut self, param: ParamId) {
        let is_idle = |network: &Self, s: &Step| match s.op.traits(&[]).role {
            Role::Mask(mask) => {
                let m = slice(&network.param(param).value);
                let filters = mask.filter_of.iter().flatten();
                filters
                    .into_iter()
                    .all(|&f| m.get(f).is_some_and(|&m| m >= 0.0))
            }
            _ => false,
        };
        self.remove_masks_if(param, is_idle);
    }

    fn remove_masks_if(&mut self, param: ParamId, goes: impl Fn(&Self, &Step) -> bool) {
        let found = |network: &Self| {
            let of_param = |s: &&Step| s.inputs.get(1) == Some(&Input::Param(param));
            let steps = network.steps.iter().enumerate();
            let mut going = steps.filter(|(_, s)| of_param(s) && goes(network, s));
            going.next().map(|(at, _)| at)
        };
        while let Some(at) = found(self) {
            let masked = self.steps[at].output;
            if let Input::Value(source) = self.steps[at].inputs[0] {
                self.redirect(at + 1, masked, source);
            }
            self.steps.remove(at);
            self.revision += 1;
        }
    }

    /// Inserts a step at `at` that reads `source` and parameters, and writes a new value of the same
    /// shape.
    fn insert_step(
        &mut self,
        at: StepId,
        (op, params): (Arc<dyn Op>, Vec<Input>),
        source: ValueId,
        (node, name): (NodeId, String),
    ) -> ValueId {
        let output = ValueId(self.value_count());
        self.shapes.push(self.shapes[source.0].clone());
        let inputs = std::iter::once(Input::Value(source)).chain(params);
        let step = Step {
            op,
            inputs: inputs.collect(),
            output,
            node,
            name,
        };
        self.steps.insert(at.0, step);
        self.revision += 1;
        output
    }

    /// Every step from `first` on that reads `old` reads `new` instead, and so do the logits.
    fn redirect(&mut self, first: usize, old: ValueId, new: ValueId) {
        for step in self.steps.iter_mut().skip(first) {
            for input in &mut step.inputs {
                if *input == Input::Value(old) {
                    *input = Input::Value(new);
                }
            }
        }
        if self.logits == old {
            self.logits = new;
        }
        self.revision += 1;
    }

    /// Binary layers into which an exporter has folded a BatchNormalization: constant ±s weights, a
    /// bias, and no BatchNormalization behind.
    pub fn folded_layers(&self) -> Vec<NodeId> {
        let is_folded = |i: &usize| {
            let step = &self.steps[*i];
            let [_, Input::Binary(b), Input::Param(bias)] = step.inputs[..] else {
                return false;
            };
            let binary = self.binary(b);
            let followed = self.steps.iter().any(|s| {
                s.is_normalization() && s.inputs.first() == Some(&Input::Value(step.output))
            });
            let ScaleMode::Param(scale) = binary.scale else {
                return false;
            };
            let filters = self.param(scale).value.len();
            binary.latent_origin.is_none()
                && binary.origin.uses.len() == 1
                && self.param(bias).value.len() == filters
                && !followed
        };
        let steps = (0..self.steps.len()).filter(is_folded);
        steps.map(|i| self.steps[i].node).collect()
    }

    /// Puts a BatchNormalization back behind the layer at `node` (of [`Network::folded_layers`]), of
    /// whose *folded* output `measured` are the moments: the weights become ±1, and γ and β do what
    /// scale and bias did. The network computes what it computed before;
    /// [`write_back`](super::write_back) folds it again. Step positions change.
    ///
    /// # Errors
    /// If `node` is not such a layer. Nothing is changed then.
    pub fn unfold_batch_norm(
        &mut self,
        node: NodeId,
        measured: Option<Moments>,
    ) -> Result<(), EditError> {
        let missing = EditError::NoStep(node.0);
        let at = self.step_of(node).ok_or(missing.clone())?;
        let [x, Input::Binary(b), Input::Param(bias)] = self.step(at).inputs[..] else {
            return Err(missing);
        };
        let scales = self.scales(b);
        let shift = slice(&self.param(bias).value).to_vec();
        let new = Unfolded::of(&scales, &shift, measured);
        let name = self.step(at).name.clone();
        let mut add = |kind, what: &str, v: Vec<f32>| {
            self.add_param(&format!("{name}.{what}"), kind, Array1::from(v).into_dyn())
        };
        let gamma = add(ParamKind::Gamma, "gamma", new.gamma);
        let beta = add(ParamKind::Beta, "beta", new.beta);
        let mean = add(ParamKind::RunningMean, "running_mean", new.mean);
        let variance = add(ParamKind::RunningVariance, "running_var", new.variance);
        self.binary[b.0].scale = ScaleMode::One;
        let bias = self.param(bias).origin.clone();
        self.binary[b.0].folded = bias.map(|bias| Folded {
            gamma,
            beta,
            mean,
            variance,
            bias,
        });
        self.steps[at.0].inputs = vec![x, Input::Binary(b)];
        let source = self.step(at).output;
        let behind = StepId(at.0 + 1);
        let params = [gamma, beta, mean, variance].map(Input::Param).to_vec();
        let op = Arc::new(BatchNorm { epsilon: EPSILON });
        let output = self.insert_step(behind, (op, params), source, (node, name));
        self.redirect(behind.0 + 1, source, output);
        Ok(())
    }

    /// Scale and bias of each filter that a put-back BatchNormalization amounts to; the scale may
    /// be negative.
    pub(super) fn folded_again(&self, b: BinaryId) -> Option<(Vec<f32>, Vec<f32>, &Folded)> {
        let folded = self.binary(b).folded.as_ref()?;
        let value = |p: ParamId| slice(&self.param(p).value);
        let (gamma, beta) = (value(folded.gamma), value(folded.beta));
        let (mean, variance) = (value(folded.mean), value(folded.variance));
        let scale = |f: usize| {
            let deviation = (f64::from(variance[f]) + f64::from(EPSILON)).sqrt();
            (f64::from(gamma[f]) / deviation) as f32
        };
        let scales: Vec<f32> = (0..gamma.len()).map(scale).collect();
        let shifts = (0..gamma.len()).map(|f| beta[f] - scales[f] * mean[f]);
        let shifts = shifts.collect();
        Some((scales, shifts, folded))
    }
}

/// What the parameters of a put-back BatchNormalization start at.
#[derive(Debug, Default)]
struct Unfolded {
    mean: Vec<f32>,
    variance: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Unfolded {
    /// Of a layer `y = scale · n + shift`, with what was measured of y.
    fn of(scales: &[f32], shift: &[f32], measured: Option<Moments>) -> Self {
        let mut new = Self::default();
        for (f, &s) in scales.iter().enumerate() {
            // n has mean (μ_y - shift) / s and variance σ_y² / s².
            let (mu, var) = match (&measured, s) {
                (None, _) | (_, 0.0) => (0.0, 1.0),
                (Some((mean, variance)), s) => {
                    let (mean, variance) = (slice(mean)[f], slice(variance)[f]);
                    ((mean - shift[f]) / s, variance / (s * s))
                }
            };
            new.mean.push(mu);
            new.variance.push(var);
            new.gamma.push(s * (var + EPSILON).sqrt());
            new.beta.push(shift[f] + s * mu);
        }
        new
    }
}
