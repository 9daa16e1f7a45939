//! BatchNormalizations that a file's form hides, put back for training.
//!
//! A trained layer with BatchNormalization can be written in many ways: folded into weights and bias,
//! as a threshold in front of the binariser (`Conv(±1) → Sub(t) → Sign`, or a comparison with t), as
//! a scale and a shift, or with nothing left of it. Sums of ±1 have the size of √fan-in, so a
//! straight-through estimator passes next to nothing in such a form, and a threshold that is not
//! measured again behind a mask ruins the layer. Here is found where a BatchNormalization can stand,
//! and it is put there without changing what the network computes; [`restored`](super::restored)
//! writes what was learned in the form of the file.

use std::sync::Arc;

use ndarray::{Array1, ArrayD, IxDyn};

use super::binary_weight::{BinaryId, ScaleMode};
use super::edit::EditError;
use super::graph::{Input, Network, Step, StepId, ValueId};
use super::param::ParamId;
use super::restored::{AbsorbedStep, Affine, Ending, Form, RestoredNorm, Weights};
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::ops::{Arithmetic, BatchNorm, Context, ParamKind, Role, Signs};

/// `epsilon` of a BatchNormalization that is put back.
pub(super) const EPSILON: f32 = 1e-5;
/// Operators between a layer and its binariser: nobody writes more.
const MOST_STEPS: usize = 64;
/// Numbers that a step function's threshold is looked for among.
const MOST: f64 = 1e6;

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
            let origin = (node, name);
            let behind = StepId(written.0 + 1);
            let output = self.insert_step(behind, (op, params.to_vec()), hidden.reads, origin);
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

/// Looks behind one layer.
struct Finder<'a> {
    network: &'a Network,
    readers: &'a [Vec<usize>],
    at: StepId,
    binary: BinaryId,
    filters: usize,
}

impl<'a> Finder<'a> {
    fn new(network: &'a Network, readers: &'a [Vec<usize>], at: StepId) -> Option<Self> {
        let step = network.step(at);
        let (&[Input::Value(_), Input::Binary(binary)]
        | &[Input::Value(_), Input::Binary(binary), Input::Param(_)]) = &step.inputs[..]
        else {
            return None;
        };
        let [of_sums, of_bias] = step.op.traits(&[]).convolution?.factors();
        if of_sums != 1.0 || (step.inputs.len() > 2 && of_bias != 1.0) {
            return None;
        }
        let weight = network.binary(binary);
        let filters = *network.latent(binary).shape().get(weight.filter_axis)?;
        // BatchNormalization has its channels on axis 1.
        let channels = *network.sample_shape(step.output)?.first()?;
        let fits = weight.origin.uses.len() == 1 && channels == filters;
        fits.then_some(Self {
            network,
            readers,
            at,
            binary,
            filters,
        })
    }

    fn find(&self) -> Option<HiddenNorm> {
        let network = self.network;
        let step = network.step(self.at);
        let weights = self.weights(step)?;
        let mut hidden = HiddenNorm {
            form: Form {
                layer: step.node,
                binary: self.binary,
                rank: network.sample_shape(step.output)?.len() + 1,
                weights,
                steps: Vec::new(),
                ending: Ending::Open,
            },
            reads: step.output,
            writes: step.output,
            flips: true,
        };
        let mut pooled = false;
        let mut value = step.output;
        let mut pool = None;
        while let Some(reader) = self.only_reader(value) {
            let next = network.step(reader);
            match next.op.traits(&[]).role {
                Role::Normalization(_) => return None,
                Role::MaxPooling(_) => {
                    if !hidden.form.steps.is_empty() {
                        break;
                    }
                    pooled = true;
                    pool = Some(next.output);
                }
                Role::Arithmetic(op) => {
                    let Some(absorbed) = self.absorbed(op, next) else {
                        break;
                    };
                    if let Some(pool) = pool {
                        hidden.reads = pool;
                    }
                    hidden.form.steps.push(absorbed);
                }
                Role::Plain | Role::Mask(_) | Role::Binariser(_) => break,
            }
            value = next.output;
        }
        let ends = self.ends(value, hidden.form.steps.len(), &mut pooled)?;
        // What only shifts and scales all channels alike, and not directly in front of the binariser,
        // belongs to that.
        if !ends.direct {
            while hidden.form.steps.last().is_some_and(|s| !s.by_channel) {
                hidden.form.steps.pop();
            }
        }
        hidden.form.ending = match ends.through(&hidden, self) {
            Some(ending) => ending,
            None => Ending::Open,
        };
        if hidden.form.steps.is_empty() {
            hidden.reads = step.output;
        }
        hidden.writes = hidden.form.steps.last().map_or(hidden.reads, |s| s.output);
        hidden.flips = hidden.form.weights.absorbed() && !pooled;
        self.accepted(&hidden).then_some(hidden)
    }

