//! Writing a model, with its weights inline or in a file of their own.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::load::Model;
use super::proto::{ModelProto, StringStringEntryProto, TensorProto, tensor_proto};
use crate::output::{self, Place};

/// Protobuf's and ONNX Runtime's limit for one message.
const INLINE_LIMIT: usize = (1 << 31) - 1;
/// Tensors below this stay inline even in a model with external data.
const EXTERNAL_MINIMUM: usize = 1024;

/// Why a model was not written. The target is untouched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The file system refused.
    #[error("{}: cannot be written: {source}", path.display())]
    Io {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More than one message holds, for a target that takes no second file.
    #[error("{}: weights of 2 GiB and more need a file of their own beside the model's; name a regular file", path.display())]
    Stream {
        /// The target.
        path: PathBuf,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the model's file, in hexadecimal.
    pub sha256: String,
    /// Size of the model's file, and of its data where that is apart.
    pub bytes: u64,
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        let digits = Sha256::digest(bytes);
        Self {
            sha256: digits.iter().map(|b| format!("{b:02x}")).collect(),
            bytes: bytes.len() as u64,
        }
    }
}

/// The file that weights go to which do not fit into the model's, beside what `path` leads to;
/// `None` if that is no regular file.
pub fn data_file(path: &Path) -> Option<PathBuf> {
    let Ok(Place::File(path)) = Place::of(path) else {
        return None;
    };
    let mut name = path.into_os_string();
    name.push(".data");
    Some(name.into())
}

/// Whether the weights of `model` go to a file of their own.
pub fn needs_data_file(model: &ModelProto) -> bool {
    model.encoded_len() > INLINE_LIMIT
}

/// Writes `model` to `path`: weights inline below 2 GiB, else in `<path>.data`.
///
/// Existing files are replaced only when the new ones are complete.
pub fn save(model: &ModelProto, path: &Path) -> Result<Written, SaveError> {
    if !needs_data_file(model) {
        return save_bytes(path, &model.encode_to_vec());
    }
    let mut model = model.clone();
    let data_path = data_file(path).ok_or_else(|| SaveError::Stream {
        path: path.to_owned(),
    })?;
    let location = data_path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut data = Vec::new();
    if let Some(graph) = model.graph.as_mut() {
        for t in &mut graph.initializer {
            move_out(t, &location, &mut data);
        }
    }
    let bytes = model.encode_to_vec();
    output::write_both([(&data_path, &data), (path, &bytes)]).map_err(|(path, source)| {
        let path = path.to_owned();
        SaveError::Io { path, source }
    })?;
    let mut written = Written::of(&bytes);
    written.bytes += data.len() as u64;
    Ok(written)
}

fn save_bytes(path: &Path, bytes: &[u8]) -> Result<Written, SaveError> {
    write_atomically(path, bytes)?;
    Ok(Written::of(bytes))
}

impl Model {
    /// Gives the model the outputs that its file lists.
    pub fn restore_outputs(&mut self) {
        if !self.outputs.is_empty() {
            self.proto.graph.get_or_insert_default().output = std::mem::take(&mut self.outputs);
        }
    }

    /// Writes the model: by copying the input's bytes where `proto` is unchanged, so that an
    /// untouched model stays the same to the bit.
    pub fn save_edited(&self, proto: &ModelProto, path: &Path) -> Result<Written, SaveError> {
        if *proto == self.proto && self.external_files.is_empty() {
            return save_bytes(path, &self.bytes);
        }
        if self.free.is_empty() && self.outputs.is_empty() {
            return save(proto, path);
        }
        let mut as_given = proto.clone();
        let graph = as_given.graph.get_or_insert_default();
        for input in &mut graph.input {
            if let Some(declared) = self.free.get(input.name()) {
                input.r#type = Some(declared.clone());
            }
        }
        if !self.outputs.is_empty() {
            graph.output.clone_from(&self.outputs);
        }
        save(&as_given, path)
    }
}

fn move_out(t: &mut TensorProto, location: &str, data: &mut Vec<u8>) {
    let Some(raw) = t.raw_data.as_ref().filter(|r| r.len() >= EXTERNAL_MINIMUM) else {
        return;
    };
    // Page-aligned offsets let runtimes map the file.
    data.resize(data.len().next_multiple_of(4096), 0);
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    t.external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", data.len().to_string()),
        entry("length", raw.len().to_string()),
    ];
    data.extend_from_slice(raw);
    t.raw_data = None;
    t.data_location = Some(tensor_proto::DataLocation::External as i32);
}

/// Writes `bytes` as [`crate::output::write`] does.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    output::write(path, bytes).map_err(|source| SaveError::Io {
        path: path.to_owned(),
        source,
    })
}

/// All weights inline: what is handed to a runtime in memory.
pub fn to_bytes(model: &ModelProto) -> Bytes {
    Bytes::from(model.encode_to_vec())
}
