//! Files that are written: whole or not at all, where the user meant them to be, and never over
//! what a run reads.
#![forbid(unsafe_code)]

mod clash;
mod leftovers;
mod place;

pub use clash::{Clash, FileId, Target, clash, overwrites};
pub use place::{Place, folder_of, stdout_is_closed};

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::files::sync_folder;

/// Most bytes that [`probe`] writes to see whether there is room.
const MOST_PROBED: u64 = 256 << 20;

/// Writes `bytes` to where `path` leads.
///
/// A regular file is replaced as a whole, once the new one is complete and synced, in its own
/// folder: half a file is never seen. It keeps the permissions that it had; a new one gets those
/// that the umask leaves. Links are followed. Devices, named pipes and `-` (standard output) are
/// written into.
///
/// # Errors
/// What the system said; a regular file is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match Place::of(path)? {
        Place::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Place::Stream(path) => {
            // What a descriptor such as /dev/fd/3 leads to may hold something already.
            let mut out = OpenOptions::new().append(true).open(path)?;
            out.write_all(bytes)?;
            out.flush()
        }
        Place::File(path) => replace(&path, bytes),
    }
}

/// Writes two regular files that belong together: neither is replaced before both are complete and synced.
///
/// # Errors
/// What the system said, and of which of them; unless the very renaming failed, both are as they were.
pub fn write_both<'p>(files: [(&'p Path, &[u8]); 2]) -> Result<(), (&'p Path, io::Error)> {
    let prepared = files.map(|(path, bytes)| {
        let made = match Place::of(path) {
            Ok(Place::File(to)) => Complete::new(&to, bytes),
            Ok(_) => Err(io::Error::from(ErrorKind::InvalidInput)),
            Err(e) => Err(e),
        };
        made.map_err(|e| (path, e))
    });
    let [first, second] = prepared;
    for ((path, _), complete) in files.into_iter().zip([first?, second?]) {
        complete.persist().map_err(|e| (path, e))?;
    }
    Ok(())
}

/// Whether `path` could be written with `bytes` bytes now; leaves nothing behind. Devices and pipes
/// are not opened: whoever reads them would take that for the end.
///
/// # Errors
/// What the system said.
pub fn probe(path: &Path, bytes: u64) -> io::Result<()> {
    let Place::File(path) = Place::of(path)? else {
        return Ok(());
    };
    still_writable(&path)?;
    let mut file = temporary(&path)?;
    let zeros = [0u8; 1 << 16];
    let mut left = bytes.min(MOST_PROBED);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(zeros.get(..part).unwrap_or_default())?;
        left -= part as u64;
    }
    file.close()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Complete::new(path, bytes)?.persist()
}

/// All that a file shall hold, synced, beside where it shall be.
struct Complete {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Complete {
    fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let before = still_writable(path)?;
        leftovers::remove(folder_of(path));
        let mut file = temporary(path)?;
        file.write_all(bytes)?;
        if let Some(before) = before {
            become_like(file.as_file(), &before)?;
        }
        file.as_file().sync_all()?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    fn persist(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|e| e.error)?;
        sync_folder(folder_of(&self.path));
        Ok(())
    }
}

/// What there is to be replaced. A file that its owner made read-only is meant to stay, although
/// the folder would let it be replaced.
fn still_writable(path: &Path) -> io::Result<Option<Metadata>> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => file.metadata().map(Some),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(leftovers::PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file that a program makes: the umask takes its share.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // Its own name in an error would say nothing to the user.
    let file = builder
        .tempfile_in(folder_of(path))
        .map_err(|e| match e.kind() {
            kind @ (ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull) => io::Error::from(kind),
            _ => e,
        })?;
    // As long as it is held, another run sees that this is no leftover.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Gives a new file the owner and the permissions of the one that it replaces.
#[cfg(unix)]
fn become_like(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        // Only root may give files away; to others the new file belongs as a copy would.
        let _ = std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()));
    }
    let mode = before.permissions().mode() & 0o777;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn become_like(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced_in_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (there, link) = (dir.path().join("there"), dir.path().join("link"));
        std::fs::create_dir(&there).unwrap();
        symlink("there/new", &link).unwrap();
        for text in ["first", "second"] {
            write(&link, text.as_bytes()).unwrap();
            assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(std::fs::read_to_string(there.join("new")).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(write(&dir.path().join("loop"), b"x").is_err());
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for wanted in [0o600, 0o640, 0o664] {
            std::fs::write(&path, "before").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wanted)).unwrap();
            write(&path, b"after").unwrap();
            assert_eq!(mode(&path), wanted);
            assert_eq!(std::fs::read(&path).unwrap(), b"after");
        }
    }

    #[test]
    fn a_socket_and_a_folder_are_no_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = write(&socket, b"x").unwrap_err().to_string();
        assert!(error.contains("socket"), "{error}");
        let error = write(dir.path(), b"x").unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_written_into_behind_what_it_holds() {
        use std::os::fd::AsRawFd as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "before ").unwrap();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .unwrap();
        let descriptor = format!("/dev/fd/{}", file.as_raw_fd());
        write(Path::new(&descriptor), b"after").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before after");
        assert_eq!(Place::of(Path::new("/dev/stdout")).unwrap(), Place::Stdout);
        assert_eq!(Place::of(Path::new("-")).unwrap(), Place::Stdout);
    }

    #[test]
    fn files_that_belong_together_are_replaced_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (data, model) = (dir.path().join("m.data"), dir.path().join("m"));
        let both = [(data.as_path(), &b"1"[..]), (model.as_path(), &b"2"[..])];
        write_both(both).unwrap();
        assert_eq!(std::fs::read(&data).unwrap(), b"1");
        // The second is a folder: the first stays as well.
        let there = dir.path().join("there");
        std::fs::create_dir(&there).unwrap();
        let (path, _) =
            write_both([(data.as_path(), &b"3"[..]), (there.as_path(), &b"4"[..])]).unwrap_err();
        assert_eq!(path, there);
        assert_eq!(std::fs::read(&data).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        probe(&dir.path().join("f"), 1 << 20).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("absent/f"), 1).is_err());
        std::fs::write(dir.path().join("f"), "kept").unwrap();
        probe(&dir.path().join("f"), 10).unwrap();
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"kept");
    }
}
