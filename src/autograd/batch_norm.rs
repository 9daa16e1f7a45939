//! Running statistics of BatchNormalizations measured anew, and BatchNormalizations that an
//! exporter folded into the layer before put back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bnn_kernels::buffers::release_memory;
use bnn_kernels::elementwise::ChannelStatistics;
use ndarray::{Array1, ArrayD};

use super::arrays::slice;
use super::binary::{BinaryId, ScaleMode};
use super::cut::Cut;
use super::network::{EditError, Input, Network, Step, StepId, ValueId};
use super::ops::BatchNorm;
use super::param::{Origin, ParamId, ParamKind};
use super::trace::{Mode, RunError};
use crate::graph::NodeId;

/// `epsilon` of a BatchNormalization that is put back.
const EPSILON: f32 = 1e-5;

/// Mean and variance of each channel, pooled over batches.
#[derive(Debug, Clone, Default)]
struct Pooled {
    count: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Pooled {
    fn add(&mut self, s: &ChannelStatistics) {
        let n = s.count as f64;
        self.sum.resize(s.mean.len(), 0.0);
        self.squares.resize(s.mean.len(), 0.0);
        let sums = self.sum.iter_mut().zip(&mut self.squares);
        for ((sum, squares), (&mean, &variance)) in sums.zip(s.mean.iter().zip(&s.variance)) {
            let mean = f64::from(mean);
            *sum += n * mean;
            *squares += n * (f64::from(variance) + mean * mean);
        }
        self.count += n;
    }

    /// Mean and unbiased variance; `None` before any data.
    fn finish(&self) -> Option<(ArrayD<f32>, ArrayD<f32>)> {
        if self.count == 0.0 {
            return None;
        }
        let n = self.count;
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let unbias = if n > 1.0 { n / (n - 1.0) } else { 1.0 };
        let variance = self.squares.iter().zip(&mean);
        let variance = variance.map(|(q, m)| ((q / n - m * m).max(0.0) * unbias) as f32);
        let variance: Array1<f32> = variance.collect();
        let mean: Array1<f32> = mean.iter().map(|m| *m as f32).collect();
        Some((mean.into_dyn(), variance.into_dyn()))
    }
}

impl Network {
    /// Measures the running statistics of all BatchNormalizations at or behind `from` on `batches`
    /// (each a start of a run at or before `from`): in one pass in which each of them normalises by
    /// the batch's own statistics. Mean and variance (unbiased) are pooled over all batches.
    /// Without batches nothing changes.
    ///
    /// # Errors
    /// If a batch does not fit the network.
    pub fn reestimate_batch_norm(
        &mut self,
        batches: impl IntoIterator<Item = Cut>,
        from: StepId,
    ) -> Result<(), RunError> {
        let Some(&StepId(last)) = self.batch_norms(from).last() else {
            return Ok(());
        };
        let mode = Mode {
            batch_statistics_from: Some(from),
            ..Mode::default()
        };
        // Steps of learning, before and after, are of other sizes than these batches.
        release_memory();
        let mut pooled: BTreeMap<StepId, Pooled> = BTreeMap::new();
        for batch in batches {
            let trace = self.forward(&batch, StepId(last + 1), mode)?;
            for (step, s) in trace.batch_statistics() {
                pooled.entry(step).or_default().add(s);
            }
        }
        self.set_statistics(&pooled);
        release_memory();
        Ok(())
    }

    /// Moves running statistics towards those of one training batch: `running = (1 - momentum) ·
    /// running + momentum · batch`, the variance unbiased, as torch does.
    pub fn update_running_statistics<'a>(
        &mut self,
        statistics: impl IntoIterator<Item = (StepId, &'a ChannelStatistics)>,
        momentum: f32,
    ) {
        for (step, s) in statistics {
            let n = s.count as f32;
            let unbias = if n > 1.0 { n / (n - 1.0) } else { 1.0 };
            let Some((mean, variance)) = self.running(step) else {
                continue;
            };
            let mix = |p: &mut ArrayD<f32>, batch: &[f32], factor: f32| {
                for (r, b) in p.iter_mut().zip(batch) {
                    *r += momentum * (b * factor - *r);
                }
            };
            mix(&mut self.params[mean.0].value, &s.mean, 1.0);
            mix(&mut self.params[variance.0].value, &s.variance, unbias);
        }
    }

    fn set_statistics(&mut self, pooled: &BTreeMap<StepId, Pooled>) {
        for (step, p) in pooled {
            if let (Some((mean, variance)), Some((m, v))) = (self.running(*step), p.finish()) {
                self.params[mean.0].value = m;
                self.params[variance.0].value = v;
            }
        }
    }

    /// The parameters of a BatchNormalization's running mean and variance.
    fn running(&self, step: StepId) -> Option<(ParamId, ParamId)> {
        match self.steps[step.0].inputs[..] {
            [_, _, _, Input::Param(mean), Input::Param(variance)] => Some((mean, variance)),
            _ => None,
        }
    }

    /// Binary layers into which an exporter has folded a BatchNormalization: constant ±s weights, a
    /// bias, and no BatchNormalization behind.
    pub fn folded_layers(&self) -> Vec<NodeId> {
        let is_folded = |i: &usize| {
            let step = &self.steps[*i];
            let [_, Input::Binary(b), Input::Param(bias)] = step.inputs[..] else {
                return false;
            };
            let binary = &self.binary[b.0];
            let followed = self.steps.iter().any(|s| {
                s.op.as_batch_norm().is_some()
                    && s.inputs.first() == Some(&Input::Value(step.output))
            });
            let ScaleMode::Param(scale) = binary.scale else {
                return false;
            };
            let filters = self.params[scale.0].value.len();
            binary.latent_origin.is_none()
                && binary.origin.uses.len() == 1
                && self.params[bias.0].value.len() == filters
                && !followed
        };
        let steps = (0..self.steps.len()).filter(is_folded);
        steps.map(|i| self.steps[i].node).collect()
    }

