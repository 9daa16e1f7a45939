//! The heavy loops of binary neural networks, on plain slices: no graph, no tensor type, no ONNX.
//!
//! - [`binary`]: convolutions of activations in {-1, 0, +1} with weights of ±1, and their gradients;
//! - [`float`]: convolutions and matrix products in single precision;
//! - [`elementwise`]: chains of operators on single elements (ReLU, BatchNormalization, sign, mask), run as
//!   one, forward and backward;
//! - [`pooling`]: the largest and the mean element of windows;
//! - what these are made of: vector instructions ([`simd`]), memory that is used again ([`buffers`]), loops
//!   over fixed chunks ([`parallel`]), values that are computed once ([`lazy`]).
//!
//! Tensors are row-major slices; a comment such as `[N, C, H, W]` is a slice's shape: N images of C channels of
//! H rows of W pixels. Sizes come in a [`ConvGeometry`]. A function panics if a slice has another size than it
//! says, and reads or writes nothing out of bounds whatever it is given.
//!
//! All run on rayon's current thread pool. They split their work into fixed chunks that do not depend on the
//! number of threads, and sum partial results in a fixed order: the same bits come out at any thread count.
//! Between processors the last bits of single precision may differ, as some multiply and add in one rounding;
//! integers are exact everywhere.
//!
//! # Example
//!
//! A binary layer, from floats to floats and to the next layer's activations:
//!
//! ```
//! use bnn_kernels::ConvGeometry;
//! use bnn_kernels::binary::{
//!     Codes, SignWeight, Thresholds, WeightStrides, forward_codes, forward_scaled, supports,
//! };
//!
//! // One image of two channels, 1 × 3 pixels; two filters of one pixel.
//! let g = ConvGeometry {
//!     batch: 1,
//!     channels: 2,
//!     height: 1,
//!     width: 3,
//!     filters: 2,
//!     out_height: 1,
//!     out_width: 3,
//!     kernel: [1, 1],
//!     stride: [1, 1],
//!     dilation: [1, 1],
//!     pad: [0, 0],
//!     groups: 1,
//! };
//! assert!(supports(&g));
//! let x = [1.0, -1.0, 0.0, 1.0, 1.0, -1.0];
//! let codes = Codes::pack(&x, [1, 2, 1, 3]).expect("nothing but -1, 0 and +1");
//! // Latent weights [O, C, kH, kW]: their signs count.
//! let strides = WeightStrides { filter: 2, channel: 1 };
//! let weight = SignWeight::pack(&[0.3, 0.7, 0.2, -0.1], strides, &g, false).expect("no zeros");
//!
//! let mut y = [0.0; 6];
//! forward_scaled(&g, &codes, &weight, &[0.5, 2.0], &[0.0, 1.0], &mut y);
//! assert_eq!(y, [1.0, 0.0, -0.5, 1.0, -3.0, 3.0]);
//!
//! // The signs of the same output, with sign(0) = +1: y ≥ 0 is a threshold on the integer sum.
//! let thresholds = Thresholds {
//!     direction: vec![1, 1],
//!     not_negative: vec![0, 0],
//!     positive: vec![0, 0],
//! };
//! let next = forward_codes(&g, &codes, &weight, None, &thresholds);
//! assert_eq!(next.unpack(), [1.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
//! ```
#![warn(missing_docs)]

pub mod binary;
pub mod buffers;
pub mod elementwise;
pub mod float;
mod geometry;
pub mod lazy;
mod padded_grid;
pub mod parallel;
pub mod pooling;
pub mod simd;
#[cfg(test)]
mod testing;
mod transpose;

pub use geometry::ConvGeometry;
