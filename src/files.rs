//! Files that somebody else has put where they are: opened only if they are plain files, and read
//! only as far as a limit.
//!
//! A named pipe would keep a reader for ever, a device such as `/dev/zero` has no end, and reading
//! some devices changes them. Links are followed; what counts is where they lead.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Opens the plain file at `path` for reading, links followed.
///
/// # Errors
/// If it cannot be opened, or is a folder, a named pipe, a device or a socket.
pub fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: that alone can rewind a tape.
    plain(std::fs::metadata(path)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Whoever has put a named pipe in its place since then does not keep us either.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    let file = options.open(path)?;
    plain(file.metadata()?.file_type())?;
    Ok(file)
}

/// All bytes of the plain file at `path`, of which there may be `most`.
///
/// # Errors
/// As [`open`], and if the file is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    if size <= most {
        bytes.reserve_exact(usize::try_from(size).unwrap_or(0));
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    // Files of some systems say 0 bytes and have more.
    match size.max(bytes.len() as u64) > most {
        true => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// Makes what was made, renamed or removed in a folder last through a power failure, where the
/// system lets a folder be synced.
pub fn sync_folder(folder: &Path) {
    // Without, the names of before may come back.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Refuses what is no plain file.
fn plain(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(io::Error::new(
            ErrorKind::IsADirectory,
            "it is a folder, not a file",
        ));
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("it is {}, not a plain file", what(kind)),
    ))
}

#[cfg(unix)]
fn what(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match kind {
        k if k.is_fifo() => "a named pipe",
        k if k.is_char_device() || k.is_block_device() => "a device",
        k if k.is_socket() => "a socket",
        _ => "something else",
    }
}

#[cfg(not(unix))]
fn what(_: FileType) -> &'static str {
    "something else"
}

/// Fills `bytes` with those from `offset` on, wherever the file is read otherwise.
///
/// # Errors
/// If it cannot be read, or ends before.
#[cfg(unix)]
pub fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// The same.
///
/// # Errors
/// As there.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_files_are_read_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err();
        assert!(error.to_string().contains("more than 4 bytes"), "{error}");
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a folder"), "{error}");
        assert_eq!(
            open(&dir.path().join("no")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_links_to_them_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join("fifo"), dir.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for (path, word) in [
            (fifo.as_path(), "a named pipe"),
            (link.as_path(), "a device"),
        ] {
            let error = read(path, 1 << 20).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let file = dir.path().join("f");
        std::fs::write(&file, b"1").unwrap();
        let to_file = dir.path().join("to");
        std::os::unix::fs::symlink(&file, &to_file).unwrap();
        assert_eq!(read(&to_file, 9).unwrap(), b"1");
    }
}
