//! A network's weights in the forms that kernels read.

use std::sync::OnceLock;

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{InputSigns, SignWeight, TableEntry};
use bnn_kernels::float::{InputWeights, OutputWeights};
use bnn_kernels::lazy::get_or_compute;
use ndarray::ArrayD;

use crate::arrays::slice;
use crate::network::{BinaryId, Input, Network, Step, StepId};
use crate::ops::ConvolutionForm;

/// A network's weights in the forms that kernels read, each made when it is first asked for. They
/// are those of the network as it is then: where weights change, or steps are inserted, others have
/// to be made.
#[derive(Debug)]
pub struct Weights {
    binary: Vec<BinaryForms>,
    layers: Vec<LayerForms>,
}

/// Of a binary weight.
#[derive(Debug, Default)]
struct BinaryForms {
    effective: OnceLock<ArrayD<f32>>,
    scales: OnceLock<Vec<f32>>,
}

/// Of the layer at a step.
#[derive(Debug, Default)]
struct LayerForms {
    packed: OnceLock<Option<PackedLayer>>,
    output: OnceLock<Option<OutputWeights>>,
    input: OnceLock<Option<InputWeights>>,
    signs: OnceLock<Option<InputSigns<f32>>>,
    rounded_signs: OnceLock<Option<InputSigns<i16>>>,
}

/// A binary layer's weights as bits, with what its sums are multiplied with and added to.
#[derive(Debug)]
pub(super) struct PackedLayer {
    pub weight: SignWeight,
    /// Of each filter, `alpha` included.
    pub scale: Vec<f32>,
    /// Of each filter, `beta` included.
    pub bias: Vec<f32>,
}

impl PackedLayer {
    /// The layer at `step`. `None` if a weight is 0, or the bias no constant of one value a filter.
    fn of(network: &Network, step: &Step, form: &ConvolutionForm) -> Option<Self> {
        let Input::Binary(id) = step.inputs.get(1)? else {
            return None;
        };
        let filters = form.geometry.filters;
        let bias = match step.inputs.get(2) {
            None => vec![0.0; filters],
            Some(Input::Param(p)) => {
                let values = slice(&network.param(*p).value);
                let repeated = values.iter().cycle().map(|b| b * form.beta).take(filters);
                [1, filters]
                    .contains(&values.len())
                    .then(|| repeated.collect())?
            }
            Some(_) => return None,
        };
        let one = network.binary(*id).zero > 0.0;
        let latent = slice(network.latent(*id));
        let weight = SignWeight::pack(latent, form.strides, &form.geometry, one)?;
        let scale: Vec<f32> = network.scales(*id).iter().map(|s| s * form.alpha).collect();
        (scale.len() == filters).then_some(Self {
            weight,
            scale,
            bias,
        })
    }
}

fn empty<T: Default>(count: usize) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

impl Weights {
    /// For any number of runs of a network, until its weights change or steps are inserted.
    pub fn new(network: &Network) -> Self {
        Self {
            binary: empty(network.binaries().len()),
            layers: empty(network.steps().len()),
        }
    }

    /// The effective weight.
    pub(super) fn effective(&self, network: &Network, id: BinaryId) -> &ArrayD<f32> {
        let weight = || network.effective_weight(id);
        get_or_compute(&self.binary[id.0].effective, weight)
    }

    /// The scale of each filter.
    pub(super) fn scales(&self, network: &Network, id: BinaryId) -> &[f32] {
        get_or_compute::<Vec<f32>>(&self.binary[id.0].scales, || network.scales(id))
    }

    /// The binary layer at a step, for packed activations. `None` if a weight is 0.
    pub(super) fn packed(
        &self,
        network: &Network,
        at: StepId,
        form: &ConvolutionForm,
    ) -> Option<&PackedLayer> {
        let layer = || PackedLayer::of(network, network.step(at), form);
        get_or_compute(&self.layers[at.0].packed, layer).as_ref()
    }

    /// The weights of the float convolution at a step, for its output. `None` if the kernels do not
    /// have its geometry.
    pub(super) fn output(
        &self,
        at: StepId,
        g: &ConvGeometry,
        weight: &[f32],
    ) -> Option<&OutputWeights> {
        let weights = || OutputWeights::new(g, weight);
        get_or_compute(&self.layers[at.0].output, weights).as_ref()
    }

    /// The weights of the binary convolution at a step, for gradients of its input in single
    /// precision. `None` if the kernels do not have its geometry.
    pub(super) fn input(
        &self,
        network: &Network,
        at: StepId,
        id: BinaryId,
        g: &ConvGeometry,
    ) -> Option<&InputWeights> {
        let weights = || InputWeights::new(g, slice(self.effective(network, id)));
        get_or_compute(&self.layers[at.0].input, weights).as_ref()
    }

    /// The signs of a binary convolution's weights, for gradients of its input in single precision.
    /// `None` if tables of sums are not worth it, or a weight is 0.
    pub(super) fn signs(
        &self,
        network: &Network,
        at: StepId,
        id: BinaryId,
        g: &ConvGeometry,
    ) -> Option<&InputSigns<f32>> {
        signs_in(&self.layers[at.0].signs, network, id, g)
    }

    /// [`Weights::signs`], for gradients rounded to 8 bits.
    pub(super) fn rounded_signs(
        &self,
        network: &Network,
        at: StepId,
        id: BinaryId,
        g: &ConvGeometry,
    ) -> Option<&InputSigns<i16>> {
        signs_in(&self.layers[at.0].rounded_signs, network, id, g)
    }
}

fn signs_in<'a, E: TableEntry>(
    cell: &'a OnceLock<Option<InputSigns<E>>>,
    network: &Network,
    id: BinaryId,
    g: &ConvGeometry,
) -> Option<&'a InputSigns<E>> {
    get_or_compute(cell, || InputSigns::new(g, &network.signs(id))).as_ref()
}
