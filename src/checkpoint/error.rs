//! Why a checkpoint cannot be used.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::FORMAT;

/// Why a run cannot be saved, or not be continued.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The folder cannot be made or written to.
    #[error("{}: cannot be used for checkpoints: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the folder locked.
    #[error("{}: another run uses this folder for its checkpoints; name another with --checkpoint", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused to write; the checkpoint before is still there.
    #[error("{}: the checkpoint cannot be written: {source}; once that is solved, the same command continues from the one before", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file system refused to read.
    #[error("{}: the checkpoint cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The checkpoint of a finished run cannot be removed.
    #[error("{}: the checkpoint cannot be removed: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error("{}: the checkpoint is damaged ({what}); remove it to start from the beginning", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        what: &'static str,
    },
    /// Written by another version of the tool, in another format.
    #[error("{}: the checkpoint has format '{found}', this version reads '{FORMAT}'; continue with the version that wrote it, or remove it to start from the beginning", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: String,
    },
    /// The checkpoint of another run.
    #[error("{}: the checkpoint is of another run: {differences}; run the command that it was made with, or name another folder, or remove it to start from the beginning", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs, with both values.
        differences: String,
    },
}

impl CheckpointError {
    /// The folder, or the file in it.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder { path, .. }
            | Self::Busy { path }
            | Self::Write { path, .. }
            | Self::Read { path, .. }
            | Self::Remove { path, .. }
            | Self::Damaged { path, .. }
            | Self::Format { path, .. }
            | Self::OtherRun { path, .. } => path,
        }
    }

    pub(super) fn damaged(path: &Path, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what,
        }
    }
}
