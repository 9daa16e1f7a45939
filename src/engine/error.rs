//! Why a run fails.

use thiserror::Error;

use crate::distributed::Absent;

/// Why a run failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// An operator was given shapes that do not fit.
    #[error("node '{node}' ({op}): {reason}")]
    Step {
        /// The node's name.
        node: String,
        /// The operator.
        op: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The input has another shape than the model's.
    #[error("an input of shape {given:?} for a model that takes [N, {}]", shape_text(.expected))]
    InputShape {
        /// As given, with the batch.
        given: Vec<usize>,
        /// One sample of the model's input.
        expected: Vec<usize>,
    },
    /// A step reads a value that the run was not given.
    #[error("node '{node}': reads a value that is not among those the run started from")]
    Missing {
        /// The node's name.
        node: String,
    },
    /// The network has got other steps since the plan was made.
    #[error("the plan is of a network with other steps")]
    OtherNetwork,
    /// Another process of the run has failed.
    #[error(transparent)]
    Absent(#[from] Absent),
}

fn shape_text(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    dims.join(", ")
}
