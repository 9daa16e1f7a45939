//! Where a BatchNormalization can stand behind a binary layer.

use super::probe::Probe;
use super::{HiddenNorm, by_channel};
use crate::arrays::slice;
use crate::network::binary_weight::{BinaryId, ScaleMode};
use crate::network::form::{AbsorbedStep, Affine, Ending, Form, Weights};
use crate::network::graph::{Input, Network, Step, StepId, ValueId};
use crate::ops::{Arithmetic, Role, Signs};

/// Operators between a layer and its binariser: nobody writes more.
const MOST_STEPS: usize = 64;
/// Looks behind one layer.
pub(super) struct Finder<'a> {
    network: &'a Network,
    readers: &'a [Vec<usize>],
    at: StepId,
    binary: BinaryId,
    filters: usize,
}

impl<'a> Finder<'a> {
    pub(super) fn new(network: &'a Network, readers: &'a [Vec<usize>], at: StepId) -> Option<Self> {
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

    pub(super) fn find(&self) -> Option<HiddenNorm> {
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
                Role::Plain | Role::Mask(_) | Role::Binariser(_) | Role::Part(_) => break,
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
                // Behind a part channels stand in other places.
                Role::Mask(_) | Role::Part(_) => return Some(behind),
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
