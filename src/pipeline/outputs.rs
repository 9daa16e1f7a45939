//! Before any work: can everything be written that will be, and is nothing of it read?

use super::DataSource;
use crate::data;
use crate::error::Error;
use crate::onnx::{self, Model, SaveError};
use crate::output::{self, FileId, Target};

/// Room for a report or a masks file, in bytes.
const SMALL: u64 = 64 << 10;
/// Arguments that name models.
const MODELS: [&str; 2] = ["OUT", "--save-masked"];

/// Checks what the job will write against the files that belong to the model and the data, and
/// tries each folder with a file of about the size to come.
pub(super) fn check(
    writes: &[Target],
    model: &Model,
    source: Option<&DataSource>,
) -> Result<(), Error> {
    output::overwrites(writes, "the weights of IN", &model.external_files)?;
    if let Some(source) = source {
        // Only a file that exists can be an image that is read.
        let there = writes.iter().filter(|t| t.path.exists());
        let there: Vec<Target> = there.cloned().collect();
        if source.synthetic.is_none() {
            let images = data::image_files(&source.data);
            output::overwrites(&there, "an image of --data", images)?;
        }
        if let Some(val) = &source.val {
            output::overwrites(&there, "an image of --val", data::image_files(val))?;
        }
    }
    let is_model = |target: &&Target| MODELS.contains(&target.name);
    if onnx::needs_data_file(&model.proto) {
        let beside: Vec<Target> = writes.iter().filter(is_model).filter_map(data_of).collect();
        output::overwrites(&beside, "IN", [&model.path])?;
        output::overwrites(&beside, "the weights of IN", &model.external_files)?;
        let all: Vec<Target> = writes.iter().chain(&beside).cloned().collect();
        output::clash(&all)?;
    }
    for target in writes.iter().filter(|t| t.in_place) {
        let input = FileId::of_input(&model.path);
        if input.is_some() && input != FileId::of_output(&target.path) {
            return Err(Error::Usage(format!(
                "--in-place: {} is another file than the input {}; leave it out",
                target.path.display(),
                model.path.display()
            )));
        }
    }
    for target in writes {
        let room = match is_model(&target) {
            true => model.total_bytes(),
            false => SMALL,
        };
        output::probe(&target.path, room).map_err(|source| SaveError::Io {
            path: target.path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// The file beside a model that takes its weights.
fn data_of(target: &Target) -> Option<Target> {
    Some(Target {
        name: "the weights of OUT",
        path: onnx::data_file(&target.path)?,
        in_place: false,
    })
}
