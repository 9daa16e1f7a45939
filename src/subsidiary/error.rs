//! Why training stops.

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::distributed::Absent;
use crate::engine::RunError;
use crate::network::EditError;
use crate::training::RestoreError;

/// Why training stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The network cannot be run on these images.
    #[error("{0}")]
    Run(#[source] RunError),
    /// The masks cannot be put where the plan says.
    #[error("{0}")]
    Edit(#[from] EditError),
    /// A BatchNormalization that the file's form hides cannot be put back.
    #[error("{0}")]
    Restore(#[from] RestoreError),
    /// An image can no longer be read.
    #[error("{0}")]
    Data(#[from] DataError),
    /// The loss is no longer a number.
    #[error("training diverged (the loss is {0}); a smaller --main-lr or --mask-lr may help")]
    Diverged(f32),
    /// Model and data do not fit each other.
    #[error("{0}")]
    Mismatch(String),
    /// The run cannot be saved, or not continued.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
    /// Another process of the run has failed.
    #[error(transparent)]
    Absent(Absent),
}

impl From<Absent> for TrainError {
    fn from(e: Absent) -> Self {
        Self::Absent(e)
    }
}

impl From<RunError> for TrainError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Absent(e) => Self::Absent(e),
            e => Self::Run(e),
        }
    }
}
