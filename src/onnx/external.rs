//! Weights in files beside the model: inside its folder, of the right length, each byte once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::load::LoadErrorKind;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto,
    TensorProto, tensor_proto,
};
use crate::files;

/// What the ONNX standard says of a tensor's external data.
const KEYS: [&str; 5] = ["location", "offset", "length", "checksum", "basepath"];
/// Tied weights are stored once and used twice; what is used more often than this is no network.
const MAX_SHARING: u64 = 8;
/// Below this many bytes in all, sharing is not counted.
const SMALL: u64 = 16 << 20;
/// A file may have holes, and a file system may compress it; beyond this many bytes in memory for
/// each byte on the disk it holds no weights.
#[cfg(unix)]
const MAX_HOLES: u64 = 16;
/// Below this many bytes of a file, holes are not counted.
#[cfg(unix)]
const SMALL_FILE: u64 = 256 << 20;

/// The files that a model's tensors name.
pub(super) struct External {
    /// The folder of the path that the user gave, and that of the file which it leads to.
    folders: [PathBuf; 2],
    read: BTreeMap<PathBuf, ReadFile>,
    /// Whether something lies in the second folder alone.
    behind_link: bool,
    /// Bytes read, and bytes that tensors hold.
    distinct: u64,
    held: u64,
}

/// What was read of a file.
#[derive(Default)]
struct ReadFile {
    /// By offset.
    ranges: BTreeMap<u64, Bytes>,
    /// Bytes of all of them.
    bytes: u64,
}

