//! Which channels of a reference's tensors a candidate still has.

use std::collections::{HashMap, HashSet};

/// What differs between a reference and a candidate on purpose.
///
/// For tensors of the candidate that lost channels: where their channels lie in the reference's
/// tensor of the same name. A tensor that is not listed has all its channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptChannels {
    kept: HashMap<String, (usize, Vec<usize>)>,
    rescaled: HashSet<String>,
}

impl KeptChannels {
    /// Says that `tensor` has, along `axis`, the channels `kept` of the reference, in this order.
    pub fn insert(&mut self, tensor: impl Into<String>, axis: usize, kept: Vec<usize>) {
        self.kept.insert(tensor.into(), (axis, kept));
    }

    /// Says that the candidate decides `tensor`, the output of a binariser, on a sum in other units
    /// than the reference.
    pub fn rescale(&mut self, tensor: impl Into<String>) {
        self.rescaled.insert(tensor.into());
    }

    pub(super) fn is_rescaled(&self, tensor: &str) -> bool {
        self.rescaled.contains(tensor)
    }

    /// The axis along which `tensor` lost channels, and those that it has.
    pub(super) fn kept(&self, tensor: &str) -> Option<&(usize, Vec<usize>)> {
        self.kept.get(tensor)
    }
}
