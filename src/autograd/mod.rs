//! The native network: reverse-mode differentiation over the static graph of an ONNX model, on
//! ndarray, with straight-through estimators for the signs of a binary network.
//!
//! [`Network::import`] makes it of a graph. [`Network::forward`] runs steps from a [`Cut`] and
//! leaves a [`Trace`], [`Network::backward`] computes from that the [`Gradients`] of the wanted
//! parameters and nothing else, an [`Optimizer`] applies them, and [`Network::write_back`] puts the
//! trained parameters into the model.
//!
//! Same bits at any number of threads: all parallel loops run over fixed chunks, and all sums have
//! a fixed order.

mod arrays;
mod batch_norm;
mod binary;
mod broadcast;
mod cut;
mod export;
mod fused;
mod import;
mod integer;
pub mod loss;
mod network;
mod ops;
pub mod optim;
mod param;
mod parts;
mod prepared;
mod run;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod value;

pub use batch_norm::{Folded, UnfoldError};
pub use binary::{BinaryId, BinaryWeight, LatentOrigin, ScaleMode};
pub use cut::{Cut, Held};
pub use export::ExportError;
pub use import::ImportError;
pub use integer::Inference;
pub use network::{EditError, Input, MaskSpec, Network, Step, StepId, ValueId};
pub use ops::softmax::Head;
pub use ops::{BatchNorm, Op, ShapeError};
pub use optim::{Optimizer, Rule, Schedule};
pub use param::{Origin, Param, ParamId, ParamKind};
pub use prepared::Prepared;
pub use trace::{Gradients, Mode, Precision, RunError, Trace, Wanted};
