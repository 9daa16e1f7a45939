//! Where ONNX Runtime's shared library is, and whether it is whole.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::environment::{absolute_entries, command};
use super::runtime::RuntimeError;
use crate::files;

/// What a user does when ONNX Runtime is missing.
#[cfg(feature = "tract")]
pub(super) const REMEDY: &str = "install it with `pip install onnxruntime` (1.17 or later), or name its shared library with --ort-lib or ORT_DYLIB_PATH, or give --runtime tract (or auto), which is built in";
/// What a user does when ONNX Runtime is missing.
#[cfg(not(feature = "tract"))]
pub(super) const REMEDY: &str = "install it with `pip install onnxruntime` (1.17 or later), or name its shared library with --ort-lib or ORT_DYLIB_PATH";

/// Every build of the library is larger.
const SMALLEST: u64 = 1 << 20;

/// So much of the library holds the names of its symbols' versions.
const FRONT: u64 = 4 << 20;

/// The path of ONNX Runtime's shared library: `explicit` (`--ort-lib`), else `ORT_DYLIB_PATH`, each
/// of which may name the file or a folder that holds it; else the first that is found in `installed`,
/// or where there is no such folder, beside the executable or in an installed Python's `onnxruntime`;
/// else the bare name, which the system's loader knows how to find.
///
/// Nothing in the current folder or above it is looked at: whoever unpacks an archive of models and
/// works there must not run what the archive brings along.
///
/// # Errors
/// [`RuntimeError::Missing`] if a place named by the user has no usable library, or the only ones
/// that are found are broken.
pub fn find(explicit: Option<&Path>, installed: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let variable = std::env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty());
    let named = match (explicit, &variable) {
        (Some(path), _) => Some(("--ort-lib", path.to_owned())),
        (None, Some(path)) => Some(("ORT_DYLIB_PATH", PathBuf::from(path))),
        (None, None) => None,
    };
    if let Some((source, path)) = named {
        let file = match path.is_dir() {
            true => libraries_in(&path).into_iter().next(),
            false => Some(path.clone()),
        };
        let found = match file {
            Some(file) => check(&file).map(|()| absolute(file)),
            None => Err("the folder holds no ONNX Runtime library".to_owned()),
        };
        return found.map_err(|reason| {
            RuntimeError::Missing(format!("{source}: {}: {reason}; {REMEDY}", path.display()))
        });
    }
    let mut broken = None;
    for folder in folders(installed) {
        for path in libraries_in(&folder) {
            match check(&path) {
                Ok(()) => return Ok(absolute(path)),
                Err(reason) => broken = broken.or(Some((path, reason))),
            }
        }
    }
    match broken {
        Some((path, reason)) => Err(RuntimeError::Missing(format!(
            "ONNX Runtime: {}: {reason}; {REMEDY}",
            path.display()
        ))),
        // The loader knows places that a program can't list.
        None => Ok(PathBuf::from(library_name())),
    }
}

/// Folders that may hold the library, in order. The last one costs a process, so it is asked for
/// only when the others are exhausted.
fn folders(installed: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = executable.and_then(|path| path.parent().map(Path::to_owned));
    let other = installed.is_none();
    installed
        .map(Path::to_owned)
        .into_iter()
        .chain(beside.filter(|_| other))
        .chain(std::iter::once_with(move || other.then(python_folder).flatten()).flatten())
}

/// The folder of an installed Python's `onnxruntime`, without importing it.
///
/// Isolated mode (`-I`) leaves out the current folder, `PYTHONPATH` and the user's own packages;
/// these last ones are put back.
fn python_folder() -> Option<PathBuf> {
    const SCRIPT: &str = "import importlib.util as u, os, site, sys
user = site.getusersitepackages()
if os.path.isabs(user) and os.path.isdir(user): sys.path.append(user)
s = u.find_spec('onnxruntime')
print(s.submodule_search_locations[0] if s else '')";
    let name = if cfg!(windows) {
        "python.exe"
    } else {
        "python3"
    };
    let here = std::env::current_dir()
        .and_then(|here| here.canonicalize())
        .ok()?;
    let path = absolute_entries(&std::env::var_os("PATH")?)?;
    let elsewhere = |folder: &PathBuf| folder.canonicalize().is_ok_and(|real| real != here);
    let interpreter = std::env::split_paths(&path)
        .filter(elsewhere)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())?;
    let mut python = command(&interpreter);
    // Version managers put scripts in Python's place that need these.
    for name in [
        "HOME",
        "USERPROFILE",
        "APPDATA",
        "PYENV_ROOT",
        "PYENV_VERSION",
    ] {
        if let Some(value) = std::env::var_os(name) {
            python.env(name, value);
        }
    }
    let output = python
        .env("PATH", path)
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let package = Path::new(text.trim());
    let installed = output.status.success()
        && package.is_absolute()
        && package.parent().and_then(|p| p.canonicalize().ok())? != here;
    installed.then(|| package.join("capi"))
}

