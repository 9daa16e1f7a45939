//! Every way the pipeline can fail, with its exit code.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::check::{BaselineError, FindError, JunitError};
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::distributed::Absent;
use crate::graph::{FactsError, GraphError};
use crate::onnx::{LoadError, SaveError};
use crate::ops::ImportError;
use crate::output::Clash;
use crate::qonnx::LowerError;
use crate::rewrite::{MasksError, RewriteError};
use crate::subsidiary::TrainError;
use crate::verify::RuntimeError;

/// Why a job was not done. One line each: file, node, remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A model file that cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file that cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A graph that breaks the rules of ONNX.
    #[error("{}: {source}", path.display())]
    Graph {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        source: GraphError,
    },
    /// A graph of which too little is known.
    #[error("{}: {source}", path.display())]
    Facts {
        /// The model.
        path: PathBuf,
        /// What is missing.
        source: FactsError,
    },
    /// A graph that the native network cannot run or train.
    #[error("{}: {source}", path.display())]
    Import {
        /// The model.
        path: PathBuf,
        /// The node and why.
        source: ImportError,
    },
    /// Masks that do not fit, or a graph that cannot be rewritten.
    #[error("{}: {source}", path.display())]
    Rewrite {
        /// The model, or the masks file.
        path: PathBuf,
        /// What is wrong.
        source: RewriteError,
    },
    /// A masks file that cannot be read or written.
    #[error(transparent)]
    Masks(#[from] MasksError),
    /// Images that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A runtime that is missing, or fails on a model that is yet to be named ([`Error::about`]).
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A QONNX model that has no form in standard operators.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A model that a runtime cannot load or run.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The model.
        path: PathBuf,
        /// What the runtime said.
        source: RuntimeError,
    },
    /// Input that does not fit: model and data, or model and job.
    #[error("{}: {reason}", path.display())]
    Unsuitable {
        /// The file or folder.
        path: PathBuf,
        /// Why, and the remedy.
        reason: String,
    },
    /// A baseline that cannot be read.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Findings that cannot be written as JUnit.
    #[error(transparent)]
    Junit(#[from] JunitError),
    /// A checkpoint that cannot be read, written or continued.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The pruned model cannot be compared with the masked model: the runtime refuses it, or it
    /// has other outputs.
    #[error("{0}")]
    Verification(String),
    /// A network that training has ruined.
    #[error("{0}")]
    Ruined(String),
    /// What failed behind learning, and where that is kept.
    #[error("{source}; {note}")]
    Kept {
        /// What failed.
        source: Box<Error>,
        /// Where the learned network is, and how to go on.
        note: String,
    },
    /// Another process of the run has failed.
    #[error("{0}; nothing was written")]
    Absent(#[from] Absent),
    /// The same, with a checkpoint in this folder.
    #[error(
        "{who}; the output was not written; the same command, with any number of processes, continues from the checkpoint in {}",
        folder.display()
    )]
    AbsentPaused {
        /// Which process.
        who: Absent,
        /// The checkpoint's folder.
        folder: PathBuf,
    },
    /// Stopped by the user.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// Stopped by the user while learning was not saved.
    #[error(
        "interrupted; nothing was written; with --checkpoint DIR, the same command would go on from where it was stopped"
    )]
    Unsaved,
    /// Stopped by the user, with a checkpoint in this folder.
    #[error(
        "interrupted; the output was not written; run the same command again to continue from the checkpoint in {}",
        .0.display()
    )]
    Paused(PathBuf),
}

impl From<FindError> for Error {
    fn from(e: FindError) -> Self {
        Self::unsuitable(&e.path, e.reason)
    }
}

impl From<Clash> for Error {
    fn from(e: Clash) -> Self {
        Self::Usage(e.to_string())
    }
}

impl Error {
    /// Why learning stopped; `path` leads to the file that it is about.
    pub fn of_training(stopped: TrainError, path: &Path) -> Self {
        match stopped {
            TrainError::Interrupted => Self::Interrupted,
            TrainError::Absent(e) => Self::Absent(e),
            TrainError::Checkpoint(e) => Self::Checkpoint(e),
            TrainError::Data(e) => e.into(),
            other => Self::unsuitable(path, other.to_string()),
        }
    }

    /// Input at `path` that does not fit, and why.
    pub fn unsuitable(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsuitable {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// Names the model that a runtime failed on; any other error, and a verdict on a comparison's
    /// candidate, stays as it is.
    pub fn about(self, model: &Path) -> Self {
        match self {
            missing @ Self::Runtime(RuntimeError::Missing(_)) => missing,
            verdict @ Self::Runtime(RuntimeError::Candidate(_)) => verdict,
            Self::Runtime(RuntimeError::Images(e)) => Self::Data(e),
            Self::Runtime(source) => Self::Refused {
                path: model.to_owned(),
                source,
            },
            Self::Lower(e) => Self::unsuitable(model, e.to_string()),
            Self::Kept { source, note } => Self::Kept {
                source: Box::new(source.about(model)),
                note,
            },
            other => other,
        }
    }

    /// The error where the user has stopped the job meanwhile: what a runtime or a comparison says of
    /// that is not their fault.
    pub fn unless_stopped(self, stopped: bool) -> Self {
        match self {
            Self::Runtime(_) | Self::Refused { .. } | Self::Verification(_) if stopped => {
                Self::Interrupted
            }
            other => other,
        }
    }

    /// The file or folder that it is about, where there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Load(e) => Some(e.path()),
            Self::Save(SaveError::Io { path, .. } | SaveError::Stream { path })
            | Self::Graph { path, .. }
            | Self::Facts { path, .. }
            | Self::Import { path, .. }
            | Self::Rewrite { path, .. }
            | Self::Refused { path, .. }
            | Self::Unsuitable { path, .. }
            | Self::AbsentPaused { folder: path, .. }
            | Self::Paused(path) => Some(path),
            Self::Masks(e) => e.file(),
            Self::Data(e) => e.file(),
            Self::Checkpoint(e) => Some(e.path()),
            Self::Baseline(e) => Some(e.path()),
            Self::Kept { source, .. } => source.file(),
            Self::Runtime(_)
            | Self::Lower(_)
            | Self::Junit(_)
            | Self::Usage(_)
            | Self::Verification(_)
            | Self::Ruined(_)
            | Self::Absent(_)
            | Self::Interrupted
            | Self::Unsaved => None,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kept { source, .. } => source.exit_code(),
            Self::Verification(_) | Self::Ruined(_) | Self::Runtime(RuntimeError::Candidate(_)) => {
                1
            }
            Self::Runtime(RuntimeError::Missing(_)) => 3,
            Self::Interrupted | Self::Unsaved | Self::Paused(_) => 130,
            _ => 2,
        }
    }
}
