//! Weights in files beside the model: inside its folder, of the right length, each byte once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::load::LoadErrorKind;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto, tensor_proto,
};

/// Tied weights are stored once and used twice; what is used more often than this is no network.
const MAX_SHARING: u64 = 8;
/// Below this many bytes in all, sharing is not counted.
const SMALL: u64 = 16 << 20;

/// The files that a model's tensors name.
pub(super) struct External<'p> {
    folder: &'p Path,
    /// What was read of each file, by offset.
    read: BTreeMap<PathBuf, BTreeMap<u64, Bytes>>,
    /// Bytes read, and bytes that tensors hold.
    distinct: u64,
    held: u64,
}

impl<'p> External<'p> {
    /// For a model in `folder`.
    pub(super) fn new(folder: &'p Path) -> Self {
        Self {
            folder,
            read: BTreeMap::new(),
            distinct: 0,
            held: 0,
        }
    }

    /// Puts all external data of `model` inline.
    ///
    /// # Errors
    /// If a file leads outside the folder, is too short or no plain file, or tensors overlap in it.
    pub(super) fn load(&mut self, model: &mut ModelProto) -> Result<(), LoadErrorKind> {
        match model.graph.as_mut() {
            Some(graph) => self.graph(graph),
            None => Ok(()),
        }
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
        for node in &mut graph.node {
            for a in &mut node.attribute {
                self.attribute(a)?;
            }
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
            Some(v) => match v.parse::<u64>() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(format!("has the {key} '{v}', which is not a number")),
            },
        };
        let data = number("offset")
            .and_then(|offset| Ok((offset.unwrap_or(0), number("length")?)))
            .and_then(|(offset, length)| self.range(&location, offset, length))
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

    /// `length` bytes at `offset`, or all from there on; an error text if they cannot be had.
    fn range(&mut self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        let path = inside(self.folder, location)?;
        let about = std::fs::metadata(&path).map_err(|e| format!("cannot be read: {e}"))?;
        if !about.is_file() {
            return Err("is no plain file; refused".to_owned());
        }
        let size = about.len();
        let length = length.unwrap_or(size.saturating_sub(offset));
        let end = offset.saturating_add(length);
        if end > size {
            return Err(format!(
                "has {size} bytes, but bytes {offset} to {end} are asked for"
            ));
        }
        self.held = self.held.saturating_add(length);
        let read = self.read.entry(path.clone()).or_default();
        // Several tensors may share one range, but not overlap.
        let before = read.range(..end).next_back();
        let data = match before {
            Some((&at, data)) if at == offset && data.len() as u64 == length => data.clone(),
            Some((&at, data)) if length > 0 && at + data.len() as u64 > offset => {
                return Err(format!(
                    "bytes {offset} to {end} overlap those of another tensor; save the model anew with onnx.save"
                ));
            }
            _ => {
                let mut file =
                    std::fs::File::open(&path).map_err(|e| format!("cannot be opened: {e}"))?;
                let mut data = Vec::new();
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.take(length).read_to_end(&mut data))
                    .map_err(|e| format!("cannot be read: {e}"))?;
                if data.len() as u64 != length {
                    return Err("became shorter while it was read".to_owned());
                }
                self.distinct = self.distinct.saturating_add(length);
                let data = Bytes::from(data);
                if length > 0 {
                    read.insert(offset, data.clone());
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
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|e| format!("cannot be opened: {e}"))
    };
    let found = real(&folder.join(relative))?;
    if !found.starts_with(real(folder)?) {
        return Err("leads outside the model's folder through a link; refused".to_owned());
    }
    // The real file: two links to it are one file.
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn ranges_are_shared_or_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), [7u8; 100]).unwrap();
        let mut files = External::new(dir.path());
        assert_eq!(files.range("w", 0, Some(40)).unwrap().len(), 40);
        assert_eq!(files.range("w", 60, None).unwrap().len(), 40);
        assert_eq!(files.range("w", 0, Some(40)).unwrap().len(), 40);
        assert_eq!(files.range("./w", 40, Some(20)).unwrap().len(), 20);
        assert_eq!(files.range("w", 50, Some(0)).unwrap().len(), 0);
        for (offset, length) in [(0, 41), (30, 20), (99, 1), (10, 10), (0, 100)] {
            let why = files.range("w", offset, Some(length)).unwrap_err();
            assert!(why.contains("overlap"), "{offset} {length}: {why}");
        }
        assert!(files.range("w", 0, Some(101)).is_err());
        assert!(files.range("w", u64::MAX, Some(2)).is_err());
        assert!(
            files
                .range(".", 0, Some(1))
                .unwrap_err()
                .contains("plain file")
        );
        assert_eq!(files.files().len(), 1);
    }

    #[test]
    fn a_range_shared_by_thousands_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w"), vec![0u8; 1 << 20]).unwrap();
        let mut files = External::new(dir.path());
        let refused = (0..1000).find_map(|_| files.range("w", 0, None).err());
        assert!(refused.unwrap().contains("shared"));
    }
}