impl External {
    /// For the model at `path`. Its data may lie in its folder, or, where `path` is a link, in the
    /// folder of the file that it leads to: caches of model hubs keep both as links into one folder.
    pub(super) fn new(path: &Path) -> Self {
        let folder = |path: &Path| match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
            _ => PathBuf::from("."),
        };
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            folders: [folder(path), folder(&real)],
            read: BTreeMap::new(),
            behind_link: false,
            distinct: 0,
            held: 0,
        }
    }

    /// Whether data were found only beside the file that the model's path, a link, leads to. ONNX Runtime looks
    /// beside the link.
    pub(super) fn lies_behind_link(&self) -> bool {
        self.behind_link
    }

    /// Puts all external data of `model` inline, wherever it has tensors: in its graph and
    /// subgraphs, in attributes, in sparse tensors, in local functions, in graphs for training.
    ///
    /// # Errors
    /// If a file leads outside the folder, is too short or no plain file, or tensors overlap in it.
    pub(super) fn load(&mut self, model: &mut ModelProto) -> Result<(), LoadErrorKind> {
        if let Some(graph) = &mut model.graph {
            self.graph(graph)?;
        }
        for training in &mut model.training_info {
            let graphs = [&mut training.initialization, &mut training.algorithm];
            for graph in graphs.into_iter().flatten() {
                self.graph(graph)?;
            }
        }
        for function in &mut model.functions {
            self.function(function)?;
        }
        Ok(())
    }

    /// The files that were read.
    pub(super) fn files(self) -> BTreeSet<PathBuf> {
        self.read.into_keys().collect()
    }

    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), LoadErrorKind> {
        for t in &mut graph.initializer {
            self.tensor(t)?;
        }
        for s in &mut graph.sparse_initializer {
            self.sparse(s)?;
        }
        self.nodes(&mut graph.node)
    }

    fn function(&mut self, function: &mut FunctionProto) -> Result<(), LoadErrorKind> {
        for default in &mut function.attribute_proto {
            self.attribute(default)?;
        }
        self.nodes(&mut function.node)
    }

    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<(), LoadErrorKind> {
        let attributes = nodes.iter_mut().flat_map(|node| &mut node.attribute);
        for a in attributes {
            self.attribute(a)?;
        }
        Ok(())
    }

    fn attribute(&mut self, a: &mut AttributeProto) -> Result<(), LoadErrorKind> {
        for t in a.t.iter_mut().chain(&mut a.tensors) {
            self.tensor(t)?;
        }
        for s in a.sparse_tensor.iter_mut().chain(&mut a.sparse_tensors) {
            self.sparse(s)?;
        }
        for g in a.g.iter_mut().chain(&mut a.graphs) {
            self.graph(g)?;
        }
        Ok(())
    }

    fn sparse(&mut self, s: &mut SparseTensorProto) -> Result<(), LoadErrorKind> {
        for t in s.values.iter_mut().chain(&mut s.indices) {
            self.tensor(t)?;
        }
        Ok(())
    }

    fn tensor(&mut self, t: &mut TensorProto) -> Result<(), LoadErrorKind> {
        if t.data_location() != tensor_proto::DataLocation::External {
            return Ok(());
        }
        let field = |key: &str| {
            let mut entries = t.external_data.iter();
            entries.find(|e| e.key() == key).map(|e| e.value())
        };
        let location = field("location").unwrap_or_default().to_owned();
        let number = |key: &str| match field(key) {
            None => Ok(None),
            // A sign is no digit to ONNX Runtime.
            Some(v) => match v.parse::<u64>() {
                Ok(n) if v.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(n)),
                _ => Err(format!("has the {key} '{v}', which is not a number")),
            },
        };
        let needed = stored_bytes(t);
        let data = each_once(t)
            .and_then(|()| number("offset"))
            .and_then(|offset| Ok((offset.unwrap_or(0), number("length")?)))
            .and_then(|(offset, length)| self.range(&location, offset, length, needed))
            .map_err(|why| LoadErrorKind::External {
                tensor: t.name().to_owned(),
                location,
                why,
            })?;
        t.raw_data = Some(data);
        t.external_data.clear();
        t.data_location = None;
        Ok(())
    }

    /// `length` bytes at `offset` for a tensor of `needed` bytes; without a length, those that the
    /// tensor needs. An error text if they cannot be had.
    fn range(
        &mut self,
        location: &str,
        offset: u64,
        length: Option<u64>,
        needed: Option<u64>,
    ) -> Result<Bytes, String> {
        let path = inside(&self.folders, location)?;
        let [here, _] = &self.folders;
        self.behind_link |= !here.join(location).exists();
        let about = std::fs::metadata(&path).map_err(|e| format!("cannot be read: {e}"))?;
        if !about.is_file() {
            return Err("is no plain file; refused".to_owned());
        }
        let size = about.len();
        let length = length
            .or(needed)
            .ok_or("has no length, and the tensor's type or shape does not say it")?;
        let end = offset.saturating_add(length);
        if end > size {
            return Err(format!(
                "has {size} bytes, but bytes {offset} to {end} are asked for"
            ));
        }
        if let Some(needed) = needed.filter(|&needed| needed != length) {
            return Err(format!(
                "gives {length} bytes, but the tensor's shape and type need {needed}; save the model anew with onnx.save"
            ));
        }
        self.held = self.held.saturating_add(length);
        let read = self.read.entry(path.clone()).or_default();
        // Several tensors may share one range, but not overlap.
        let before = read.ranges.range(..end).next_back();
        let data = match before {
            Some((&at, data)) if at == offset && data.len() as u64 == length => data.clone(),
            Some((&at, data)) if length > 0 && at + data.len() as u64 > offset => {
                return Err(format!(
                    "bytes {offset} to {end} overlap those of another tensor; save the model anew with onnx.save"
                ));
            }
            _ => {
                read.bytes = read.bytes.saturating_add(length);
                if is_hollow(&about, read.bytes) {
                    return Err("is almost all holes, as no weights are; refused".to_owned());
                }
                let data = read_range(&path, offset, length)?;
                self.distinct = self.distinct.saturating_add(length);
                if length > 0 {
                    read.ranges.insert(offset, data.clone());
                }
                data
            }
        };
        if self.held > SMALL && self.held / MAX_SHARING > self.distinct {
            return Err(format!(
                "is shared by so many tensors that they hold {} times its bytes; refused",
                MAX_SHARING
            ));
        }
        Ok(data)
    }
}

