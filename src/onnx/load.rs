//! Reading a model file: bounds before decoding, external data, what was not understood.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::proto::{
    AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto, tensor_proto,
};

/// Oldest and newest opset of the default domain that the rewriting rules are written for.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;
/// A decoded message costs up to some 300 bytes: this bounds what a hostile file can make us hold.
const MAX_MESSAGES: usize = 4_000_000;

/// A model as read from a file.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// The file's bytes, unchanged.
    pub bytes: Bytes,
    /// Decoded; external data are loaded inline.
    pub proto: ModelProto,
    /// Files with external data that were read.
    pub external_files: Vec<PathBuf>,
    /// What a user should know about how the file was understood.
    pub warnings: Vec<String>,
}

/// Why a file is not a model this tool can work on.
#[derive(Debug, Error)]
#[error("{}: {kind}", path.display())]
pub struct LoadError {
    path: PathBuf,
    kind: LoadErrorKind,
}

impl LoadError {
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
    /// Protobuf, but not a model.
    #[error("is not an ONNX model ({0} is missing); was the right file given?")]
    NotAModel(&'static str),
    /// More messages than any real model holds.
    #[error("holds more than {MAX_MESSAGES} protobuf messages; refused before decoding")]
    TooManyMessages,
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
    /// Reads and decodes `path`, and loads external data (which must lie in the model's folder).
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let named = |kind| LoadError {
            path: path.to_owned(),
            kind,
        };
        let model = Self::load_inner(path).map_err(named)?;
        match super::default_opset(&model.proto) {
            opset if OPSETS.contains(&opset) => Ok(model),
            opset => Err(named(LoadErrorKind::Opset(opset))),
        }
    }

    /// Reads a model of any opset: to be looked at, not to be rewritten.
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
        if path.is_dir() {
            let e = std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder");
            return Err(LoadErrorKind::Io(e));
        }
        let bytes = Bytes::from(std::fs::read(path).map_err(LoadErrorKind::Io)?);
        let mut proto = decode(bytes.clone())?;
        let mut warnings = Vec::new();
        if let Some(w) = encoding_warning(&proto, &bytes) {
            warnings.push(w);
        }
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut files = BTreeSet::new();
        if let Some(graph) = proto.graph.as_mut() {
            each_tensor(graph, &mut |t| load_external(t, &folder, &mut files))?;
        }
        Ok(Self {
            path: path.to_owned(),
            bytes,
            proto,
            external_files: files.into_iter().collect(),
            warnings,
        })
    }
}

