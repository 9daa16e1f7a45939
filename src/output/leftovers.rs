//! Temporary files of runs that were killed while they wrote.

use std::fs::{DirEntry, File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// What the names of temporary files begin with.
pub(super) const PREFIX: &str = ".onnx-bnnprune-";
/// How many letters and digits follow.
const RANDOM: usize = 6;
/// A run locks its temporary file at once; before it has, a file is this young.
const YOUNG: Duration = Duration::from_secs(60);
/// Where there are no locks, nobody writes to one file for this long.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the leftovers in `folder`: plain files with the name of a temporary file of ours, which
/// no process holds locked. What cannot be judged or removed stays.
pub(super) fn remove(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_leftover(&entry) == Some(true) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_leftover(entry: &DirEntry) -> Option<bool> {
    let name = entry.file_name().into_string().ok()?;
    let random = name.strip_prefix(PREFIX)?;
    if random.len() != RANDOM || !random.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    // Of the entry itself: a link is nobody's leftover.
    let about = entry.metadata().ok().filter(|about| about.is_file())?;
    let age = about.modified().ok()?.elapsed().ok()?;
    let file = File::open(entry.path()).ok()?;
    Some(match file.try_lock() {
        Ok(()) => age >= YOUNG,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => age >= OLD,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_files_of_ours_that_nobody_holds_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let hour = SystemTime::now() - Duration::from_secs(3600);
        let make = |name: &str, aged: bool| {
            let file = File::create(at(name)).unwrap();
            if aged {
                file.set_modified(hour).unwrap();
            }
            file
        };
        make(".onnx-bnnprune-Ab12cd", true);
        make(".onnx-bnnprune-Young1", false);
        make(".onnx-bnnprune-notes.txt", true);
        make("model.onnx", true);
        let held = make(".onnx-bnnprune-Held12", true);
        held.lock().unwrap();
        std::fs::create_dir(at(".onnx-bnnprune-folder")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("model.onnx"), at(".onnx-bnnprune-Link12")).unwrap();
        remove(dir.path());
        assert!(!at(".onnx-bnnprune-Ab12cd").exists());
        for name in [
            ".onnx-bnnprune-Young1",
            ".onnx-bnnprune-notes.txt",
            "model.onnx",
            ".onnx-bnnprune-Held12",
            ".onnx-bnnprune-folder",
        ] {
            assert!(at(name).exists(), "{name}");
        }
        assert!(at(".onnx-bnnprune-Link12").exists() || cfg!(not(unix)));
    }
}
