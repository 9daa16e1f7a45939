//! Of which run a checkpoint is: model, images, and every option that shapes the output.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::summary::hex;
use super::{Comparison, DataSource, Job, TrainJob, VAL_SPLIT};
use crate::checkpoint::Identity;
use crate::data::{Dataset, Images, Preprocess};
use crate::error::Error;
use crate::files;
use crate::onnx::Model;
use crate::subsidiary::{Amount, Options, Selector};

/// The identity of a job that learns.
///
/// # Errors
/// If external data of the model can no longer be read.
pub(super) fn of(
    job: &Job,
    model: &Model,
    images: &Images,
    options: &Options,
) -> Result<Identity, Error> {
    // Each field is named here, so that a new one is not forgotten.
    let Job {
        // What they hold counts, not what they are called.
        input: _,
        source,
        // They only fill in what the data show.
        sizes: _,
        // In `options`.
        choice: _,
        keep: _,
        round_to: _,
        removal: _,
        seed: _,
        // They shape the output behind learning.
        form,
        residual,
        normalise,
        inference_mode,
        // They only say what is written, and where.
        output: _,
        dry_run: _,
        save_masks: _,
        save_masked: _,
        writes: _,
        checkpoint: _,
        // A run that was too costly is not learned again to accept it.
        budget: _,
        pictures: _,
    } = job;
    let mut run = Run::on(model, images)?;
    run.put_selector(&options.selector);
    run.put_options(options);
    run.put("--to", form.map_or("none", |form| form.name()));
    run.put("--normalise", &normalise.to_string());
    run.put("--inference-mode", &inference_mode.to_string());
    run.put_value("--residual", &json(residual).unwrap_or_default());
    run.put_data(source.as_ref(), &images.preprocess);
    Ok(run.0)
}

/// The identity of a job that trains a network as it is.
///
/// # Errors
/// If external data of the model can no longer be read.
pub(super) fn of_training(
    job: &TrainJob,
    model: &Model,
    images: &Images,
) -> Result<Identity, Error> {
    let TrainJob {
        input: _,
        output: _,
        source,
        // The images have them.
        sizes: _,
        options,
        writes: _,
        checkpoint: _,
    } = job;
    let mut run = Run::on(model, images)?;
    run.put("the command", "train");
    for (name, value) in fields(options) {
        run.put_value(&option(&name), &value);
    }
    run.put_data(Some(source), &images.preprocess);
    Ok(run.0)
}

/// The identity of a comparison: all that shapes its runs, but for what its cells say.
///
/// # Errors
/// If external data of the model can no longer be read.
pub(super) fn of_comparison(
    comparison: &Comparison,
    model: &Model,
    images: &Images,
) -> Result<Identity, Error> {
    let Comparison {
        job,
        tuning,
        cells: _,
        folder: _,
    } = comparison;
    let mut run = Run::on(model, images)?;
    run.put("the command", "compare");
    run.put_options(&tuning.options(images, job));
    // Each cell has its own.
    run.0.remove("--seed");
    run.put_data(job.source.as_ref(), &images.preprocess);
    Ok(run.0)
}

#[derive(Default)]
struct Run(Identity);

impl Run {
    fn on(model: &Model, images: &Images) -> Result<Self, Error> {
        let mut run = Self::default();
        run.put("the version of the tool", env!("CARGO_PKG_VERSION"));
        run.put("the model (SHA-256)", &model_sum(model)?);
        run.put("the images (SHA-256)", &images_sum(images));
        Ok(run)
    }

    fn put(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    fn put_value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) => self.put(name, text),
            other => self.put(name, &other.to_string()),
        }
    }

    /// All options but the selector, whose parts are named one by one.
    fn put_options(&mut self, options: &Options) {
        for (name, value) in fields(options) {
            match name.as_str() {
                "selector" => {}
                "decay" => self.put_value("--lr-schedule", &value),
                name => self.put_value(&option(name), &value),
            }
        }
    }

    fn put_selector(&mut self, selector: &Selector) {
        self.put("--method", selector.name());
        let ratio = match selector {
            Selector::Subsidiary {
                ratio: Some(ratio),
                gives_back: true,
            } => {
                self.put("--ratio, or less", &ratio.to_string());
                None
            }
            Selector::Subsidiary { ratio, .. } => *ratio,
            Selector::Rule { amount, .. } => match amount {
                Amount::Ratio(ratio) => Some(*ratio),
                Amount::Shared(ratio) => {
                    self.put("--ratio, shared out", &ratio.to_string());
                    None
                }
                Amount::Like { masks, .. } => {
                    let text = json(&masks.layers).unwrap_or_default().to_string();
                    self.put("--like (SHA-256)", &hex(text.as_bytes()));
                    None
                }
            },
        };
        if let Some(ratio) = ratio {
            self.put("--ratio", &ratio.to_string());
        }
    }

    fn put_data(&mut self, source: Option<&DataSource>, preprocess: &Preprocess) {
        // The layout is the model's.
        for (name, value) in fields(preprocess) {
            if name != "layout" {
                self.put_value(&option(&name), &value);
            }
        }
        let Some(source) = source else { return };
        if source.val.is_none() {
            let share = source.val_split.unwrap_or(VAL_SPLIT);
            self.put("--val-split", &share.to_string());
        }
        for (name, value) in fields(&source.augment) {
            self.put_value(&option(&name), &value);
        }
    }
}

/// A field's option.
fn option(field: &str) -> String {
    format!("--{}", field.replace('_', "-"))
}

/// The fields of a struct by name.
fn fields(of: &impl Serialize) -> Map<String, Value> {
    match json(of) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// As JSON, through text: numbers then have the digits that a user gave.
fn json(of: &impl Serialize) -> Option<Value> {
    serde_json::from_str(&serde_json::to_string(of).ok()?).ok()
}

/// Of the file and the external data that belong to it.
fn model_sum(model: &Model) -> Result<String, Error> {
    let mut sum = Sha256::new_with_prefix(&model.bytes);
    for path in &model.external_files {
        let mut file = files::open(path).map_err(|e| unreadable(path, &e))?;
        std::io::copy(&mut file, &mut sum).map_err(|e| unreadable(path, &e))?;
    }
    Ok(text(sum))
}

fn unreadable(path: &Path, e: &std::io::Error) -> Error {
    Error::unsuitable(path, format!("cannot be read: {e}"))
}

/// Of the images as decoded, their labels, and which are for training and which for validation.
fn images_sum(images: &Images) -> String {
    let mut sum = Sha256::new();
    add_set(&mut sum, &images.train);
    if let Some(val) = &images.val {
        add_set(&mut sum, val);
    }
    add_indices(&mut sum, &images.train_indices);
    add_indices(&mut sum, &images.val_indices);
    text(sum)
}

fn add_set(sum: &mut Sha256, set: &Dataset) {
    // The same wherever the images are kept.
    sum.update([u8::from(set.images.are_floats())]);
    add_indices(sum, &set.image_shape());
    for of_image in set.sums() {
        sum.update(of_image.to_le_bytes());
    }
    match &set.labels {
        Some(labels) => add_indices(sum, labels),
        None => sum.update([0]),
    }
}

fn add_indices(sum: &mut Sha256, indices: &[usize]) {
    sum.update((indices.len() as u64).to_le_bytes());
    for &i in indices {
        sum.update((i as u64).to_le_bytes());
    }
}

fn text(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
