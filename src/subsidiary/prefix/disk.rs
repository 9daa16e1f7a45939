//! Rows of bytes in a temporary file.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::read_exact_at;

/// The file cannot be made, written or read.
#[derive(Debug, Error)]
#[error("{}: {source}", folder.display())]
pub(in crate::subsidiary) struct DiskError {
    folder: PathBuf,
    source: io::Error,
}

/// A file that has no name, or none for long: it goes when this is dropped or the process dies.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    file: File,
    /// Bytes written.
    end: u64,
}

/// Where in the file rows of one length are.
#[derive(Debug)]
pub(super) struct Rows {
    start: u64,
    length: usize,
    /// Of each row, so that a wrong one is never taken for a right one: some file systems find out
    /// that they are full only after the write.
    checksums: Vec<u64>,
}

impl Rows {
    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.length as u64 * self.checksums.len() as u64
    }
}

impl Disk {
    /// An empty file in `folder`, or in the system's folder for temporary files.
    pub(super) fn create(folder: Option<&Path>) -> Result<Self, DiskError> {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        match tempfile::tempfile_in(&folder) {
            Ok(file) => Ok(Self {
                folder,
                file,
                end: 0,
            }),
            Err(source) => Err(DiskError { folder, source }),
        }
    }

    /// Writes rows of `length` bytes, one after another in `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8], length: usize) -> Result<Rows, DiskError> {
        let start = self.end;
        self.write(bytes).map_err(|e| self.error(e))?;
        self.end += bytes.len() as u64;
        Ok(Rows {
            start,
            length,
            checksums: bytes.chunks(length.max(1)).map(checksum).collect(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within_limit(self.end + bytes.len() as u64)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)
    }

    /// One of the rows.
    pub(super) fn read(&self, rows: &Rows, row: usize) -> Result<Vec<u8>, DiskError> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not what was written");
        let mut bytes = vec![0; rows.length];
        let offset = rows.start + row as u64 * rows.length as u64;
        read_exact_at(&self.file, &mut bytes, offset)
            .and_then(|()| match rows.checksums.get(row) {
                Some(&sum) if sum == checksum(&bytes) => Ok(bytes),
                _ => Err(wrong()),
            })
            .map_err(|e| self.error(e))
    }

    fn error(&self, source: io::Error) -> DiskError {
        DiskError {
            folder: self.folder.clone(),
            source,
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Whether a file may get as large as that: beyond `ulimit -f`, a write kills the process.
#[cfg(unix)]
fn within_limit(size: u64) -> io::Result<()> {
    match rlimit::Resource::FSIZE.get()? {
        (soft, _) if size > soft => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn within_limit(_: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_any_order_and_nothing_stays_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::create(Some(dir.path())).unwrap();
        let first = disk.append(b"abcdef", 2).unwrap();
        let second = disk.append(b"0123456789", 5).unwrap();
        assert_eq!(disk.read(&second, 1).unwrap(), b"56789");
        assert_eq!(disk.read(&first, 2).unwrap(), b"ef");
        assert_eq!(disk.read(&first, 0).unwrap(), b"ab");
        drop(disk);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_bytes_than_those_written_are_an_error() {
        let mut disk = Disk::create(None).unwrap();
        let rows = disk.append(b"abcdef", 3).unwrap();
        disk.file.seek(SeekFrom::Start(4)).unwrap();
        disk.file.write_all(b"E").unwrap();
        assert_eq!(disk.read(&rows, 0).unwrap(), b"abc");
        assert!(disk.read(&rows, 1).is_err());
        assert!(disk.read(&rows, 2).is_err());
        disk.file.set_len(2).unwrap();
        assert!(disk.read(&rows, 0).is_err());
    }

    #[test]
    fn what_cannot_be_made_or_written_is_an_error_with_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        let error = Disk::create(Some(&none)).unwrap_err().to_string();
        assert!(error.starts_with(&none.display().to_string()), "{error}");
        let path = dir.path().join("file");
        std::fs::write(&path, b"").unwrap();
        let mut disk = Disk {
            folder: dir.path().to_owned(),
            file: File::open(path).unwrap(),
            end: 0,
        };
        assert!(disk.append(b"abc", 3).is_err());
    }
}
