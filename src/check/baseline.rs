//! What models are expected to hold, pinned in a file, and what has become worse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::place;
use super::finding::Findings;
use super::stages::{FileReport, LayerSummary, ModelSummary};
use crate::files as plain;
use crate::onnx::{SaveError, write_atomically};

/// The first key of every baseline.
const FORMAT: &str = "onnx-bnnprune-baseline/1";
/// Longest baseline read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// A baseline: what each file is expected to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    format: String,
    models: BTreeMap<String, Pin>,
}

/// What one file is expected to hold, at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Filters of each binary layer.
    pub layers: BTreeMap<String, usize>,
    /// Bytes of the file and its external data.
    pub bytes: u64,
    /// Multiply-accumulates on one sample.
    pub macs: u64,
}

/// Why a baseline cannot be read or written.
#[derive(Debug, Error)]
#[error("{}: {why}", path.display())]
pub struct BaselineError {
    path: PathBuf,
    why: String,
}

impl BaselineError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Baseline {
    /// Of files that were all found good. Those whose layers could not be looked at are not pinned.
    pub fn of(reports: &[FileReport]) -> Self {
        let pin = |r: &FileReport| {
            let model = r.summary.as_ref()?;
            let layers = model.layers.as_ref()?;
            let pin = Pin {
                layers: layers.filters.clone(),
                bytes: model.bytes,
                macs: layers.macs,
            };
            Some((r.path.clone(), pin))
        };
        Self {
            format: FORMAT.to_owned(),
            models: reports.iter().filter_map(pin).collect(),
        }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, BaselineError> {
        let error = |why: String| BaselineError {
            path: path.to_owned(),
            why,
        };
        let bytes =
            plain::read(path, MAX_FILE).map_err(|e| error(format!("cannot be read: {e}")))?;
        let found: Self = serde_json::from_slice(&bytes).map_err(|e| {
            error(format!(
                "is no baseline ({e}); write one with --write-baseline"
            ))
        })?;
        if found.format != FORMAT {
            return Err(error(format!(
                "has the format '{}', expected is '{FORMAT}'; write it anew with --write-baseline",
                found.format
            )));
        }
        Ok(found)
    }

    /// Writes the baseline.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        write_atomically(path, &json)
    }

    /// Adds to each report what is worse than pinned, and reports of pinned files under `roots`
    /// that are gone. Paths are those of `folder`, the current one; the baseline was read from `file`.
    pub fn compare(
        &self,
        reports: &mut Vec<FileReport>,
        roots: &[PathBuf],
        folder: &Path,
        file: &Path,
    ) {
        let pinned = self.places(reports, folder, file);
        let at = |path: &str| place(folder, Path::new(path));
        for report in reports.iter_mut() {
            let pin = pinned.get(&at(&report.path)).map(|(_, pin)| pin);
            let found = match (pin, &report.summary) {
                (Some(pin), Some(model)) => pin.compare(model),
                (Some(_), None) => continue,
                (None, _) => unpinned(),
            };
            report.extend(found);
        }
        let seen: BTreeSet<PathBuf> = reports.iter().map(|r| at(&r.path)).collect();
        let roots: Vec<PathBuf> = roots.iter().map(|root| place(folder, root)).collect();
        for (_, (name, _)) in (pinned.iter()).filter(|(place, _)| {
            !seen.contains(*place) && roots.iter().any(|root| place.starts_with(root))
        }) {
            let why = "is pinned in the baseline but not there; restore it, or write the baseline anew with --write-baseline";
            reports.push(FileReport::failed(Path::new(name), "baseline", why));
        }
    }

    /// Where the pinned files lie. Their paths are those of the folder that the baseline was written from: `folder`,
    /// or one above it, whichever most of the files of `reports` are pinned from; of several, that with the
    /// baseline's `file` in it, else the nearest.
    fn places(
        &self,
        reports: &[FileReport],
        folder: &Path,
        file: &Path,
    ) -> BTreeMap<PathBuf, (&str, &Pin)> {
        let from = |folder: &Path| -> BTreeMap<PathBuf, (&str, &Pin)> {
            let pins = self.models.iter();
            pins.map(|(name, pin)| (place(folder, Path::new(name)), (name.as_str(), pin)))
                .collect()
        };
        let files: Vec<PathBuf> = (reports.iter())
            .map(|r| place(folder, Path::new(&r.path)))
            .collect();
        let home = place(folder, file).parent().map(Path::to_owned);
        let candidates = folder.ancestors().map(|above| {
            let places = from(above);
            let count = files.iter().filter(|f| places.contains_key(*f)).count();
            (count, home.as_deref() == Some(above), places)
        });
        // The last of equals is the nearest.
        let candidates = candidates.collect::<Vec<_>>().into_iter().rev();
        let best = candidates.max_by_key(|(count, home, _)| (*count, *count > 0 && *home));
        best.filter(|(count, ..)| *count > 0)
            .map_or_else(|| from(folder), |(_, _, places)| places)
    }
}

fn unpinned() -> Findings {
    let mut found = Findings::default();
    found.warning(
        "baseline",
        "is not pinned in the baseline; add it with --write-baseline",
    );
    found
}

impl Pin {
    fn compare(&self, model: &ModelSummary) -> Findings {
        let mut found = Findings::default();
        let Some(layers) = &model.layers else {
            found.error(
                "baseline",
                "is pinned in the baseline, but its layers can no longer be counted; see above",
            );
            return found;
        };
        self.compare_layers(layers, &mut found);
        for (what, pinned, now) in [
            ("bytes", self.bytes, model.bytes),
            ("multiply-accumulates", self.macs, layers.macs),
        ] {
            if now > pinned {
                found.error(
                    "baseline",
                    format!("has {now} {what}, pinned are {pinned}; prune it again, or write the baseline anew with --write-baseline"),
                );
            }
        }
        found
    }

    fn compare_layers(&self, layers: &LayerSummary, found: &mut Findings) {
        const REMEDY: &str = "or write the baseline anew with --write-baseline";
        let now = &layers.filters;
        if now.len() != self.layers.len() {
            found.error(
                "baseline",
                format!(
                    "has {} binary layers, pinned are {}; restore the export, {REMEDY}",
                    now.len(),
                    self.layers.len()
                ),
            );
        }
        for (name, &pinned) in &self.layers {
            match now.get(name) {
                None => found.error_at(
                    "baseline",
                    name,
                    format!("is no binary layer any more; restore the export, {REMEDY}"),
                ),
                Some(&n) if n > pinned => found.error_at(
                    "baseline",
                    name,
                    format!("has {n} filters, pinned are {pinned}; prune it again, {REMEDY}"),
                ),
                Some(_) => {}
            }
        }
        for name in now.keys().filter(|n| !self.layers.contains_key(*n)) {
            found.error_at(
                "baseline",
                name,
                format!("is a binary layer that is not pinned; restore the export, {REMEDY}"),
            );
        }
    }
}
