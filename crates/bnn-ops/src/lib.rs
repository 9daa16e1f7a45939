//! The operators of binary layers for ONNX Runtime, as a library that it loads: see `docs/operators.md`.
//!
//! The library has one entry point, [`RegisterCustomOps`], which ONNX Runtime calls when a session's options name
//! the library. What an operator is, is one file in [`operators`]; what all need of the runtime is behind a safe
//! interface in [`runtime`]. No panic leaves this crate: each call from the runtime catches it and answers with an
//! error.
#![warn(missing_docs)]

mod definition;
mod operators;
mod register;
mod runtime;

pub use register::RegisterCustomOps;

/// The domain of the operators. A runtime that does not know it names it in its message.
pub const DOMAIN: &str = "onnx-bnnprune/docs/operators.md";

/// Version of the operators.
pub const VERSION: i64 = 1;
