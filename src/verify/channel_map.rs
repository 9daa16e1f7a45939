//! Which channels of a reference's tensors a candidate still has.

use std::collections::HashMap;

use ndarray::{ArrayD, Axis};

/// For tensors of the candidate that lost channels: where their channels lie in the reference's
/// tensor of the same name. A tensor that is not listed has all its channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelMap {
    kept: HashMap<String, (usize, Vec<usize>)>,
}

impl ChannelMap {
    /// Says that `tensor` has, along `axis`, the channels `kept` of the reference, in this order.
    pub fn insert(&mut self, tensor: impl Into<String>, axis: usize, kept: Vec<usize>) {
        self.kept.insert(tensor.into(), (axis, kept));
    }

    /// The part of the reference's value of `tensor` that the candidate has; `None` where the map
    /// does not fit the value.
    pub(super) fn restrict(&self, tensor: &str, value: &ArrayD<f32>) -> Option<ArrayD<f32>> {
        let Some((axis, kept)) = self.kept.get(tensor) else {
            return Some(value.clone());
        };
        let channels = *value.shape().get(*axis)?;
        let fits = kept.iter().all(|&channel| channel < channels);
        fits.then(|| value.select(Axis(*axis), kept))
    }
}
