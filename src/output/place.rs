//! Where a path leads that is to be written.

use std::io;
use std::path::{Path, PathBuf};

/// Links followed, one after another.
const MOST_LINKS: usize = 40;

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Standard output: `-`, or a link to it such as `/dev/stdout`.
    Stdout,
    /// A character device, a named pipe or an open file (`/dev/fd/3`): written into.
    Stream(PathBuf),
    /// A regular file, or none yet, behind all links: replaced as a whole.
    File(PathBuf),
}

impl Place {
    /// Where `path` leads.
    ///
    /// # Errors
    /// If links go round in a circle, or at the end is a folder, a disk or a socket.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let mut at = path.to_owned();
        for _ in 0..MOST_LINKS {
            match descriptor(&at) {
                Some(1) => return Ok(Self::Stdout),
                Some(_) => return Ok(Self::Stream(at)),
                None => {}
            }
            match std::fs::symlink_metadata(&at) {
                Ok(found) if found.is_symlink() => {
                    at = folder_of(&at).join(std::fs::read_link(&at)?);
                }
                Ok(found) => return Self::at_end(at, &found),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::File(at)),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("its links lead in a circle"))
    }

    fn at_end(path: PathBuf, found: &std::fs::Metadata) -> io::Result<Self> {
        let kind = found.file_type();
        let no = |what: &str| {
            Err(io::Error::other(format!(
                "it is {what}; name a file to write"
            )))
        };
        if kind.is_file() {
            return Ok(Self::File(path));
        }
        if kind.is_dir() {
            return no("a folder");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt as _;
            if kind.is_block_device() {
                return no("a disk");
            }
            if kind.is_socket() {
                return no("a socket");
            }
        }
        Ok(Self::Stream(path))
    }
}

/// Whether standard output was closed when the process began (`>&-`). Rust opens `/dev/null` in its place then, for
/// reading too, which no shell does.
pub fn stdout_is_closed() -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
        use std::os::unix::fs::MetadataExt as _;
        let out = io::stdout();
        let (Ok(flags), Ok(about)) = (fcntl_getfl(&out), fstat(&out)) else {
            return true;
        };
        let null = std::fs::metadata("/dev/null");
        let is_null = FileType::from_raw_mode(about.st_mode) == FileType::CharacterDevice
            && null.is_ok_and(|null| null.rdev() == about.st_rdev);
        is_null && flags.contains(OFlags::RDWR)
    }
    #[cfg(not(unix))]
    false
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Which of this process's open files a path stands for: `/dev/fd/1`, `/proc/self/fd/1`.
fn descriptor(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = folder_of(path).canonicalize().ok()?;
    let own = format!("/proc/{}/fd", std::process::id());
    (folder == Path::new("/dev/fd") || folder == Path::new(&own)).then_some(number)
}
