//! Parameters: what the file's initializers and constants become.

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::graph::NodeId;

/// Index of a parameter in [`super::Network::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParamId(pub usize);

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamKind {
    /// Float weight of a Conv, Gemm or MatMul.
    Weight,
    /// Bias of a Conv or Gemm.
    Bias,
    /// γ of a BatchNormalization, `[C]`.
    Gamma,
    /// β of a BatchNormalization, `[C]`.
    Beta,
    /// Running mean of a BatchNormalization, `[C]`; estimated, not trained.
    RunningMean,
    /// Running variance of a BatchNormalization, `[C]`; estimated, not trained.
    RunningVariance,
    /// Slope of a PRelu.
    Slope,
    /// A constant operand of an elementwise operator.
    Constant,
    /// Latent weight of a binary layer, clipped to [-1, 1].
    Latent,
    /// Scale of a binary layer, one value per filter.
    Scale,
    /// Mask parameter M of the subsidiary network, one value per filter, clipped to [-1, 1].
    Mask,
}

impl ParamKind {
    /// Whether training the main network changes it.
    pub fn is_main(self) -> bool {
        !matches!(
            self,
            Self::RunningMean | Self::RunningVariance | Self::Constant | Self::Mask
        )
    }

    /// Whether it is kept within [-1, 1].
    pub fn is_clipped(self) -> bool {
        matches!(self, Self::Latent | Self::Mask)
    }
}

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
