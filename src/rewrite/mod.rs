//! Removing filters: masks written as zeros, and the lossless elimination of every channel that is
//! provably constant or provably unused.
//!
//! [`Analysis`] follows channels through the graph (forward: what is known of each; ties: which can
//! only be cut together), with one rule for each operator in [`rules`]. [`apply_masks`] makes the
//! masked model. [`eliminate()`] plans which channels go (backward: which are read), checks the
//! plan, applies it, and checks the result. Masked and pruned model compute the same.

mod analysis;
mod apply;
mod bounds;
mod classes;
mod constants;
mod cost;
mod decide;
mod did_you_mean;
mod eliminate;
mod even;
mod fold;
mod groups;
mod inference;
mod inserted;
mod liveness;
mod masks;
mod options;
mod other_sizes;
mod outcome;
mod plan;
mod remaining;
mod rules;
mod state;

use thiserror::Error;

pub use analysis::Analysis;
pub use apply::{
    FoldedColumns, Masked, Note, Removal, apply_learned_masks, apply_masks, without_biases,
};
pub use cost::{BitCost, Cost, LayerCost, cost, parameters};
pub(crate) use did_you_mean::did_you_mean;
pub use eliminate::{Eliminated, eliminate, eliminate_with};
pub use groups::{Group, GroupId, MaskSite};
pub use inference::{check_deterministic, to_inference_mode};
pub use masks::{FilterMasks, LayerMask, MasksError};
pub use options::{EliminateOptions, Residual};
pub use outcome::LayerOutcome;
pub use plan::{ChannelMap, ChannelMaps, Plan};
pub use remaining::RemainingChannels;
#[cfg(test)]
pub(crate) use rules::names as operators_with_a_rule;
pub use state::{Known, State};

use crate::graph::{FactsError, GraphError};

/// Why a model cannot be rewritten.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The graph breaks a rule of the standard.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Shapes cannot be inferred.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The masks do not fit the model.
    #[error(transparent)]
    Masks(#[from] MasksError),
    /// A layer whose filters cannot be zeroed.
    #[error("layer '{layer}': cannot be masked: {why}")]
    Unmaskable {
        /// The layer.
        layer: String,
        /// What stands against it.
        why: String,
    },
    /// A model whose outputs are random.
    #[error(
        "node '{node}': Dropout in training mode gives other values in each run: export the model in evaluation mode, or give --inference-mode"
    )]
    Random {
        /// The `Dropout`.
        node: String,
    },
    /// Training mode that cannot be left.
    #[error(
        "node '{node}': BatchNormalization in training mode whose statistics are read: export the model in evaluation mode"
    )]
    Statistics {
        /// The `BatchNormalization`.
        node: String,
    },
    /// The rewritten graph is not what was planned; nothing of it is used.
    #[error("'{at}': the rewritten model is inconsistent ({why}); please report this model")]
    Inconsistent {
        /// A node or tensor.
        at: String,
        /// What differs.
        why: String,
    },
}
