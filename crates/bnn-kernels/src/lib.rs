//! The heavy loops of binary neural networks, on plain slices.
//!
//! Binary convolutions and their gradients ([`binary`]), convolutions in single precision ([`float`]),
//! chains of operators that work on single elements ([`elementwise`]), pooling ([`pooling`]), and what
//! these are made of: vector instructions ([`simd`]), memory that is used again ([`buffers`]), loops over
//! fixed chunks ([`parallel`]), values that are computed once ([`lazy`]).
//!
//! All split their work into fixed chunks that do not depend on the number of threads, and sum partial
//! results in a fixed order: the same bits come out at any thread count.
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
