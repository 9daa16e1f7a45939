//! Prunes binary neural networks (weights and activations ±1) stored as ONNX.
//!
//! The pipeline, a module a step:
//! [`onnx`] reads and writes the file, [`graph`] indexes it, [`operators`] says what is known of each
//! operator, [`recognize`] finds the binary layers, [`network`] holds what can be trained, in terms of
//! the operators in [`ops`], [`engine`] runs it forward and back, [`training`] has losses and
//! optimisers, [`subsidiary`] learns which
//! filters to keep, [`rewrite`] masks and removes the others, [`verify`] compares the result
//! in a runtime, [`report`] says so, [`screen`] lays out what people read, [`check`] validates files. [`data`] supplies the images,
//! `synthesis` makes some where there are none;
//! [`distributed`] is how processes share a run;
//! `printable` makes text safe to print; [`forms`] are what a network can be written as, [`qonnx`] writes QONNX files as
//! standard ONNX for runtimes, `runnable` what else a runtime lacks; `sizes` fills free
//! dimensions; [`checkpoint`] keeps long runs; `files` reads files that others have put there,
//! `output` writes files whole; [`cli`] is the command.
//!
//! Filters out of a model, and the model that is left:
//!
//! ```
//! use onnx_bnnprune::onnx::Model;
//! use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};
//!
//! let model = Model::load("fixtures/digits_vgg.onnx".as_ref())?.proto;
//! let mut masks = FilterMasks::default();
//! masks.prune("/conv2/Conv", 48, [3, 5, 8]);
//! let masked = apply_masks(&model, &masks, Removal::Drop)?.model;
//! let pruned = eliminate(&masked)?;
//! let conv2 = pruned.layers.iter().find(|l| l.name == "/conv2/Conv");
//! assert_eq!(conv2.map(|l| l.kept.len()), Some(45));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A model as a native network, and its logits for a batch of images:
//!
//! ```
//! use ndarray::ArrayD;
//! use onnx_bnnprune::engine::Inference;
//! use onnx_bnnprune::network::Network;
//! use onnx_bnnprune::onnx::Model;
//! use onnx_bnnprune::pipeline::View;
//!
//! let path = "fixtures/digits_vgg.onnx".as_ref();
//! let model = Model::load(path)?.proto;
//! let view = View::new(path, &model)?;
//! let network = Network::import(&view.graph, &view.facts, &view.layers)?;
//! let images = ArrayD::zeros([&[16], network.input_shape()].concat());
//! assert_eq!(Inference::of(&network).infer(images)?.shape(), [16, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]
// What needs it is in bnn-kernels.
#![deny(unsafe_code)]

mod arrays;
mod bisection;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod distributed;
pub mod engine;
pub mod error;
mod files;
pub mod forms;
pub mod graph;
pub mod network;
pub mod normalise;
pub mod onnx;
pub mod operators;
pub mod ops;
mod output;
pub mod page;
pub mod pipeline;
mod printable;
pub mod progress;
pub mod qonnx;
pub mod recognize;
pub mod report;
pub mod rewrite;
mod runnable;
pub mod screen;
mod sizes;
mod stopwatch;
pub mod subsidiary;
mod synthesis;
pub mod training;
pub mod verify;