/// Says which key a tensor's external data have twice, of which readers take different ones, and which key no
/// runtime takes.
fn each_once(t: &TensorProto) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for entry in &t.external_data {
        let key = entry.key();
        if !KEYS.contains(&key) && !key.starts_with("prepacked") {
            return Err(format!(
                "is given with the key '{key}', which ONNX Runtime refuses; save the model anew with onnx.save"
            ));
        }
        if !seen.insert(key) {
            return Err(format!(
                "is given with the key '{key}' twice; save the model anew with onnx.save"
            ));
        }
    }
    Ok(())
}

/// Bytes that the elements of `t` take up, packed as the ONNX standard says; `None` where its type
/// has no fixed size or its shape is impossible.
fn stored_bytes(t: &TensorProto) -> Option<u64> {
    use tensor_proto::DataType as D;
    let bits = match D::try_from(t.data_type()).ok()? {
        D::Uint2 | D::Int2 => 2,
        D::Uint4 | D::Int4 | D::Float4e2m1 => 4,
        D::Uint8 | D::Int8 | D::Bool => 8,
        D::Float8e4m3fn | D::Float8e4m3fnuz | D::Float8e5m2 | D::Float8e5m2fnuz => 8,
        D::Float8e8m0 => 8,
        D::Uint16 | D::Int16 | D::Float16 | D::Bfloat16 => 16,
        D::Float | D::Int32 | D::Uint32 => 32,
        D::Double | D::Int64 | D::Uint64 | D::Complex64 => 64,
        D::Complex128 => 128,
        // How six bits are packed, the standard leaves open.
        D::Undefined | D::String | D::Float6e2m3 | D::Float6e3m2 => return None,
    };
    let bits = t.dims.iter().try_fold(bits, |n: u64, &side| {
        n.checked_mul(u64::try_from(side).ok()?)
    })?;
    Some(bits.div_ceil(8))
}

/// `length` bytes of the file at `path` from `offset` on.
fn read_range(path: &Path, offset: u64, length: u64) -> Result<Bytes, String> {
    let mut file = files::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(length).read_to_end(&mut data))
        .map_err(|e| format!("cannot be read: {e}"))?;
    match data.len() as u64 == length {
        true => Ok(Bytes::from(data)),
        false => Err("became shorter while it was read".to_owned()),
    }
}

/// Whether `bytes` of a file are far more than it takes up on the disk.
fn is_hollow(about: &std::fs::Metadata, bytes: u64) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let taken = about.blocks().saturating_mul(512).max(1);
        bytes > SMALL_FILE && bytes / MAX_HOLES > taken
    }
    #[cfg(not(unix))]
    {
        let _ = (about, bytes);
        false
    }
}

