//! Prunes binary neural networks (weights and activations ±1) stored as ONNX.
//!
//! The pipeline, a module a step:
//! [`onnx`] reads and writes the file, [`graph`] indexes it, [`operators`] says what is known of each
//! operator, [`recognize`] finds the binary
//! layers, [`autograd`] runs and differentiates the network, [`subsidiary`] learns which
//! filters to keep, [`rewrite`] masks and removes the others, [`verify`] compares the result
//! in a runtime, [`report`] says so, [`check`] validates files. [`data`] supplies the images;
//! [`printable`] makes text safe to print; [`qonnx`] writes QONNX files as
//! standard ONNX for runtimes, [`runnable`] what else a runtime lacks; [`sizes`] fills free
//! dimensions; [`checkpoint`] keeps long runs; [`files`] reads files that others have put there,
//! [`output`] writes files whole.
#![warn(missing_docs)]
// The kernels alone are let off.
#![deny(unsafe_code)]

pub mod autograd;
mod bisection;
pub mod check;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod files;
pub mod graph;
pub mod normalise;
pub mod onnx;
pub mod operators;
pub mod output;
pub mod pipeline;
pub mod printable;
pub mod progress;
pub mod qonnx;
pub mod recognize;
pub mod report;
pub mod rewrite;
pub mod runnable;
pub mod sizes;
pub mod subsidiary;
pub mod verify;