/// What the system's loader calls it.
pub(super) fn library_name() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")
}

/// Files of `folder` that are named as the library is: `libonnxruntime.so`, `.so.1.20.0`,
/// `libonnxruntime.1.20.0.dylib`, `onnxruntime.dll`. The plain name comes first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let plain = library_name();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_library(name))
        .collect();
    names.sort_by_key(|name| (*name != plain, name.clone()));
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn is_library(name: &str) -> bool {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let stem = format!("{DLL_PREFIX}onnxruntime");
    let Some(rest) = name.strip_prefix(stem.as_str()) else {
        return false;
    };
    rest == DLL_SUFFIX
        || rest.starts_with(&format!("{DLL_SUFFIX}."))
        || (rest.starts_with('.') && rest.ends_with(DLL_SUFFIX))
}

/// Checks that the file is a whole library: mapping one that is cut short kills the process.
fn check(path: &Path) -> Result<(), String> {
    let mut file = files::open(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    if size < SMALLEST {
        return Err(format!(
            "{size} bytes are too few for ONNX Runtime's library"
        ));
    }
    let mut header = [0u8; 64];
    file.read_exact(&mut header).map_err(|e| e.to_string())?;
    match elf_end(&header) {
        Some(end) if end > u128::from(size) => Err(format!(
            "the library is cut short ({size} bytes of at least {end})"
        )),
        _ => Ok(()),
    }
}

/// Where the section headers of a little-endian 64-bit ELF file end, which linkers put last.
fn elf_end(header: &[u8; 64]) -> Option<u128> {
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |from: usize, bytes: usize| {
        let digits = header.iter().skip(from).take(bytes).rev();
        digits.fold(0u128, |n, &byte| n << 8 | u128::from(byte))
    };
    let (offset, entry, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    Some(offset + entry * count)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The version: from the name of the file or of what it links to, or its symbol versions, or the
/// branch it was built from.
pub(super) fn version(build_info: &str, path: &Path) -> String {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().map(|n| n.to_string_lossy().into_owned());
    name.and_then(|name| numbers(name.split("onnxruntime").last()?))
        .or_else(|| symbol_version(&real))
        .or_else(|| numbers(build_info.split("git-branch=").nth(1)?.split(',').next()?))
        .unwrap_or_else(|| "unknown version".to_owned())
}

/// The name of the library's ELF symbol version, `VERS_1.20.0`. Linkers put it in front, so that of tens of
/// megabytes, which each worker would read, only the first are looked at.
fn symbol_version(path: &Path) -> Option<String> {
    const MARK: &[u8] = b"VERS_";
    let mut bytes = Vec::new();
    let file = files::open(path).ok()?;
    file.take(FRONT).read_to_end(&mut bytes).ok()?;
    bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .find_map(|(at, _)| {
            let tail = bytes.get(at + MARK.len()..at + MARK.len() + 16)?;
            let text: String = tail
                .iter()
                .map_while(|&b| (b.is_ascii_digit() || b == b'.').then_some(b as char))
                .collect();
            numbers(&text)
        })
}

/// The first `a.b` or `a.b.c` in a text.
fn numbers(text: &str) -> Option<String> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|part| part.trim_matches('.'))
        .find(|part| part.contains('.'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_library() {
        if cfg!(target_os = "linux") {
            assert!(is_library("libonnxruntime.so"));
            assert!(is_library("libonnxruntime.so.1.20.0"));
            assert!(!is_library("libonnxruntime_providers_shared.so"));
            assert!(!is_library("libonnxruntime.txt"));
        }
    }

    #[test]
    fn versions_in_texts() {
        assert_eq!(numbers(".so.1.20.1").as_deref(), Some("1.20.1"));
        assert_eq!(numbers("rel-1.19.0").as_deref(), Some("1.19.0"));
        assert_eq!(numbers(".so"), None);
    }

    #[test]
    fn a_library_that_is_not_whole_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(library_name());
        std::fs::write(&path, b"\x7fELF").unwrap();
        assert!(check(&path).unwrap_err().contains("too few"));
        let mut cut = vec![0u8; 2 << 20];
        cut[..6].copy_from_slice(b"\x7fELF\x02\x01");
        cut[0x28..0x30].copy_from_slice(&(3u64 << 20).to_le_bytes());
        std::fs::write(&path, &cut).unwrap();
        assert!(check(&path).unwrap_err().contains("cut short"));
        let error = find(Some(&path), None).unwrap_err();
        assert!(matches!(error, RuntimeError::Missing(_)));
        assert!(error.to_string().contains("--ort-lib"), "{error}");
    }
}
