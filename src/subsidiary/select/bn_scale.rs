//! |γ| of the BatchNormalization behind a layer (Liu et al., "Learning Efficient Convolutional
//! Networks through Network Slimming", ICCV 2017). A filter whose γ is negative is turned around, not
//! small.
//!
//! Where the file's form hides the BatchNormalization, one was put back whose γ starts at ±1 in front
//! of a binariser. If the file has it folded into weights of different sizes s, the γ that they amount
//! to is s times the deviation of the sums of ±1 that the filter counts, and what learning has made of
//! the ±1 comes on top. If they are all of one size, nothing of γ is left in the file.

use super::magnitude::mean_abs;
use super::{Rule, RuleContext, TrainError};
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::network::{Input, Network, ParamId, ScaleMode, StepId, ValueId};
use crate::ops::{Role, Signs};
use crate::recognize::Layer;

/// Operators between a layer and its BatchNormalization: nobody writes more.
const MOST_STEPS: usize = 64;
/// Sizes that differ by a smaller share are the same, but for rounding.
const SAME: f32 = 1e-5;

#[derive(Debug)]
pub(super) struct BnScale;

impl Rule for BnScale {
    fn name(&self) -> &'static str {
        "bn-scale"
    }

    fn about(&self) -> &'static str {
        "Prune the filters whose BatchNormalization has the smallest |γ|"
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let members: Vec<(&Layer, &[usize])> = context.members().collect();
        let filters = context.filters();
        // All filters have their places there, and what was learned is in it.
        let network = context.trainer.whole_network();
        let scales: Vec<Option<Vec<f64>>> = members
            .iter()
            .map(|(layer, _)| scales(network, layer))
            .collect();
        let any = scales.iter().any(Option::is_some);
        // A coupled group counts for as much as its members together: those with a
        // BatchNormalization or, where none has one, by the slope that their weights give to sums.
        let mut scores = vec![0.0; filters];
        for ((layer, channel_of), scales) in members.into_iter().zip(scales) {
            let scales = match scales {
                None if any => continue,
                None => wide(mean_abs(&layer.values, layer.filter_axis)),
                Some(scales) => scales,
            };
            for (&channel, scale) in channel_of.iter().zip(scales) {
                scores[channel] += scale;
            }
        }
        Ok(scores)
    }
}

fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// |γ| of each filter of a layer; `None` if there is no BatchNormalization behind it.
fn scales(network: &Network, layer: &Layer) -> Option<Vec<f64>> {
    let at = behind(network, layer.node)?;
    let step = network.step(at);
    let Role::Normalization(norm) = step.op.traits(&[]).role else {
        return None;
    };
    let [gamma, variance] = [1, 4].map(|k| match step.inputs.get(k) {
        Some(Input::Param(p)) => Some(*p),
        _ => None,
    });
    let (gamma, variance) = (gamma?, variance?);
    let values = |p: ParamId| slice(&network.param(p).value);
    let mut scales: Vec<f64> = values(gamma).iter().map(|g| f64::from(g.abs())).collect();
    if let Some(sizes) = folded(network, layer, gamma) {
        for ((scale, size), &v) in scales.iter_mut().zip(sizes).zip(values(variance)) {
            *scale *= f64::from(size) * (f64::from(v) + f64::from(norm.epsilon)).sqrt();
        }
    }
    Some(scales)
}

/// The sizes of a layer's weights in the file, if a BatchNormalization was folded into them.
fn folded(network: &Network, layer: &Layer, gamma: ParamId) -> Option<Vec<f32>> {
    let put_back = network.param(gamma).origin.is_none();
    let binary = network.binary_of(layer.node).filter(|_| put_back)?;
    let absorbed = matches!(network.binary(binary).scale, ScaleMode::One);
    let sizes = mean_abs(&layer.values, layer.filter_axis);
    let most = sizes.iter().copied().fold(0.0, f32::max);
    let differ = sizes.iter().any(|&s| most - s > SAME * most);
    (absorbed && differ).then_some(sizes)
}

/// The BatchNormalization behind a layer, on a way on which nothing mixes channels, adds another
/// tensor, makes signs or puts channels in another order.
fn behind(network: &Network, node: NodeId) -> Option<StepId> {
    let mut value = network.step(network.step_of(node)?).output;
    let channels = channels_of(network, value)?;
    let readers = network.readers();
    for _ in 0..MOST_STEPS {
        let steps = readers.get(value.0)?.iter().copied();
        let steps: Vec<StepId> = steps.map(StepId).filter(|&s| s < network.end()).collect();
        let norm = steps.iter().find(|&&s| network.step(s).is_normalization());
        if let Some(&norm) = norm {
            return (channels_of(network, network.step(norm).output)? == channels).then_some(norm);
        }
        let &[only] = &steps[..] else { return None };
        let step = network.step(only);
        let traits = step.op.traits(&[]);
        let follows = network.data_input(only) == Some(value)
            && traits.convolution.is_none()
            && traits.signs != Signs::Makes
            && !matches!(traits.role, Role::Binariser(_) | Role::Part(_))
            && channels_of(network, step.output)? == channels;
        if !follows {
            return None;
        }
        value = step.output;
    }
    None
}

fn channels_of(network: &Network, value: ValueId) -> Option<usize> {
    network.sample_shape(value)?.first().copied()
}
