//! What models were, to find out when they get worse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Checked, Problem};

/// `format` of the file.
const FORMAT: &str = "onnx-bnnprune-baseline/1";

/// Expectations by file, as paths were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    format: String,
    models: BTreeMap<String, Expected>,
}

/// What a model must not fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    binary_layers: usize,
    binary_filters: usize,
    bytes: u64,
    macs: u64,
}

/// A baseline that cannot be read.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// The file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its content.
    #[error("{}: is not a baseline of this tool ({why}); write one with --write-baseline", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Baseline {
    /// Of what was found now.
    pub fn of(checked: &[Checked]) -> Self {
        let models = checked.iter().filter_map(|c| {
            let s = c.summary.as_ref()?;
            let expected = Expected {
                binary_layers: s.binary_layers,
                binary_filters: s.binary_filters,
                bytes: s.bytes,
                macs: s.macs,
            };
            Some((c.path.display().to_string(), expected))
        });
        Self {
            format: FORMAT.to_owned(),
            models: models.collect(),
        }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// If the file cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let text = std::fs::read_to_string(path).map_err(|source| BaselineError::Io {
            path: path.to_owned(),
            source,
        })?;
        let format = |why: String| BaselineError::Format {
            path: path.to_owned(),
            why,
        };
        let found: Self = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        match found.format == FORMAT {
            true => Ok(found),
            false => Err(format(format!("format '{}'", found.format))),
        }
    }

    /// Adds a problem to each model that is worse than it was: another number of binary layers, or
    /// more filters, bytes or multiply-accumulates; and one for each model that is gone.
    pub fn compare(&self, checked: &mut Vec<Checked>) {
        for (path, expected) in &self.models {
            let Some(now) = checked
                .iter_mut()
                .find(|c| c.path.display().to_string() == *path)
            else {
                checked.push(Checked {
                    path: PathBuf::from(path),
                    passed: false,
                    problems: vec![Problem::new("baseline", "is in the baseline but not here")],
                    notes: Vec::new(),
                    summary: None,
                    seconds: 0.0,
                });
                continue;
            };
            let Some(s) = &now.summary else {
                continue;
            };
            let mut worse = Vec::new();
            if s.binary_layers != expected.binary_layers {
                let (is, was) = (s.binary_layers, expected.binary_layers);
                worse.push(format!("has {is} binary layers instead of {was}"));
            }
            for (what, is, was) in [
                (
                    "binary filters",
                    s.binary_filters as u64,
                    expected.binary_filters as u64,
                ),
                ("bytes", s.bytes, expected.bytes),
                ("multiply-accumulates", s.macs, expected.macs),
            ] {
                if is > was {
                    worse.push(format!(
                        "has {is} {what}, more than the {was} of the baseline"
                    ));
                }
            }
            let worse = worse.into_iter().map(|m| Problem::new("baseline", m));
            now.problems.extend(worse);
            now.passed = now.problems.is_empty();
        }
    }
}
