//! What the inputs of operators are for that do not depend on the data.

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
