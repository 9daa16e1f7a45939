//! The windows of poolings over planes, and loops over them.

mod phases;
mod windows;

pub use phases::{Phases, max_of_any};
pub use windows::{Axis, NOWHERE, Span, Windows};
