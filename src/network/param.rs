//! Parameters: what the file's initializers and constants become.

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::graph::NodeId;
use crate::ops::ParamKind;

/// Index of a parameter in [`super::Network::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParamId(pub usize);

/// Where a parameter came from in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The value that the file has.
    pub initial: ArrayD<f32>,
    /// The node inputs `(node, input index)` that read it.
    pub uses: Vec<(NodeId, usize)>,
}

/// A parameter of the network.
#[derive(Debug, Clone)]
pub struct Param {
    /// The tensor's name in the file, or a name made from the layer's for one the file has not.
    pub name: String,
    /// Its value.
    pub value: ArrayD<f32>,
    /// What it is for.
    pub kind: ParamKind,
    /// Where the file reads it; `None` for what exists only in training (masks, latents of a
    /// binary layer: those are written back as the layer's weight).
    pub origin: Option<Origin>,
}
