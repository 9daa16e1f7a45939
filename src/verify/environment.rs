//! What a process that runs a stranger's model gets to know of this one: as little as it needs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// Tells ONNX Runtime, before it is loaded, to collect nothing: from 1.32 on it otherwise keeps a
/// data base in the user's cache folder and sends it away, whatever the program asks of it later.
pub(super) const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Variables that a worker gets as they are: where temporary files go, what Windows needs to start
/// a program, how many threads to use. None says who the user is or what he has access to.
const KEPT: [&str; 8] = [
    "TMPDIR",
    "TMP",
    "TEMP",
    "SystemRoot",
    "SystemDrive",
    "windir",
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
];

/// Lists of folders in which a loader looks for libraries.
const LIBRARY_PATHS: [&str; 3] = [
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
];

/// A process of `program` without this one's environment, in a folder in which nothing of the
/// user's lies: a relative name that a model or a loader comes up with leads nowhere.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env(NO_TELEMETRY.0, NO_TELEMETRY.1);
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in library_paths() {
        command.env(name, value);
    }
    let folder = match cfg!(windows) {
        true => program.parent(),
        false => Some(Path::new("/")),
    };
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        // Ctrl-C is for this process, which then ends its workers.
        command.process_group(0);
    }
    command
}

/// The loader's lists of folders, without the entries that mean the current folder or lie below it.
fn library_paths() -> impl Iterator<Item = (&'static str, OsString)> {
    // On Windows the loader looks in PATH.
    let path = cfg!(windows).then_some("PATH");
    let names = LIBRARY_PATHS.into_iter().chain(path);
    names.filter_map(|name| Some((name, absolute_entries(&std::env::var_os(name)?)?)))
}

/// A list of folders without relative and empty entries; `None` if nothing is left.
pub(super) fn absolute_entries(list: &OsStr) -> Option<OsString> {
    let entries = std::env::split_paths(list).filter(|entry| entry.is_absolute());
    let entries = std::env::join_paths(entries).ok()?;
    (!entries.is_empty()).then_some(entries)
}

/// Makes sure that this process may load ONNX Runtime itself: that it was started with telemetry
/// off and without folders relative to the current one in the loader's lists. If not, it starts
/// again, as the same process with the same arguments; so call it first of all.
///
/// A process cannot do that to its own environment safely: any thread may be reading it. Does
/// nothing on Windows, whose ONNX Runtime heeds what it is told when it is loaded.
///
/// # Errors
/// If this program cannot be started again.
pub fn prepare_this_process() -> std::io::Result<()> {
    start_again()
}

#[cfg(unix)]
fn start_again() -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let lists = LIBRARY_PATHS
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let dirty: Vec<_> = lists
        .map(|(name, list)| (name, absolute_entries(&list), list))
        .filter(|(_, clean, list)| clean.as_ref() != Some(list))
        .collect();
    let (name, off) = NO_TELEMETRY;
    if dirty.is_empty() && std::env::var_os(name).is_some_and(|value| value == off) {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(name, off);
    for (name, clean, _) in dirty {
        match clean {
            Some(clean) => again.env(name, clean),
            None => again.env_remove(name),
        };
    }
    // Comes back only where it fails.
    Err(again.exec())
}

#[cfg(not(unix))]
fn start_again() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn lists_lose_what_means_the_current_folder() {
        let clean = |list: &str| absolute_entries(OsStr::new(list));
        assert_eq!(clean("/a:/b/c").unwrap(), "/a:/b/c");
        assert_eq!(clean(":/a::.:lib:./x:/b:").unwrap(), "/a:/b");
        assert_eq!(clean(""), None);
        assert_eq!(clean(".:"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_gets_no_secrets_and_another_folder() {
        let mut c = command(Path::new("/bin/sh"));
        let shown = c.args(["-c", "pwd; env"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("/"));
        assert!(text.contains("ORT_DISABLE_TELEMETRY=1"), "{text}");
        // Cargo sets dozens of variables for a test, and a home is never missing.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        for name in ["CARGO", "HOME=", "USER=", "TOKEN", "SECRET"] {
            assert!(!text.contains(name), "{name} is in {text}");
        }
    }
}
