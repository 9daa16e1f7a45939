//! Which files to check.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;
use walkdir::WalkDir;

/// A path to check at which there is nothing to check.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct FindError {
    /// The path.
    pub path: PathBuf,
    /// Why, and what to do.
    pub reason: String,
}

impl FindError {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The files that `paths` name: files as they are, folders searched for `.onnx` (hidden ones left
/// out, links to folders not followed, links to nothing among them). In the order given, a folder's sorted by name.
///
/// # Errors
/// If a path does not exist or a folder cannot be read, or nothing is found.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FindError> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for path in paths {
        let about = std::fs::metadata(path);
        let about = match about {
            Err(_) if leads_nowhere(path) => None,
            about => Some(about.map_err(|e| FindError::new(path, format!("cannot be read: {e}")))?),
        };
        if about.is_none_or(|a| !a.is_dir()) {
            if seen.insert(plain(path)) {
                files.push(path.clone());
            }
            continue;
        }
        let mut holds_any = false;
        let visible = |e: &walkdir::DirEntry| e.depth() == 0 || !is_hidden(e.file_name());
        let walk = WalkDir::new(path).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(visible) {
            let entry = entry.map_err(|e| {
                let at = e.path().unwrap_or(path).to_owned();
                FindError::new(&at, format!("cannot be read: {e}"))
            })?;
            let file = entry.path();
            if !is_onnx(file) || !(file.is_file() || leads_nowhere(file)) {
                continue;
            }
            holds_any = true;
            if seen.insert(plain(file)) {
                files.push(file.to_owned());
            }
        }
        if !holds_any {
            return Err(FindError::new(
                path,
                "holds no .onnx file; name another folder, or the files themselves",
            ));
        }
    }
    Ok(files)
}

/// A path without `.` in it.
fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts.filter(|c| !matches!(c, Component::CurDir)).collect()
}

/// Whether a path is a link to nothing, as data versioning tools (DVC, git-annex) leave them, or one
/// of links in a circle: a model is missing there.
pub(super) fn leads_nowhere(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink())
        && std::fs::metadata(path).is_err()
}

/// What a file is called in a baseline: its path as given, with `/` between the parts.
pub fn key(path: &Path) -> String {
    let parts = path
        .components()
        .filter(|c| !matches!(c, std::path::Component::CurDir));
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() && !text.ends_with('/') {
            text.push('/');
        }
        match part {
            Component::RootDir => text.push('/'),
            other => text += &other.as_os_str().to_string_lossy(),
        }
    }
    text
}

/// Where a path leads that is read from `folder`, without `.` and `..`; links are not followed.
pub(super) fn place(folder: &Path, path: &Path) -> PathBuf {
    let mut place = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(place.pop()),
            part => place.push(part),
        }
    }
    place
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with('.')
}

fn is_onnx(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_in_order_and_hidden_ones_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/z.onnx", "b/a.ONNX", "b/n.txt", "b/.git/x.onnx", "a.onnx"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        let found = find(&[at("b"), at("a.onnx"), at("b/z.onnx")]).unwrap();
        assert_eq!(found, [at("b/a.ONNX"), at("b/z.onnx"), at("a.onnx")]);
        // A folder of which all was named before.
        let found = find(&[at("b/z.onnx"), at("b"), at("b")]).unwrap();
        assert_eq!(found, [at("b/z.onnx"), at("b/a.ONNX")]);
        // However it is written.
        let found = find(&[at("a.onnx"), at("./a.onnx")]).unwrap();
        assert_eq!(found, [at("a.onnx")]);
        assert!(find(&[at("missing.onnx")]).is_err());
        std::fs::remove_file(at("b/a.ONNX")).unwrap();
        std::fs::remove_file(at("b/z.onnx")).unwrap();
        assert!(
            find(&[at("b")])
                .unwrap_err()
                .to_string()
                .contains("no .onnx")
        );
    }

    #[test]
    fn keys_are_the_same_on_every_system() {
        assert_eq!(key(Path::new("./models/a.onnx")), "models/a.onnx");
        assert_eq!(key(Path::new("../a.onnx")), "../a.onnx");
        #[cfg(unix)]
        assert_eq!(key(Path::new("/x/a.onnx")), "/x/a.onnx");
    }
}
