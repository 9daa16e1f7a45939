//! Convolutions and matrix products in single precision.

mod conv;
pub(crate) mod direct;
mod im2col;
mod matmul;
mod panel;

pub use conv::{conv_backward_input, conv_backward_weight, conv_forward};
pub use direct::{FloatThresholds, InputWeights, OutputWeights};
pub use matmul::{Matrix, gemm, par_gemm};
