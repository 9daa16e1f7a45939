//! The file: a line of JSON, the state, the SHA-256 of both.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{CheckpointError, FORMAT, Identity};

/// Bytes of a SHA-256.
const SUM: usize = 32;
/// What the formats of all versions begin with.
const FORMATS: &str = "onnx-bnnprune-checkpoint/";
/// Bytes written and hashed at a time.
const BUFFER: usize = 1 << 20;
/// What a value is called that one of two runs does not have.
const ABSENT: &str = "not given";

/// What every version's first line holds.
#[derive(Deserialize)]
struct Tag {
    format: String,
}

#[derive(Serialize)]
struct Header<'a> {
    format: &'a str,
    run: &'a Identity,
}

#[derive(Deserialize)]
struct OwnedHeader {
    run: Identity,
}

/// The state in a file, if it is of the run `run`.
pub(super) fn decode<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    run: &Identity,
) -> Result<T, CheckpointError> {
    let damaged = |what| CheckpointError::damaged(path, what);
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    // Of another version, all the rest may be different.
    if let Ok(Tag { format }) = serde_json::from_slice(line)
        && format != FORMAT
        && format.starts_with(FORMATS)
    {
        return Err(CheckpointError::Format {
            path: path.to_owned(),
            found: format,
        });
    }
    let content = bytes.len().checked_sub(SUM);
    let (content, sum) = content
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or_else(|| damaged("it is cut off"))?;
    if Sha256::digest(content)[..] != *sum {
        return Err(damaged("its checksum is wrong"));
    }
    let header: OwnedHeader =
        serde_json::from_slice(line).map_err(|_| damaged("its first line is not JSON"))?;
    let differences = differences(&header.run, run);
    if !differences.is_empty() {
        return Err(CheckpointError::OtherRun {
            path: path.to_owned(),
            differences: differences.join("; "),
        });
    }
    content
        .get(line.len() + 1..)
        .and_then(|state| postcard::from_bytes(state).ok())
        .ok_or_else(|| damaged("its state cannot be read"))
}

/// What differs between the checkpoint's run and this one, a phrase each.
pub fn differences(then: &Identity, now: &Identity) -> Vec<String> {
    let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |of: &Identity, name: &str| of.get(name).cloned().unwrap_or(ABSENT.to_owned());
    names
        .into_iter()
        .map(|name| (name, value(then, name), value(now, name)))
        .filter(|(_, then, now)| then != now)
        .map(|(name, then, now)| format!("{name} {then} in the checkpoint, {now} now"))
        .collect()
}

/// Writes a new file in the place of whatever is called `path`, and syncs it. What a link of that
/// name leads to is not touched.
pub(super) fn write_new(path: &Path, run: &Identity, state: &impl Serialize) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let summed = Summed {
        file: File::create_new(path)?,
        sum: Sha256::new(),
        error: None,
    };
    let mut out = BufWriter::with_capacity(BUFFER, summed);
    let header = Header {
        format: FORMAT,
        run,
    };
    serde_json::to_writer(&mut out, &header)?;
    out.write_all(b"\n")?;
    if let Err(e) = postcard::to_io(state, &mut out) {
        // Postcard does not say why a writer failed.
        let cause = out.get_mut().error.take();
        return Err(cause.unwrap_or_else(|| io::Error::other(e)));
    }
    let Summed { mut file, sum, .. } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.write_all(&sum.finalize())?;
    file.sync_all()
}

/// A file, the SHA-256 of what was written to it, and why writing failed.
struct Summed {
    file: File,
    sum: Sha256,
    error: Option<io::Error>,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(n) => {
                self.sum.update(bytes.get(..n).unwrap_or_default());
                Ok(n)
            }
            Err(e) => {
                let again = io::Error::new(e.kind(), e.to_string());
                self.error = Some(e);
                Err(again)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
