//! Proof: two models compared in a runtime, their accuracy and latency.
//!
//! A [`Runtime`] is ONNX Runtime ([`OrtRuntime`]) or tract (`TractRuntime`, feature `tract`).
//! [`compare()`] applies the pass rule of the design.

mod accuracy;
mod batched;
mod compare;
mod latency;
mod library;
mod ort;
mod runtime;
mod samples;
#[cfg(test)]
mod testing;
#[cfg(feature = "tract")]
mod tract;

pub use accuracy::{Accuracy, accuracy, output_classes, predict};
pub use batched::BatchedSession;
pub use compare::{Comparison, TOLERANCE, compare};
pub use latency::{LatencyOptions, latency_ms};
pub use ort::OrtRuntime;
pub use runtime::{
    NamedTensors, Optimization, Runtime, RuntimeError, Session, SessionOptions, TensorInfo,
};
pub use samples::{Samples, image_input};
#[cfg(feature = "tract")]
pub use tract::TractRuntime;
