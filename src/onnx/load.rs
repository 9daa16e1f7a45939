//! Reading a model file: bounds before decoding, external data, what was not understood.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::external::External;
use super::limits::{MAX_DECODED, decoded_size};
use super::proto::{ModelProto, TypeProto, ValueInfoProto};
use crate::files;

/// Oldest and newest opset of the default domain that the rewriting rules are written for.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;
/// Protobuf's own limit for a message, which a model is.
const MAX_FILE: u64 = (1 << 31) - 1;

/// A model as read from a file.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// The file's bytes, unchanged.
    pub bytes: Bytes,
    /// Decoded; external data are loaded inline, and local functions are expanded.
    pub proto: ModelProto,
    /// Files with external data that were read.
    pub external_files: Vec<PathBuf>,
    /// Whether `path` is a link, and some of these lie beside what it leads to alone, where ONNX Runtime does not
    /// look for them.
    pub data_behind_link: bool,
    /// What a user should know about how the file was understood.
    pub warnings: Vec<String>,
    /// As the file declares them, the inputs whose free dimensions have sizes in `proto`
    /// ([`Sizes`](crate::sizes::Sizes)).
    pub free: BTreeMap<String, TypeProto>,
    /// As the file lists them, the outputs, where `proto` has scores of classes in front of them; else empty.
    pub outputs: Vec<ValueInfoProto>,
}

/// Why a file is not a model this tool can work on.
#[derive(Debug, Error)]
#[error("{}: {kind}", path.display())]
pub struct LoadError {
    path: PathBuf,
    kind: LoadErrorKind,
}

impl LoadError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The reason, without the file's name.
    pub fn kind(&self) -> &LoadErrorKind {
        &self.kind
    }
}

/// The reasons a [`LoadError`] can have.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file system refused.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// Not protobuf, or cut short.
    #[error("is not a readable ONNX file ({0}); was it copied or downloaded completely?")]
    Decode(String),
    /// A file of another kind, by its first bytes.
    #[error("is {0}, not an ONNX file; give the model as onnx.save writes it (.onnx)")]
    OtherFormat(&'static str),
    /// What a version control leaves in place of a large file.
    #[error("is only a pointer to the model; fetch it with git lfs pull or git annex get")]
    Pointer,
    /// Protobuf, but not a model.
    #[error("is not an ONNX model ({0} is missing); was the right file given?")]
    NotAModel(&'static str),
    /// More and emptier messages than any real model holds.
    #[error("would take more than {} MiB besides its weights, as no real model does; refused before decoding", MAX_DECODED >> 20)]
    TooManyMessages,
    /// More than protobuf allows.
    #[error("has more than 2 GiB, the limit of protobuf; save it with external data (onnx.save)")]
    TooLarge,
    /// Opset outside the supported range.
    #[error("uses opset {0}; supported are {min} to {max}: convert it with onnx.version_converter or export it anew", min = OPSETS.start(), max = OPSETS.end())]
    Opset(i64),
    /// External data that cannot or must not be read.
    #[error("tensor '{tensor}': external data '{location}' {why}")]
    External {
        /// The tensor.
        tensor: String,
        /// As the model names it.
        location: String,
        /// What is wrong.
        why: String,
    },
}

impl Model {
    /// Bytes of the file and of the external data that belong to it.
    pub fn total_bytes(&self) -> u64 {
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
        let external: u64 = self.external_files.iter().map(size).sum();
        external.saturating_add(self.bytes.len() as u64)
    }

    /// Reads and decodes `path`, loads external data (which must lie in the model's folder), and
    /// expands local functions ([`inline_functions`](super::inline_functions)).
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let named = |kind| LoadError {
            path: path.to_owned(),
            kind,
        };
        let mut model = Self::load_inner(path).map_err(named)?;
        let notes = super::inline_functions(&mut model.proto);
        super::cast_like::resolve(&mut model.proto);
        model
            .warnings
            .extend(notes.expanded.into_iter().chain(notes.hidden));
        match super::default_opset(&model.proto) {
            opset if OPSETS.contains(&opset) => Ok(model),
            opset => Err(named(LoadErrorKind::Opset(opset))),
        }
    }

    /// Reads a model of any opset, its functions as they are: to be looked at, not to be rewritten.
    ///
    /// # Errors
    /// As [`Model::load`], but for the opset.
    pub fn load_any_opset(path: &Path) -> Result<Self, LoadError> {
        Self::load_inner(path).map_err(|kind| LoadError {
            path: path.to_owned(),
            kind,
        })
    }

    fn load_inner(path: &Path) -> Result<Self, LoadErrorKind> {
        let bytes = read(path)?;
        let mut proto = decode(bytes.clone())?;
        let mut warnings = Vec::new();
        if let Some(w) = encoding_warning(&proto, &bytes) {
            warnings.push(w);
        }
        let mut external = External::new(path);
        external.load(&mut proto)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            proto,
            data_behind_link: external.lies_behind_link(),
            external_files: external.files().into_iter().collect(),
            warnings,
            free: BTreeMap::new(),
            outputs: Vec::new(),
        })
    }
}