    /// Puts a BatchNormalization back behind the layers `nodes` (of [`Network::folded_layers`]):
    /// the weights become ±1, and γ and β of the BatchNormalization do what scale and bias did, with
    /// mean and variance measured on `batches` (starts of runs of the whole network). The network
    /// computes what it computed before; [`Network::write_back`] folds it again. Step positions
    /// change.
    ///
    /// # Errors
    /// If one of `nodes` is not such a layer, or a batch does not fit. Nothing is changed then.
    pub fn unfold_batch_norms(
        &mut self,
        nodes: &[NodeId],
        batches: impl IntoIterator<Item = Cut>,
    ) -> Result<(), UnfoldError> {
        let folded = self.folded_layers();
        if let Some(n) = nodes.iter().find(|n| !folded.contains(n)) {
            return Err(EditError::NoStep(n.0).into());
        }
        // The sums n = (y - bias) / s of each layer, measured before anything changes.
        let mut pooled: BTreeMap<NodeId, Pooled> = BTreeMap::new();
        let ends: Vec<(NodeId, StepId)> = nodes
            .iter()
            .filter_map(|n| Some((*n, self.step_of(*n)?)))
            .collect();
        for batch in batches {
            let mut at = batch;
            for &(node, step) in &ends {
                let trace = self.forward(&at, StepId(step.0 + 1), Mode::default())?;
                if let Some(y) = trace.value(self.steps[step.0].output) {
                    pooled.entry(node).or_default().add(&super::ops::measure(y));
                }
                at = self.cut_of(&trace);
            }
        }
        for &node in nodes {
            let statistics = pooled.get(&node).and_then(Pooled::finish);
            self.unfold(node, statistics)?;
        }
        Ok(())
    }

    /// Unfolds one layer, given mean and variance of its *folded* output.
    fn unfold(
        &mut self,
        node: NodeId,
        statistics: Option<(ArrayD<f32>, ArrayD<f32>)>,
    ) -> Result<(), EditError> {
        let missing = EditError::NoStep(node.0);
        let at = self.step_of(node).ok_or(missing.clone())?;
        let [x, Input::Binary(b), Input::Param(bias)] = self.steps[at.0].inputs[..] else {
            return Err(missing);
        };
        let scales = self.scales(b);
        let shift = slice(&self.params[bias.0].value).to_vec();
        let (mean, variance) = match &statistics {
            Some((m, v)) => (slice(m), slice(v)),
            None => (&shift[..], &scales[..]),
        };
        let name = self.steps[at.0].name.clone();
        let mut new = Unfolded::default();
        for (f, &s) in scales.iter().enumerate() {
            // y = s·n + shift, so n has mean (μ_y - shift) / s and variance σ_y² / s².
            let (mu, var) = match s {
                0.0 => (0.0, 1.0),
                s => ((mean[f] - shift[f]) / s, variance[f] / (s * s)),
            };
            let var = if statistics.is_some() { var } else { 1.0 };
            new.mean.push(mu);
            new.variance.push(var);
            new.gamma.push(s * (var + EPSILON).sqrt());
            new.beta.push(shift[f] + s * mu);
        }
        let mut add = |kind, what: &str, v: Vec<f32>| {
            self.add_param(&format!("{name}.{what}"), kind, Array1::from(v).into_dyn())
        };
        let gamma = add(ParamKind::Gamma, "gamma", new.gamma);
        let beta = add(ParamKind::Beta, "beta", new.beta);
        let mean = add(ParamKind::RunningMean, "running_mean", new.mean);
        let variance = add(ParamKind::RunningVariance, "running_var", new.variance);
        self.binary[b.0].scale = ScaleMode::One;
        let bias = self.params[bias.0].origin.clone();
        self.binary[b.0].folded = bias.map(|bias| Folded {
            gamma,
            beta,
            mean,
            variance,
            bias,
        });
        self.steps[at.0].inputs = vec![x, Input::Binary(b)];
        let source = self.steps[at.0].output;
        let output = ValueId(self.value_count);
        self.value_count += 1;
        let behind = StepId(at.0 + 1);
        let params = [gamma, beta, mean, variance].map(Input::Param);
        self.steps.insert(
            behind.0,
            Step {
                op: Arc::new(BatchNorm { epsilon: EPSILON }),
                inputs: std::iter::once(Input::Value(source))
                    .chain(params)
                    .collect(),
                output,
                node,
                name,
            },
        );
        self.redirect(behind, source, output);
        Ok(())
    }

    /// Scale and bias of each filter that a put-back BatchNormalization amounts to; the scale may
    /// be negative.
    pub(super) fn folded_again(&self, b: BinaryId) -> Option<(Vec<f32>, Vec<f32>, &Folded)> {
        let folded = self.binary[b.0].folded.as_ref()?;
        let value = |p: ParamId| slice(&self.params[p.0].value);
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

/// A BatchNormalization that was put back behind a binary layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// γ, `[O]`.
    pub gamma: ParamId,
    /// β, `[O]`.
    pub beta: ParamId,
    /// Running mean, `[O]`.
    pub mean: ParamId,
    /// Running variance, `[O]`.
    pub variance: ParamId,
    /// The bias that the layer has in the file.
    pub bias: Origin,
}

/// Why a BatchNormalization cannot be put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnfoldError {
    /// A node that is not a layer with a folded BatchNormalization.
    #[error(transparent)]
    Layer(#[from] EditError),
    /// The data do not fit the network.
    #[error(transparent)]
    Run(#[from] RunError),
}
