//! The native network: an ONNX graph as steps and parameters that can be trained.
//!
//! [`Network::import`] makes it of a graph, [`Network::insert_mask`] and its like change its steps, and
//! [`write_back`] puts trained parameters into the model. It says what is computed; how, the
//! [engine](crate::engine) decides.

mod binary_weight;
mod edit;
mod export;
mod form;
mod graph;
mod hidden_norm;
mod import;
mod param;
mod restored;
mod shrink;
mod statistics;
#[cfg(test)]
pub(crate) mod testing;

pub use binary_weight::{BinaryId, BinaryWeight, LatentOrigin, ScaleMode};
pub use edit::{EditError, MaskSpec};
pub use export::{ExportError, write_back};
pub use graph::{Input, Network, Step, StepId, ValueId};
pub use hidden_norm::{HiddenNorm, Moments};
pub use param::{Origin, Param, ParamId};
pub use shrink::{ChannelsOfValues, KeptElements};