    fn accepted(&self, hidden: &HiddenNorm) -> bool {
        let finite = |f: usize| {
            let layer = hidden.form.weights.affine(f);
            let all = hidden.form.steps.iter().fold(layer, |a, s| s.behind(a, f));
            let behind = hidden
                .form
                .steps
                .iter()
                .fold(Affine::ONE, |a, s| s.behind(a, f));
            let usable = behind.factor != 0.0 && behind.factor.is_finite();
            usable && all.factor.is_finite() && all.shift.is_finite()
        };
        let shifted =
            hidden.form.weights.has_bias() || hidden.form.steps.iter().any(AbsorbedStep::adds);
        let wanted = match hidden.form.ending {
            Ending::Open => hidden.form.weights.absorbed() && shifted,
            Ending::Binarised { .. } => true,
        };
        wanted && (0..self.filters).all(finite)
    }

    /// Scale and bias, where they are constants and no latents are behind them.
    fn weights(&self, step: &Step) -> Option<Weights> {
        let network = self.network;
        let weight = network.binary(self.binary);
        let live =
            weight.latent_origin.is_some() || matches!(weight.scale, ScaleMode::MeanAbs { .. });
        if live {
            return Some(Weights::live(self.filters));
        }
        let bias = match step.inputs.get(2) {
            Some(&Input::Param(p)) => {
                let param = network.param(p);
                let fits = param.value.len() == self.filters;
                let mut origin = param.origin.clone().filter(|_| fits)?;
                // Others may read the same tensor, which stays theirs.
                origin.uses.retain(|(n, _)| *n == step.node);
                Some((slice(&param.value).to_vec(), origin))
            }
            _ => None,
        };
        let on_signs = weight.on_signs;
        Some(Weights::constant(
            network.scales(self.binary),
            bias,
            on_signs,
        ))
    }

    fn only_reader(&self, value: ValueId) -> Option<StepId> {
        match self.readers.get(value.0).map(Vec::as_slice) {
            Some(&[one]) if one < self.network.steps.len() => Some(StepId(one)),
            _ => None,
        }
    }

    /// An arithmetic step with a constant, as a scale and shift of each channel.
    fn absorbed(&self, op: Arithmetic, step: &Step) -> Option<AbsorbedStep> {
        let (constant, reversed) = match step.inputs[..] {
            [Input::Value(_), Input::Param(p)] => (p, false),
            [Input::Param(p), Input::Value(_)] => (p, true),
            _ => return None,
        };
        if reversed && op == Arithmetic::Div {
            return None;
        }
        let rank = self.network.sample_shape(step.output)?.len() + 1;
        let param = self.network.param(constant);
        let values = by_channel(&param.value, self.filters, rank)?;
        let origin = param.origin.as_ref()?;
        let place = match origin.uses[..] {
            [one] => one,
            _ => *origin.uses.iter().find(|(n, _)| *n == step.node)?,
        };
        Some(AbsorbedStep {
            op,
            reversed,
            output: step.output,
            by_channel: param.value.len() > 1,
            values,
            shape: param.value.shape().to_vec(),
            rank,
            place,
        })
    }

    /// What is behind a value, up to a binariser. `None` if that is a BatchNormalization.
    fn ends(&self, value: ValueId, absorbed: usize, pooled: &mut bool) -> Option<Behind> {
        let mut behind = Behind {
            steps: Vec::new(),
            direct: false,
            binarised: false,
        };
        let mut value = value;
        for _ in 0..MOST_STEPS {
            let Some(reader) = self.only_reader(value) else {
                return Some(behind);
            };
            let step = self.network.step(reader);
            let traits = step.op.traits(&[]);
            match traits.role {
                Role::Normalization(_) => return None,
                Role::Mask(_) => return Some(behind),
                Role::MaxPooling(_) => *pooled = true,
                Role::Binariser(_) => {
                    behind.direct = behind.steps.is_empty() && absorbed > 0;
                    behind.steps.push(reader);
                    behind.binarised = true;
                    return Some(behind);
                }
                Role::Arithmetic(_) | Role::Plain => match traits.signs {
                    Signs::Keeps => {}
                    // One input that is data, as far as a single channel can show.
                    _ if self.network.values_read(reader).count() == 1 => behind.steps.push(reader),
                    _ => return Some(behind),
                },
            }
            value = step.output;
        }
        Some(behind)
    }
}

