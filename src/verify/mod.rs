//! Proof: two models compared in a runtime, their accuracy and latency.
//!
//! A [`Runtime`] is ONNX Runtime ([`OrtRuntime`]) or tract (`TractRuntime`, feature `tract`).
//! [`verify`] applies the pass rule of the design, ties included.

mod accuracy;
mod batched;
mod compare;
mod confusion;
mod decide;
mod environment;
mod interface;
mod isolated;
mod jump;
mod kept_channels;
mod latency;
mod library;
mod near;
mod operators;
mod ort;
mod pairing;
mod predictions;
mod probe;
mod repeat;
mod rounding;
mod runtime;
mod samples;
mod shift;
mod side;
#[cfg(test)]
mod testing;
mod ties;
#[cfg(test)]
mod ties_tests;
#[cfg(feature = "tract")]
mod tract;
mod trial;
#[cfg(test)]
mod types_tests;
mod verdict;

pub use accuracy::{Accuracy, accuracy, output_classes, predict};
pub use batched::BatchedSession;
pub use compare::{Comparison, OutputStats, Tolerance, compare};
pub use confusion::{Confused, Confusion};
pub use environment::prepare_this_process;
pub use interface::share_names;
pub use isolated::{Isolated, Limits, Program, serve};
pub use kept_channels::KeptChannels;
pub use latency::{Latency, LatencyOptions, latencies, latency_ms};
pub use library::find as find_ort_library;
pub use near::Tie;
pub use operators::{find_operator_library, name_operator_library};
pub use ort::OrtRuntime;
pub use predictions::{Predictions, threshold_of_one_output};
pub use runtime::{
    NamedTensors, Optimization, Runtime, RuntimeError, Session, SessionOptions, TensorInfo,
};
pub use samples::{Samples, image_input};
pub use ties::{Explanation, TieExplainer};
#[cfg(feature = "tract")]
pub use tract::TractRuntime;
pub use trial::{Trial, TrialOutput};
pub use verdict::{Verification, VerifyOptions, verify};
