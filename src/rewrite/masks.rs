//! Filter masks: which filters of which layers are pruned, and the file that holds them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::Analysis;
use crate::files;

/// The `format` of a masks file.
pub const FORMAT: &str = "onnx-bnnprune-masks/1";
/// Longest masks file read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Which filters are pruned, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterMasks {
    /// By layer name (its node's, see [`crate::graph::Graph::label`]).
    pub layers: BTreeMap<String, LayerMask>,
}

/// The file's own form.
#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    #[serde(deserialize_with = "each_once")]
    layers: BTreeMap<String, LayerMask>,
}

/// The layers of a file, which JSON allows to be named twice.
fn each_once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, LayerMask>, D::Error> {
    struct Layers;
    impl<'de> Visitor<'de> for Layers {
        type Value = BTreeMap<String, LayerMask>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from layers to their pruned filters")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut layers = BTreeMap::new();
            while let Some((name, mask)) = map.next_entry::<String, LayerMask>()? {
                if layers.contains_key(&name) {
                    return Err(serde::de::Error::custom(format!(
                        "layer '{name}' is listed twice"
                    )));
                }
                layers.insert(name, mask);
            }
            Ok(layers)
        }
    }
    from.deserialize_map(Layers)
}

/// The pruned filters of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerMask {
    /// How many filters the layer has.
    pub filters: usize,
    /// Which of them are pruned.
    pub pruned: Vec<usize>,
}

/// Why masks cannot be read, written or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MasksError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not JSON of this form.
    #[error("{}: is not a masks file: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Text that is not UTF-8, as JSON is.
    #[error("{}: is in UTF-16; save it in UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
    },
    /// Another format.
    #[error("{}: has format '{found}', expected '{FORMAT}'", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// As given.
        found: String,
    },
    /// No such layer.
    #[error(
        "masks name layer '{layer}', which the model does not have{near}; `inspect` lists the layers"
    )]
    UnknownLayer {
        /// As given.
        layer: String,
        /// Names like it, as a phrase.
        near: String,
    },
    /// Another number of filters.
    #[error(
        "layer '{layer}': the masks are for {masks} filters, the model has {model}; were they made for another model?"
    )]
    FilterCount {
        /// The layer.
        layer: String,
        /// By the masks.
        masks: usize,
        /// In the model.
        model: usize,
    },
    /// No such filter.
    #[error("layer '{layer}': filter {filter} does not exist; filters are 0 to {}", filters.saturating_sub(1))]
    OutOfRange {
        /// The layer.
        layer: String,
        /// As given.
        filter: usize,
        /// How many there are.
        filters: usize,
    },
    /// A filter given twice.
    #[error("layer '{layer}': filter {filter} is listed twice")]
    Duplicate {
        /// The layer.
        layer: String,
        /// As given.
        filter: usize,
    },
    /// Nothing would be left.
    #[error("layer '{layer}': the masks remove all {filters} filters; keep at least one")]
    Empties {
        /// The layer.
        layer: String,
        /// How many there are.
        filters: usize,
    },
}

impl MasksError {
    /// The masks file, where it is to blame as a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Json { path, .. }
            | Self::Encoding { path }
            | Self::Format { path, .. } => Some(path),
            _ => None,
        }
    }
}

impl FilterMasks {
    /// Reads a masks file.
    pub fn load(path: &Path) -> Result<Self, MasksError> {
        let text = files::read(path, MAX_FILE).map_err(|source| MasksError::Io {
            path: path.to_owned(),
            source,
        })?;
        if text.starts_with(&[0xFF, 0xFE]) || text.starts_with(&[0xFE, 0xFF]) {
            return Err(MasksError::Encoding {
                path: path.to_owned(),
            });
        }
        // Some editors and shells begin UTF-8 with a byte order mark.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        let file: File = serde_json::from_slice(text).map_err(|source| MasksError::Json {
            path: path.to_owned(),
            source,
        })?;
        if file.format != FORMAT {
            return Err(MasksError::Format {
                path: path.to_owned(),
                found: file.format,
            });
        }
        Ok(Self {
            layers: file.layers,
        })
    }

    /// The bytes of a masks file: the same for the same masks.
    ///
    /// # Errors
    /// None that masks are known to have.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&File {
            format: FORMAT.to_owned(),
            layers: self.layers.clone(),
        })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Writes a masks file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), MasksError> {
        let json = |source| MasksError::Json {
            path: path.to_owned(),
            source,
        };
        let io = |source| MasksError::Io {
            path: path.to_owned(),
            source,
        };
        let text = self.to_bytes().map_err(json)?;
        crate::output::write(path, &text).map_err(io)
    }

    /// Adds pruned filters of a layer.
    pub fn prune(&mut self, layer: &str, filters: usize, pruned: impl IntoIterator<Item = usize>) {
        let entry = self.layers.entry(layer.to_owned()).or_insert(LayerMask {
            filters,
            pruned: Vec::new(),
        });
        entry.pruned.extend(pruned);
        entry.pruned.sort_unstable();
        entry.pruned.dedup();
    }

    /// Checks that the masks fit an analysed model.
    pub fn validate(&self, analysis: &Analysis) -> Result<(), MasksError> {
        for (layer, mask) in &self.layers {
            let filters = analysis
                .filters(layer)
                .ok_or_else(|| MasksError::UnknownLayer {
                    layer: layer.clone(),
                    near: analysis.did_you_mean(layer),
                })?;
            if mask.filters != filters {
                return Err(MasksError::FilterCount {
                    layer: layer.clone(),
                    masks: mask.filters,
                    model: filters,
                });
            }
            let mut seen = vec![false; filters];
            for &filter in &mask.pruned {
                match seen.get_mut(filter) {
                    None => {
                        return Err(MasksError::OutOfRange {
                            layer: layer.clone(),
                            filter,
                            filters,
                        });
                    }
                    Some(true) => {
                        return Err(MasksError::Duplicate {
                            layer: layer.clone(),
                            filter,
                        });
                    }
                    Some(new) => *new = true,
                }
            }
            if filters > 0 && mask.pruned.len() == filters {
                return Err(MasksError::Empties {
                    layer: layer.clone(),
                    filters,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_each_layer_once_in_utf_8() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("masks.json");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            FilterMasks::load(&path).map_err(|e| e.to_string())
        };
        let file = |layers: &str| format!("{{\"format\": \"{FORMAT}\", \"layers\": {{{layers}}}}}");
        let one = "\"a\": {\"filters\": 4, \"pruned\": [1]}";
        let found = read(file(one).as_bytes()).unwrap();
        assert_eq!(found.layers["a"].pruned, [1]);
        let marked = format!("\u{feff}{}", file(one));
        assert_eq!(read(marked.as_bytes()).unwrap(), found);
        let why = read(file(&format!("{one}, {one}")).as_bytes()).unwrap_err();
        assert!(why.contains("layer 'a' is listed twice"), "{why}");
        let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let why = read(&wide).unwrap_err();
        assert!(why.contains("UTF-16"), "{why}");
    }
}
