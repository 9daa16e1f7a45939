//! Is what a run writes something that it reads, or writes as well?

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Place, folder_of};

/// Why files are not written: one of them would be written twice, or is read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Clash(String);

/// A file that a run will write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The argument that names it.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it may be the model that is read.
    pub in_place: bool,
}

/// Which file a path leads to, the same for all its names: links, hard links, other spellings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// Standard output.
    Stdout,
    /// A file that exists: its device and inode.
    Inode(u64, u64),
    /// A file that does not exist yet, or on a system without inodes.
    Path(PathBuf),
}

impl FileId {
    /// Of a file to be written; `None` for devices and pipes, which several outputs may share.
    pub fn of_output(path: &Path) -> Option<Self> {
        match Place::of(path) {
            Ok(Place::Stdout) => Some(Self::Stdout),
            Ok(Place::Stream(_)) => None,
            Ok(Place::File(path)) => Some(Self::behind(&path)),
            Err(_) => Some(Self::behind(path)),
        }
    }

    /// Of a file that is read, if it is there; `None` for folders, devices and pipes.
    pub fn of_input(path: &Path) -> Option<Self> {
        match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => None,
            _ => Some(Self::behind(path)),
        }
    }

    fn behind(path: &Path) -> Self {
        #[cfg(unix)]
        if let Ok(found) = std::fs::metadata(path) {
            use std::os::unix::fs::MetadataExt as _;
            return Self::Inode(found.dev(), found.ino());
        }
        if let Ok(found) = path.canonicalize() {
            return Self::Path(found);
        }
        match (folder_of(path).canonicalize(), path.file_name()) {
            (Ok(folder), Some(name)) => Self::Path(folder.join(name)),
            _ => Self::Path(path.to_owned()),
        }
    }
}

/// Two targets that are one file.
///
/// # Errors
/// With both names.
pub fn clash(targets: &[Target]) -> Result<(), Clash> {
    let mut taken: Vec<(&str, FileId)> = Vec::new();
    for target in targets {
        let Some(id) = FileId::of_output(&target.path) else {
            continue;
        };
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == id) {
            return Err(match id {
                FileId::Stdout => Clash(format!(
                    "{} and {other} would both go to standard output; name a file for one of them",
                    target.name
                )),
                _ => refusal(target, other),
            });
        }
        taken.push((target.name, id));
    }
    Ok(())
}

/// Whether a target is one of the files `read`, which are named `what` in the error.
///
/// # Errors
/// If so.
pub fn overwrites(
    targets: &[Target],
    what: &str,
    read: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<(), Clash> {
    let written: Vec<(&Target, FileId)> = targets
        .iter()
        .filter_map(|t| Some((t, FileId::of_output(&t.path)?)))
        .filter(|(_, id)| !matches!(id, FileId::Stdout))
        .collect();
    if written.is_empty() {
        return Ok(());
    }
    for path in read {
        let Some(id) = FileId::of_input(path.as_ref()) else {
            continue;
        };
        if let Some((target, _)) = written.iter().find(|(_, other)| *other == id) {
            return Err(refusal(target, what));
        }
    }
    Ok(())
}

fn refusal(target: &Target, other: &str) -> Clash {
    Clash(format!(
        "{}: {} would overwrite {other}, which is the same file; name another",
        target.path.display(),
        target.name
    ))
}