/// What is behind the part of a layer that a BatchNormalization takes the place of.
struct Behind {
    /// Steps that compute something, ending in the binariser if there is one.
    steps: Vec<StepId>,
    /// Whether the binariser follows arithmetic directly.
    direct: bool,
    binarised: bool,
}

impl Behind {
    /// The value for each channel, of what the BatchNormalization will write, at which the binariser
    /// turns; `None` if there is no binariser, or what is in between has not one such value or falls.
    fn through(&self, hidden: &HiddenNorm, finder: &Finder<'_>) -> Option<Ending> {
        if !self.binarised {
            return None;
        }
        let network = finder.network;
        let (&last, between) = self.steps.split_last()?;
        let Role::Binariser(binariser) = network.step(last).op.traits(&[]).role else {
            return None;
        };
        let [below, at, above] = binariser.values;
        if below == above || !(at == below || at == above || at == 0.0) {
            return None;
        }
        // Steps that were found to be arithmetic but are not absorbed come first.
        let from = hidden.form.steps.last().map_or(hidden.reads, |s| s.output);
        let mut all = Vec::new();
        let mut value = from;
        while let Some(reader) = finder.only_reader(value) {
            if between.first() == Some(&reader) || reader == last {
                break;
            }
            let step = network.step(reader);
            if matches!(step.op.traits(&[]).role, Role::Arithmetic(_)) {
                all.push(reader);
            }
            value = step.output;
        }
        all.extend(between);
        let rank = network.sample_shape(from)?.len() + 1;
        let probe = Probe {
            network,
            steps: &all,
            filters: finder.filters,
            rank,
            threshold: &binariser.threshold,
        };
        let threshold = match all.is_empty() {
            true => by_channel(&binariser.threshold, finder.filters, rank)?,
            false => probe.threshold()?,
        };
        // What a sum exactly at the threshold becomes: +1 like what is above, -1 like what is below.
        let zero = match at {
            v if v == above => 1,
            v if v == below => -1,
            _ => 0,
        };
        Some(Ending::Binarised { threshold, zero })
    }
}

/// Steps as a function of one number a channel.
struct Probe<'a> {
    network: &'a Network,
    steps: &'a [StepId],
    filters: usize,
    rank: usize,
    threshold: &'a ArrayD<f32>,
}

impl Probe<'_> {
    /// For each channel whether the binariser's input is at or above its threshold.
    fn above(&self, x: &[f64]) -> Option<Vec<bool>> {
        let mut shape = vec![1; self.rank];
        *shape.get_mut(1)? = self.filters;
        let values = x.iter().map(|&x| x as f32).collect();
        let mut x = ArrayD::from_shape_vec(IxDyn(&shape), values).ok()?;
        for &at in self.steps {
            let step = self.network.step(at);
            let inputs = step.inputs.iter().map(|i| match i {
                Input::Value(_) => Some(&x),
                Input::Param(p) => Some(&self.network.param(*p).value),
                Input::Binary(_) => None,
            });
            let inputs: Vec<&ArrayD<f32>> = inputs.collect::<Option<_>>()?;
            // Whatever looks at more than one number, or knows their number, is no such function.
            if step.op.traits(&[]).convolution.is_some() {
                return None;
            }
            let y = step.op.forward(&inputs, Context::default()).ok()?.0;
            if y.shape() != shape {
                return None;
            }
            x = y;
        }
        let thresholds = by_channel(self.threshold, self.filters, self.rank)?;
        let pairs = x.iter().zip(&thresholds);
        Some(pairs.map(|(x, t)| x >= t).collect())
    }

    fn threshold(&self) -> Option<Vec<f32>> {
        let mut low = vec![-MOST; self.filters];
        let mut high = vec![MOST; self.filters];
        if self.above(&low)?.contains(&true) || self.above(&high)?.contains(&false) {
            return None;
        }
        for _ in 0..80 {
            let middle: Vec<f64> = low.iter().zip(&high).map(|(l, h)| 0.5 * (l + h)).collect();
            let above = self.above(&middle)?;
            for ((above, m), (l, h)) in above
                .into_iter()
                .zip(middle)
                .zip(low.iter_mut().zip(&mut high))
            {
                match above {
                    true => *h = m,
                    false => *l = m,
                }
            }
        }
        let round = |h: f64| if h.abs() < 1e-12 { 0.0 } else { h as f32 };
        Some(high.into_iter().map(round).collect())
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

impl Affine {
    /// The identity.
    pub(super) const ONE: Self = Self {
        factor: 1.0,
        shift: 0.0,
    };
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
