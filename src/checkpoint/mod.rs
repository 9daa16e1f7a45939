//! Checkpoints: what a long run needs to go on after its process has died.
//!
//! A folder holds one checkpoint, which is replaced as a whole: written beside it, synced, renamed.
//! The file says of which run it is, and [`Checkpoint::load`] refuses that of another one.
//!
//! Format `onnx-bnnprune-checkpoint/9`: a line of JSON (format, and the run as a map from names to
//! values), the state in [postcard](https://postcard.jamesmunns.com) (numbers in little-endian
//! order), and the SHA-256 of all that.
#![forbid(unsafe_code)]

mod error;
mod file;
mod folder;

pub use error::CheckpointError;
pub use file::differences;
pub use folder::Folder;
use folder::LOCK;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, sync_folder};

/// The `format` of a checkpoint.
pub const FORMAT: &str = "onnx-bnnprune-checkpoint/9";

const FILE: &str = "checkpoint.bin";
/// The next checkpoint while it is written; a leftover of a killed run is removed.
const TEMPORARY: &str = "checkpoint.tmp";
/// Longest checkpoint read, in bytes.
const MAX_FILE: u64 = 64 << 30;

/// Where a run is saved, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The folder; made if there is none.
    pub folder: PathBuf,
    /// Time between two checkpoints within a phase; after each phase there is one anyway.
    pub every: Duration,
}

/// What a run is made of, in words that a user knows: names (of options, the model, the images)
/// and their values. A checkpoint is continued only by a run that has the same.
pub type Identity = BTreeMap<String, String>;

/// The checkpoint of one run.
#[derive(Debug)]
pub struct Checkpoint {
    folder: Folder,
    every: Duration,
    run: Identity,
    /// When the last one was written, or the run began.
    written: Instant,
}

impl Checkpoint {
    /// The checkpoint of the run `run` in a folder, written about once in `every`.
    pub fn new(folder: Folder, every: Duration, run: Identity) -> Self {
        Self {
            folder,
            every,
            run,
            written: Instant::now(),
        }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// Whether it is time for the next one.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= self.every
    }

    /// The state in which the run was interrupted; `None` if there is no checkpoint.
    ///
    /// # Errors
    /// If the checkpoint is damaged, of another format or of another run, or cannot be read.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, CheckpointError> {
        let path = self.path();
        let bytes = match files::read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Read { path, source }),
        };
        file::decode(&path, &bytes, &self.run).map(Some)
    }

    /// Saves the run; the checkpoint before stays until this one is complete.
    ///
    /// # Errors
    /// If it cannot be written: the one before is still there then.
    pub fn save(&mut self, state: &impl Serialize) -> Result<(), CheckpointError> {
        let temporary = self.folder.path().join(TEMPORARY);
        let path = self.path();
        let written = file::write_new(&temporary, &self.run, state)
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(source) = written {
            // Whatever there is of it takes up space that the user may lack.
            let _ = std::fs::remove_file(&temporary);
            return Err(CheckpointError::Write { path, source });
        }
        sync_folder(self.folder.path());
        self.written = Instant::now();
        Ok(())
    }

    /// The error of a checkpoint whose state does not fit the run it says it is of.
    pub fn unfit(&self) -> CheckpointError {
        CheckpointError::damaged(&self.path(), "its state does not fit the model")
    }
}

/// The files that a checkpoint in `folder` consists of, whether they are there or not.
pub fn files(folder: &Path) -> [PathBuf; 3] {
    [FILE, TEMPORARY, LOCK].map(|name| folder.join(name))
}

/// Whether the folder holds a checkpoint.
pub fn exists(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// Removes the checkpoint of a run that is done. The folder stays.
///
/// # Errors
/// If there is one that cannot be removed.
pub fn remove(folder: &Path) -> Result<(), CheckpointError> {
    for name in [TEMPORARY, FILE] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(CheckpointError::Remove { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
