//! An operator as a convolution, in the terms of the kernels.

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{Codes, WeightStrides};
use ndarray::ArrayD;

use crate::arrays::slice;

/// An operator as a convolution: `y = alpha · scale · Σ x·w + beta · bias`.
#[derive(Debug, Clone)]
pub struct ConvolutionForm {
    /// Its sizes.
    pub geometry: ConvGeometry,
    /// Where the weights lie.
    pub strides: WeightStrides,
    /// Shape of the output.
    pub output: Vec<usize>,
    /// Factor of the products (an attribute of `Gemm`).
    pub alpha: f32,
    /// Factor of the bias (an attribute of `Gemm`).
    pub beta: f32,
}

impl ConvolutionForm {
    /// `[N, C, H, W]` of the input as codes.
    pub fn input(&self) -> [usize; 4] {
        let g = &self.geometry;
        [g.batch, g.channels, g.height, g.width]
    }

    /// An input as codes; `None` if it holds anything but -1, 0 and +1.
    pub fn pack(&self, x: &ArrayD<f32>) -> Option<Codes> {
        Codes::pack(slice(x), self.input())
    }

    /// Products of a sum, at most.
    pub fn fan_in(&self) -> usize {
        let g = &self.geometry;
        g.channels / g.groups * g.kernel[0] * g.kernel[1]
    }

    /// Whether weights lie as those of a `Conv`, and nothing is multiplied with but their scale.
    pub fn is_plain(&self) -> bool {
        let g = &self.geometry;
        let area = g.kernel[0] * g.kernel[1];
        let strides = [self.strides.filter, self.strides.channel];
        strides == [g.channels * area, area] && self.alpha == 1.0 && self.beta == 1.0
    }
}
