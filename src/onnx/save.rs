//! Writing a model: to a temporary file beside the target, then renamed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::load::Model;
use super::proto::{ModelProto, StringStringEntryProto, TensorProto, tensor_proto};

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
}

/// Writes `model` to `path`: weights inline below 2 GiB, else in `<path>.data`, written first.
///
/// An existing file is replaced only when the new one is complete.
pub fn save(model: &ModelProto, path: &Path) -> Result<(), SaveError> {
    if model.encoded_len() <= INLINE_LIMIT {
        return write_atomically(path, &model.encode_to_vec());
    }
    let mut model = model.clone();
    let mut data_path = path.as_os_str().to_owned();
    data_path.push(".data");
    let data_path = PathBuf::from(data_path);
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
    write_atomically(&data_path, &data)?;
    write_atomically(path, &model.encode_to_vec())
}

impl Model {
    /// Writes the model: by copying the input's bytes where `proto` is unchanged, so that an
    /// untouched model stays the same to the bit.
    pub fn save_edited(&self, proto: &ModelProto, path: &Path) -> Result<(), SaveError> {
        if *proto == self.proto && self.external_files.is_empty() {
            return write_atomically(path, &self.bytes);
        }
        if self.free.is_empty() {
            return save(proto, path);
        }
        let mut freed = proto.clone();
        for input in freed.graph.iter_mut().flat_map(|g| &mut g.input) {
            if let Some(declared) = self.free.get(input.name()) {
                input.r#type = Some(declared.clone());
            }
        }
        save(&freed, path)
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

/// Writes `bytes` to a temporary file in the target's folder, syncs it and renames it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let io = |source| SaveError::Io {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".onnx-bnnprune-")
        .tempfile_in(folder)
        .map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A temporary file is private; an output file is like any other the user makes.
        let mode = std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode());
        let permissions = std::fs::Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions).map_err(io)?;
    }
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// All weights inline: what is handed to a runtime in memory.
pub fn to_bytes(model: &ModelProto) -> Bytes {
    Bytes::from(model.encode_to_vec())
}
