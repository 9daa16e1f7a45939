//! What was learned is not lost when something fails behind learning.

use std::path::{Path, PathBuf};

use super::{Chosen, Job, cut};
use crate::checkpoint::{self, Plan};
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::output::{Place, folder_of};

/// `error`, with where the learned network is.
pub(super) fn after(error: Error, job: &Job, model: &Model, chosen: &Chosen) -> Error {
    if matches!(error, Error::Interrupted) {
        return error;
    }
    match note(job, model, chosen) {
        Some(note) => Error::Kept {
            source: Box::new(error),
            note,
        },
        None => error,
    }
}

/// Keeps what was learned; where it is, and how to go on. The network is kept with its masks written into it:
/// of the one without them nobody could tell any more which constants stayed when they were learned. But the
/// integer form is made of layers of ±1.
pub(super) fn note(job: &Job, model: &Model, chosen: &Chosen) -> Option<String> {
    if let Some(note) = of_checkpoint(job.checkpoint.as_ref()) {
        return Some(note);
    }
    let (masks, learned) = (chosen.masks.as_ref()?, chosen.network.as_ref()?);
    let masked = match job.normalise {
        true => None,
        false => cut::masked(job, learned, masks, chosen.folded.as_ref()).ok(),
    };
    let learned = masked.as_ref().map_or(learned, |masked| &masked.model);
    let output = job.output.as_deref()?;
    folders(output).into_iter().find_map(|folder| {
        let file = beside(&folder, output, "onnx");
        let list = beside(&folder, output, "masks.json");
        // Free dimensions are free again there.
        model.save_edited(learned, &file).ok()?;
        masks.save(&list).ok()?;
        // A form may be what failed, and would fail again.
        let without = match job.form {
            Some(_) => " (without --to, if it was that)",
            None => "",
        };
        Some(format!(
            "what was learned is in {} and {}; onnx-bnnprune with the former as IN, --masks with the latter and the options of images and output as before{without} does the rest",
            file.display(),
            list.display()
        ))
    })
}

/// Keeps a network that was trained as it is, as [`after`].
pub(super) fn trained(
    error: Error,
    plan: Option<&Plan>,
    output: &Path,
    model: &Model,
    learned: &ModelProto,
) -> Error {
    if matches!(error, Error::Interrupted) {
        return error;
    }
    let note = of_checkpoint(plan).or_else(|| {
        folders(output).into_iter().find_map(|folder| {
            let file = beside(&folder, output, "onnx");
            model.save_edited(learned, &file).ok()?;
            Some(format!("the trained network is in {}", file.display()))
        })
    });
    match note {
        Some(note) => Error::Kept {
            source: Box::new(error),
            note,
        },
        None => error,
    }
}

fn of_checkpoint(plan: Option<&Plan>) -> Option<String> {
    let folder = &plan?.folder;
    checkpoint::exists(folder).then(|| {
        format!(
            "what was learned is in the checkpoint in {}; once that is solved, the same command goes on from there",
            folder.display()
        )
    })
}

/// Beside the output, or where that cannot be, in the folder for temporary files.
fn folders(output: &Path) -> Vec<PathBuf> {
    let beside = match Place::of(output) {
        Ok(Place::File(path)) => Some(folder_of(&path).to_owned()),
        _ => None,
    };
    beside.into_iter().chain([std::env::temp_dir()]).collect()
}

/// `out.onnx` → `out.onnx.unfinished.onnx`, or with a number where that is taken.
fn beside(folder: &Path, output: &Path, kind: &str) -> PathBuf {
    let name = match output.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "out".to_owned(),
    };
    let path = |number: u32| match number {
        0 => folder.join(format!("{name}.unfinished.{kind}")),
        n => folder.join(format!("{name}.unfinished-{n}.{kind}")),
    };
    let free = (0..1000).map(path).find(|p| p.symlink_metadata().is_err());
    free.unwrap_or_else(|| path(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("o.onnx");
        let next = || beside(dir.path(), &output, "onnx");
        assert_eq!(next().file_name().unwrap(), "o.onnx.unfinished.onnx");
        std::fs::write(next(), "").unwrap();
        assert_eq!(next().file_name().unwrap(), "o.onnx.unfinished-1.onnx");
        assert_eq!(folders(&output).first().unwrap(), dir.path());
        assert_eq!(folders(Path::new("-")), [std::env::temp_dir()]);
    }
}
