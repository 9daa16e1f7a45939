//! Is a model file fit to ship? The rules of the ONNX standard, a run in ONNX Runtime, and what a
//! baseline pins.
//!
//! [`check_file`] looks at one file and collects [`Finding`]s; what depends on a sound file (the
//! runtime, shapes) is only tried where the rules before it hold.

mod baseline;
mod dims;
mod files;
mod finding;
mod finite;
mod github;
mod junit;
mod render;
mod rules;
mod shapes;
mod stages;
mod summary;

pub use baseline::{Baseline, BaselineError, Pin};
pub use files::{FindError, find, key};
pub use finding::{Finding, Severity};
pub use github::annotations;
pub use junit::{JunitError, junit};
pub use render::render;
pub use stages::{CheckOptions, FileReport, LayerSummary, ModelSummary, check_file, survives};
pub use summary::CheckReport;