/// `location` below the first of `folders`, or else the second, links resolved; an error text if
/// it leads outside both.
fn inside(folders: &[PathBuf; 2], location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    if location.is_empty() {
        return Err("has no location".to_owned());
    }
    // How far below the folder each part leads.
    let deeper = relative
        .components()
        .try_fold(0usize, |depth, part| match part {
            Component::Normal(_) => Some(depth + 1),
            Component::CurDir => Some(depth),
            Component::ParentDir => depth.checked_sub(1),
            Component::RootDir | Component::Prefix(_) => None,
        });
    if deeper.is_none() {
        return Err("leads outside the model's folder; refused".to_owned());
    }
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|e| format!("cannot be opened: {e}"))
    };
    let [here, there] = folders;
    let found =
        real(&here.join(relative)).or_else(|e| real(&there.join(relative)).map_err(|_| e))?;
    if !found.starts_with(real(here)?) && !found.starts_with(real(there)?) {
        return Err("leads outside the model's folder through a link; refused".to_owned());
    }
    // The real file: two links to it are one file.
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::StringStringEntryProto;

    #[test]
    fn external_paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let both = [dir.path().to_owned(), dir.path().to_owned()];
        std::fs::write(dir.path().join("w.data"), b"x").unwrap();
        assert!(inside(&both, "w.data").is_ok());
        assert!(inside(&both, "./w.data").is_ok());
        // Up and down again is inside; what lies above is not.
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(inside(&both, "sub/../w.data").is_ok());
        std::fs::write(dir.path().join("w"), b"x").unwrap();
        let below = [dir.path().join("sub"), dir.path().join("sub")];
        let why = inside(&below, "../w").unwrap_err();
        assert!(why.contains("outside"), "{why}");
        assert!(inside(&both, "../w.data").is_err());
        assert!(inside(&both, "/etc/passwd").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
            assert!(inside(&both, "link").is_err());
        }
    }

    #[test]
    fn what_runtimes_read_otherwise_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), [7u8; 8]).unwrap();
        let read = |entries: &[(&str, &str)]| {
            let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let mut t = TensorProto {
                data_location: Some(tensor_proto::DataLocation::External as i32),
                data_type: Some(tensor_proto::DataType::Float as i32),
                dims: vec![1],
                external_data: entries.iter().map(entry).collect(),
                ..TensorProto::default()
            };
            let found = External::new(&dir.path().join("m.onnx")).tensor(&mut t);
            found.map_err(|e| e.to_string())
        };
        let plain = [("location", "w"), ("offset", "4"), ("length", "4")];
        read(&plain).unwrap();
        read(&[plain[0], plain[1], plain[2], ("checksum", "0")]).unwrap();
        for (more, word) in [(("offset", "0"), "twice"), (("foo", "1"), "'foo'")] {
            let why = read(&[plain[0], plain[1], plain[2], more]).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        let why = read(&[plain[0], ("offset", "+4")]).unwrap_err();
        assert!(why.contains("not a number"), "{why}");
    }

    #[test]
    fn ranges_are_shared_or_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), [7u8; 100]).unwrap();
        let mut files = External::new(&dir.path().join("m.onnx"));
        assert_eq!(files.range("w", 0, Some(40), None).unwrap().len(), 40);
        assert_eq!(files.range("w", 60, None, Some(40)).unwrap().len(), 40);
        assert_eq!(files.range("w", 0, Some(40), None).unwrap().len(), 40);
        assert_eq!(files.range("./w", 40, Some(20), None).unwrap().len(), 20);
        assert_eq!(files.range("w", 50, Some(0), None).unwrap().len(), 0);
        for (offset, length) in [(0, 41), (30, 20), (99, 1), (10, 10), (0, 100)] {
            let why = files.range("w", offset, Some(length), None).unwrap_err();
            assert!(why.contains("overlap"), "{offset} {length}: {why}");
        }
        assert!(files.range("w", 0, Some(101), None).is_err());
        let why = files.range("w", 90, None, None).unwrap_err();
        assert!(why.contains("no length"), "{why}");
        let why = files.range("w", 90, Some(9), Some(8)).unwrap_err();
        assert!(
            why.contains("gives 9 bytes") && why.contains("need 8"),
            "{why}"
        );
        assert!(files.range("w", u64::MAX, Some(2), None).is_err());
        assert!(
            files
                .range(".", 0, Some(1), None)
                .unwrap_err()
                .contains("plain file")
        );
        assert_eq!(files.files().len(), 1);
    }

    #[test]
    fn a_range_shared_by_thousands_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), vec![0u8; 1 << 20]).unwrap();
        let mut files = External::new(&dir.path().join("m.onnx"));
        let refused = (0..1000).find_map(|_| files.range("w", 0, None, Some(1 << 20)).err());
        assert!(refused.unwrap().contains("shared"));
    }
}
