//! Runs the native network, forward and back.
//!
//! A [`Plan`] says once, before anything runs, what runs as one: binary layers on packed
//! activations, chains of elementwise steps, and for inference whole stretches from one binary layer
//! to the next as comparisons of integers. Training and inference are the same plan, the one with
//! records kept for the way back, the other with thresholds. [`Plan::forward`] leaves a [`Trace`],
//! [`Plan::backward`] computes from that the [`Gradients`] of the wanted parameters and nothing else.
//! [`Plan::gradients`] does both over the parts of a [`Batch`], each process of a run having some.
//! [`Inference`] is a plan with its weights, ready to run.
//!
//! Same bits at any number of threads and processes: all parallel loops run over fixed chunks, and all sums
//! have a fixed order.

mod batch;
mod boundary;
mod error;
mod exchange;
mod gradients;
mod inference;
mod lockstep;
mod plan;
mod run;
mod tasks;
mod value;
mod weights;

pub use batch::Batch;
pub use boundary::Boundary;
pub use error::RunError;
pub use gradients::{Gradients, Loss, Precision, Wanted};
pub use inference::Inference;
pub use plan::{Mode, Plan};
pub use run::Trace;
pub use value::Value;
pub use weights::Weights;
