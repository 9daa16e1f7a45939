//! How much may be kept, and what is said where that is too little.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::disk::DiskError;
use crate::progress::Observer;
use crate::subsidiary::Options;

/// What activations of frozen layers took that were kept: the most that they did at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CacheUse {
    /// In memory.
    pub memory_bytes: u64,
    /// In temporary files.
    pub disk_bytes: u64,
}

/// Why values cannot be kept.
#[derive(Debug, Error)]
pub(in crate::subsidiary) enum NotKept {
    /// They take so many bytes, or more; there are fewer.
    #[error(
        "activations of the frozen layers are computed again each epoch: they take {} MiB, more \
         than --cache-mb and --cache-disk-mb allow",
        .0.div_ceil(1 << 20)
    )]
    TooLarge(u64),
    /// The file cannot be made or written.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// Bytes that caches may yet take.
#[derive(Debug)]
pub(in crate::subsidiary) struct Budget {
    memory: u64,
    disk: u64,
    folder: Option<PathBuf>,
}

impl Budget {
    pub(super) fn new(memory: u64, disk: u64, folder: Option<PathBuf>) -> Self {
        Self {
            memory,
            disk,
            folder,
        }
    }

    /// Whether so many bytes fit, part of them on disk.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.memory.saturating_add(self.disk)
    }

    /// Takes memory, if there is as much.
    pub(super) fn take_memory(&mut self, bytes: usize) -> bool {
        take(&mut self.memory, bytes)
    }

    /// Takes room on disk, if there is as much.
    pub(super) fn take_disk(&mut self, bytes: usize) -> bool {
        take(&mut self.disk, bytes)
    }

    /// Where files are to be, if not where the system has them.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }
}

fn take(left: &mut u64, bytes: usize) -> bool {
    let rest = left.checked_sub(bytes as u64);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

/// What a run knows of its caches.
#[derive(Debug, Default)]
pub(in crate::subsidiary) struct Caching {
    most: Cell<CacheUse>,
    /// A disk that failed is not tried again.
    broken: Cell<bool>,
    /// The user knows that there is too little room.
    told: Cell<bool>,
}

impl Caching {
    /// What the caches of a stage may take.
    pub(in crate::subsidiary) fn budget(&self, options: &Options) -> Budget {
        let bytes = |mib: usize| (mib as u64).saturating_mul(1 << 20);
        let disk = match self.broken.get() {
            true => 0,
            false => bytes(options.cache_disk_mb),
        };
        Budget::new(bytes(options.cache_mb), disk, options.cache_dir.clone())
    }

    /// Says, once in a run, why activations are not kept.
    pub(in crate::subsidiary) fn declined(
        &self,
        why: &NotKept,
        options: &Options,
        observer: &dyn Observer,
    ) {
        // Who gives no room at all, or has been told that the disk failed, knows.
        let known = self.broken.get() || (options.cache_mb, options.cache_disk_mb) == (0, 0);
        match why {
            NotKept::Disk(error) => self.failed(error, observer),
            NotKept::TooLarge(_) => {
                if !known && !self.told.replace(true) {
                    observer.note(&why.to_string());
                }
            }
        }
    }

    /// Says, once in a run, that the disk does not work.
    pub(in crate::subsidiary) fn failed(&self, error: &DiskError, observer: &dyn Observer) {
        if !self.broken.replace(true) {
            observer.warn(&format!(
                "activations of the frozen layers cannot be kept in {error}; they are computed again"
            ));
        }
    }

    /// Says, once in a run, that another process has no room.
    pub(in crate::subsidiary) fn failed_elsewhere(&self, rank: usize, observer: &dyn Observer) {
        if !self.told.replace(true) {
            observer.warn(&format!(
                "process {rank} of the run has no room for activations of the frozen layers; all compute them again"
            ));
        }
    }

    /// Counts what the caches of a stage take.
    pub(in crate::subsidiary) fn count(&self, uses: impl Iterator<Item = CacheUse>) {
        let (mut now, most) = (CacheUse::default(), self.most.get());
        for one in uses {
            now.memory_bytes += one.memory_bytes;
            now.disk_bytes += one.disk_bytes;
        }
        self.most.set(CacheUse {
            memory_bytes: most.memory_bytes.max(now.memory_bytes),
            disk_bytes: most.disk_bytes.max(now.disk_bytes),
        });
    }

    /// The most that caches have taken.
    pub(in crate::subsidiary) fn most(&self) -> CacheUse {
        self.most.get()
    }
}