/// All bytes of a plain file.
fn read(path: &Path) -> Result<Bytes, LoadErrorKind> {
    match files::read(path, MAX_FILE) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => Err(LoadErrorKind::TooLarge),
        Err(e) => Err(LoadErrorKind::Io(e)),
    }
}

/// Decodes bytes as a model: memory bound, required fields.
pub fn decode(bytes: Bytes) -> Result<ModelProto, LoadErrorKind> {
    if decoded_size(&bytes) > MAX_DECODED {
        return Err(LoadErrorKind::TooManyMessages);
    }
    if bytes.starts_with(b"version https://git-lfs") || bytes.starts_with(b"/annex/objects/") {
        return Err(LoadErrorKind::Pointer);
    }
    let format = other_format(&bytes);
    let proto = ModelProto::decode(bytes).map_err(|e| match format {
        Some(format) => LoadErrorKind::OtherFormat(format),
        None => LoadErrorKind::Decode(e.to_string()),
    })?;
    if proto.graph.is_none() {
        return Err(LoadErrorKind::NotAModel("graph"));
    }
    if proto.ir_version.is_none() {
        return Err(LoadErrorKind::NotAModel("ir_version"));
    }
    Ok(proto)
}

/// What a file that is no ONNX is by its first bytes, where they tell.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let at = |place: usize, magic: &[u8]| bytes.get(place..).is_some_and(|b| b.starts_with(magic));
    let first = bytes.trim_ascii_start().first();
    match first {
        _ if at(4, b"ORTM") => Some("a model in ONNX Runtime's own format"),
        _ if at(4, b"TFL3") => Some("a TensorFlow Lite model"),
        _ if at(0, b"\x89HDF") => Some("an HDF5 file, as Keras writes"),
        _ if at(0, b"PK\x03\x04") => Some("a zip archive, as torch.save and zip write"),
        _ if at(0, b"\x1f\x8b") => Some("compressed by gzip"),
        Some(b'{') => Some("JSON"),
        Some(b'<') => Some("a text, of ONNX or XML"),
        _ if bytes.trim_ascii_start().starts_with(b"ir_version") => Some("a text of protobuf"),
        _ => None,
    }
}

/// Says what differs between the file and what would be written for it.
fn encoding_warning(proto: &ModelProto, bytes: &Bytes) -> Option<String> {
    let len = proto.encoded_len();
    if len < bytes.len() {
        return Some(format!(
            "{} bytes of the file are fields this tool does not know or an unusual encoding; \
             a changed model is written without them",
            bytes.len() - len
        ));
    }
    (proto.encode_to_vec() != bytes[..]).then(|| {
        "the file's encoding is unusual (field order or packing); \
         a changed model is written in the usual one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_noise_are_not_models() {
        assert!(matches!(
            decode(Bytes::new()),
            Err(LoadErrorKind::NotAModel("graph"))
        ));
        assert!(decode(Bytes::from_static(b"not an onnx file at all")).is_err());
    }

    #[test]
    fn a_flood_of_empty_messages_is_refused_before_decoding() {
        // ModelProto.opset_import (field 8), empty, over and over.
        let bytes: Vec<u8> = [0x42, 0x00].repeat(16_000_000);
        assert!(matches!(
            decode(Bytes::from(bytes)),
            Err(LoadErrorKind::TooManyMessages)
        ));
    }
}
