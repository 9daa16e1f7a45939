//! Binary weights in the forms that kernels read.

use std::sync::OnceLock;

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{InputSigns, TableEntry};
use bnn_kernels::float::InputWeights;
use bnn_kernels::lazy::get_or_compute;
use ndarray::ArrayD;

use super::arrays::slice;
use super::binary::BinaryId;
use super::integer::{IntegerForm, IntegerLayer};
use super::network::{Network, StepId};

/// A network's binary weights in the forms that kernels read, each made when it is first asked for.
/// They are those of the network as it is then: where weights change, or steps are inserted, others
/// have to be prepared.
#[derive(Debug)]
pub struct Prepared {
    effective: Vec<OnceLock<ArrayD<f32>>>,
    scales: Vec<OnceLock<Vec<f32>>>,
    layers: Vec<OnceLock<Option<IntegerLayer>>>,
    inputs: Vec<OnceLock<Option<InputWeights>>>,
    signs: Vec<OnceLock<Option<InputSigns<f32>>>>,
    rounded_signs: Vec<OnceLock<Option<InputSigns<i16>>>>,
}

fn empty<T>(count: usize) -> Vec<OnceLock<T>> {
    (0..count).map(|_| OnceLock::new()).collect()
}

impl Network {
    /// For any number of runs, until weights change or steps are inserted.
    pub fn prepare(&self) -> Prepared {
        let (weights, steps) = (self.binary.len(), self.steps.len());
        Prepared {
            effective: empty(weights),
            scales: empty(weights),
            layers: empty(steps),
            inputs: empty(steps),
            signs: empty(steps),
            rounded_signs: empty(steps),
        }
    }
}

impl Prepared {
    /// The effective weight.
    pub(super) fn effective(&self, network: &Network, id: BinaryId) -> &ArrayD<f32> {
        get_or_compute(&self.effective[id.0], || network.effective_weight(id))
    }

    /// The scale of each filter.
    pub(super) fn scales(&self, network: &Network, id: BinaryId) -> &[f32] {
        get_or_compute::<Vec<f32>>(&self.scales[id.0], || network.scales(id))
    }

    /// The layer at a step, for packed activations. `None` if a weight is 0.
    pub(super) fn layer(
        &self,
        network: &Network,
        at: StepId,
        form: &IntegerForm,
    ) -> Option<&IntegerLayer> {
        let layer = || IntegerLayer::of(network, network.step(at), form);
        get_or_compute(&self.layers[at.0], layer).as_ref()
    }

    /// The weights of the convolution at a step for gradients in single precision. `None` if the
    /// kernels do not have its geometry.
    pub(super) fn input(
        &self,
        network: &Network,
        (at, id): (StepId, BinaryId),
        g: &ConvGeometry,
    ) -> Option<&InputWeights> {
        let weights = || InputWeights::new(g, slice(self.effective(network, id)));
        get_or_compute(&self.inputs[at.0], weights).as_ref()
    }

    /// The signs of a convolution's weights for gradients in single precision. `None` if tables of sums
    /// are not worth it, or a weight is 0.
    pub(super) fn signs(
        &self,
        network: &Network,
        at: (StepId, BinaryId),
        g: &ConvGeometry,
    ) -> Option<&InputSigns<f32>> {
        signs_in(&self.signs, network, at, g)
    }

    /// The same for rounded gradients.
    pub(super) fn rounded_signs(
        &self,
        network: &Network,
        at: (StepId, BinaryId),
        g: &ConvGeometry,
    ) -> Option<&InputSigns<i16>> {
        signs_in(&self.rounded_signs, network, at, g)
    }
}

fn signs_in<'a, E: TableEntry>(
    all: &'a [OnceLock<Option<InputSigns<E>>>],
    network: &Network,
    (at, id): (StepId, BinaryId),
    g: &ConvGeometry,
) -> Option<&'a InputSigns<E>> {
    get_or_compute(&all[at.0], || InputSigns::new(g, &network.signs(id))).as_ref()
}
