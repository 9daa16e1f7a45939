//! The heavy loops, on plain slices: what a faster implementation replaces.
//!
//! All of them split the work into fixed chunks that do not depend on the number of threads, and
//! sum partial results in a fixed order: the same bits come out at any thread count.

mod conv;
mod im2col;
mod matmul;
pub mod packed;
pub mod rounded;

pub use conv::{ConvGeometry, conv_backward_input, conv_backward_weight, conv_forward};
pub use matmul::{Matrix, gemm, par_gemm};
