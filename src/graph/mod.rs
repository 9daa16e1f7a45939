//! An indexed, read-only view of a model's graph, what can be inferred about its tensors, and
//! edits.
//!
//! Nobody edits through the view: a rewrite reads it, makes a plan that owns its data, and then
//! applies the plan to the [`ModelProto`] with the functions of [`edit`].

mod branches;
mod budget;
pub mod edit;
mod elements;
mod eval;
mod facts;
mod index;
mod mode;
mod node;
mod operand;
mod product;
mod quantizer;
pub mod scalar;
mod shapes;
mod single;

pub(crate) use eval::{evaluate, integer_range};
pub use facts::{Facts, FactsError};
pub use index::{Graph, GraphError, NodeId, TensorId, Use};
pub use mode::is_training;
pub(crate) use node::is_qonnx_domain;
pub use node::{Node, OPS_DOMAIN, normalize_axis};
pub use operand::operand_name;
pub use product::{ProductAxes, WeightsAt};
pub use quantizer::{Quantizer, Rounding};
pub(crate) use shapes::{Stretch, scaled_axes, split_sizes, stretches};
pub use shapes::{Window, broadcast};

#[allow(unused_imports)] // for the link in the module's documentation
use crate::onnx::proto::ModelProto;
