//! Convolutions and matrix products in single precision.
//!
//! [`conv_forward`], [`conv_backward_input`] and [`conv_backward_weight`] take any geometry. Where weights
//! stay the same over many batches, [`OutputWeights`] and [`InputWeights`] hold them as the loops read them.
//! [`FloatThresholds`] make of a layer's output the activations of a binary one.

mod conv;
pub(crate) mod direct;
mod im2col;
mod matmul;
mod panel;

pub use conv::{conv_backward_input, conv_backward_weight, conv_forward};
pub use direct::{FloatThresholds, InputWeights, OutputWeights};
pub use matmul::{Matrix, Product, gemm, par_gemm};
