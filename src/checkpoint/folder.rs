//! The folder, and that no two runs use it at once.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CheckpointError;

/// Held by the run that uses the folder, and removed when it ends.
pub(super) const LOCK: &str = "lock";
/// A lock that others remove this often while it is taken is not to be had.
const TRIES: usize = 100;
/// A run that is killed may leave its lock to a process that it was about to start, for some milliseconds: so often
/// is it looked at again, and after so long.
const WAITS: usize = 5;
const WAIT: Duration = Duration::from_millis(20);

/// A checkpoint folder, locked for this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held until it is dropped, or the process dies.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or written to, or another run uses it, or `lock` in it is no plain file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let unusable = |source| CheckpointError::Folder {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let mut waits = 0;
        for _ in 0..TRIES {
            let lock = open_lock(&path.join(LOCK)).map_err(unusable)?;
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) if waits < WAITS => {
                    waits += 1;
                    std::thread::sleep(WAIT);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(CheckpointError::Busy {
                        path: path.to_owned(),
                    });
                }
                // Some network file systems have no locks: then the user has to take care.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Another run may have removed it, at its end, since it was opened.
            if is_at(&lock, &path.join(LOCK)) {
                return Ok(Self {
                    path: path.to_owned(),
                    _lock: lock,
                });
            }
        }
        Err(CheckpointError::Busy {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // While it is still held. What stays behind is empty, and harms nobody.
        let _ = std::fs::remove_file(self.path.join(LOCK));
    }
}

/// The lock file, made if it is not there and left as it is otherwise. No link is followed: it
/// may have been put there to have a file elsewhere made.
fn open_lock(path: &Path) -> io::Result<File> {
    let refuse = || {
        io::Error::new(
            ErrorKind::InvalidInput,
            "'lock' in it is no plain file; remove it",
        )
    };
    match std::fs::symlink_metadata(path) {
        Ok(about) if !about.is_file() => return Err(refuse()),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // A link that was put there since then.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits() as i32);
    }
    let lock = options.open(path)?;
    match lock.metadata()?.is_file() {
        true => Ok(lock),
        false => Err(refuse()),
    }
}

/// Whether `file` is what `path` leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &Metadata, b: &Metadata| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        }
        #[cfg(not(unix))]
        {
            // A file that is open is not removed there.
            let _ = (a, b);
            true
        }
    };
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => same(&a, &b),
        _ => false,
    }
}