/// Decodes bytes as a model: message bound, required fields.
pub fn decode(bytes: Bytes) -> Result<ModelProto, LoadErrorKind> {
    if message_count(&bytes, 0) > MAX_MESSAGES {
        return Err(LoadErrorKind::TooManyMessages);
    }
    let proto = ModelProto::decode(bytes).map_err(|e| LoadErrorKind::Decode(e.to_string()))?;
    if proto.graph.is_none() {
        return Err(LoadErrorKind::NotAModel("graph"));
    }
    if proto.ir_version.is_none() {
        return Err(LoadErrorKind::NotAModel("ir_version"));
    }
    Ok(proto)
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

/// An upper bound of the messages in `bytes`, by scanning length-delimited fields as if they were
/// messages. Stops counting at the limit.
fn message_count(bytes: &[u8], depth: usize) -> usize {
    let mut count = 0;
    let mut rest = bytes;
    while !rest.is_empty() && count <= MAX_MESSAGES {
        let Some((key, after)) = varint(rest) else {
            break;
        };
        rest = after;
        match key & 7 {
            0 => match varint(rest) {
                Some((_, after)) => rest = after,
                None => break,
            },
            1 | 5 => match rest.get(if key & 7 == 1 { 8 } else { 4 }..) {
                Some(after) => rest = after,
                None => break,
            },
            2 => {
                let Some((len, after)) = varint(rest) else {
                    break;
                };
                let Some((inner, after)) = usize::try_from(len)
                    .ok()
                    .and_then(|n| after.split_at_checked(n))
                else {
                    break;
                };
                rest = after;
                count += 1;
                // Model → graph → node → attribute → graph … ; large payloads are tensor data.
                if depth < 12 && inner.len() > 1 && !(key >> 3 == 9 && inner.len() > 4096) {
                    count += message_count(inner, depth + 1);
                }
            }
            _ => break,
        }
    }
    count
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &b) in bytes.iter().enumerate().take(10) {
        value |= u64::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

type Visit<'a> = dyn FnMut(&mut TensorProto) -> Result<(), LoadErrorKind> + 'a;

/// Visits every dense tensor of a graph: initializers, sparse parts, attributes, subgraphs.
fn each_tensor(graph: &mut GraphProto, visit: &mut Visit<'_>) -> Result<(), LoadErrorKind> {
    for t in &mut graph.initializer {
        visit(t)?;
    }
    for s in &mut graph.sparse_initializer {
        each_sparse(s, visit)?;
    }
    for node in &mut graph.node {
        for a in &mut node.attribute {
            each_in_attribute(a, visit)?;
        }
    }
    Ok(())
}

fn each_in_attribute(a: &mut AttributeProto, visit: &mut Visit<'_>) -> Result<(), LoadErrorKind> {
    for t in a.t.iter_mut().chain(&mut a.tensors) {
        visit(t)?;
    }
    for s in a.sparse_tensor.iter_mut().chain(&mut a.sparse_tensors) {
        each_sparse(s, visit)?;
    }
    for g in a.g.iter_mut().chain(&mut a.graphs) {
        each_tensor(g, visit)?;
    }
    Ok(())
}

fn each_sparse(s: &mut SparseTensorProto, visit: &mut Visit<'_>) -> Result<(), LoadErrorKind> {
    for t in s.values.iter_mut().chain(&mut s.indices) {
        visit(t)?;
    }
    Ok(())
}

fn load_external(
    t: &mut TensorProto,
    folder: &Path,
    files: &mut BTreeSet<PathBuf>,
) -> Result<(), LoadErrorKind> {
    if t.data_location() != tensor_proto::DataLocation::External {
        return Ok(());
    }
    let field = |key: &str| {
        t.external_data
            .iter()
            .find(|e| e.key() == key)
            .map(|e| e.value().to_owned())
    };
    let location = field("location").unwrap_or_default();
    let refuse = |why: String| LoadErrorKind::External {
        tensor: t.name().to_owned(),
        location: location.clone(),
        why,
    };
    let path = inside(folder, &location).map_err(refuse)?;
    let number = |key: &str| match field(key) {
        None => Ok(None),
        Some(v) => v
            .parse::<u64>()
            .map(Some)
            .map_err(|_| refuse(format!("has the {key} '{v}', which is not a number"))),
    };
    let offset = number("offset")?.unwrap_or(0);
    let mut file =
        std::fs::File::open(&path).map_err(|e| refuse(format!("cannot be opened: {e}")))?;
    let size = file
        .metadata()
        .map_err(|e| refuse(format!("cannot be read: {e}")))?
        .len();
    let length = match number("length")? {
        Some(n) => n,
        None => size.saturating_sub(offset),
    };
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(refuse(format!(
            "has {size} bytes, but bytes {offset} to {} are asked for",
            offset.saturating_add(length)
        )));
    }
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(length).read_to_end(&mut data))
        .map_err(|e| refuse(format!("cannot be read: {e}")))?;
    t.raw_data = Some(Bytes::from(data));
    t.external_data.clear();
    t.data_location = None;
    files.insert(path);
    Ok(())
}

/// `location` below `folder`, links resolved; an error text if it leads outside.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    if location.is_empty() {
        return Err("has no location".to_owned());
    }
    if !relative
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err("leads outside the model's folder; refused".to_owned());
    }
    let path = folder.join(relative);
    let real = path
        .canonicalize()
        .map_err(|e| format!("cannot be opened: {e}"))?;
    let root = folder
        .canonicalize()
        .map_err(|e| format!("cannot be opened: {e}"))?;
    if !real.starts_with(&root) {
        return Err("leads outside the model's folder through a link; refused".to_owned());
    }
    Ok(path)
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
        let bytes: Vec<u8> = [0x42, 0x00].repeat(MAX_MESSAGES + 2);
        assert!(matches!(
            decode(Bytes::from(bytes)),
            Err(LoadErrorKind::TooManyMessages)
        ));
    }

    #[test]
    fn external_paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.data"), b"x").unwrap();
        assert!(inside(dir.path(), "w.data").is_ok());
        assert!(inside(dir.path(), "./w.data").is_ok());
        assert!(inside(dir.path(), "../w.data").is_err());
        assert!(inside(dir.path(), "/etc/passwd").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
            assert!(inside(dir.path(), "link").is_err());
        }
    }
}
