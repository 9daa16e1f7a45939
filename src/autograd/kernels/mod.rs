//! The heavy loops, on plain slices: what a faster implementation replaces.
//!
//! All of them split the work into fixed chunks that do not depend on the number of threads, and
//! sum partial results in a fixed order: the same bits come out at any thread count.

mod conv;
mod direct;
mod grid;
mod im2col;
mod instructions;
mod matmul;
pub mod packed;
mod panel;
pub mod rounded;
pub mod tables;
#[cfg(test)]
mod testing;
mod transpose;

pub use conv::{ConvGeometry, conv_backward_input, conv_backward_weight, conv_forward};
pub use direct::{FloatThresholds, InputWeights, OutputWeights};
pub use matmul::{Matrix, gemm, par_gemm};
pub use tables::binary_weight;

/// The input of a binary layer, `[N, C, H, W]`.
#[derive(Debug, Clone, Copy)]
pub enum Activations<'a> {
    /// As floats.
    Floats(&'a [f32]),
    /// As codes.
    Codes(&'a packed::Codes),
}
