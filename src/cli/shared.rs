//! What several commands need: images, a runtime, JSON.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::{Augment, Dataset, Images};
use crate::engine::Precision;
use crate::error::Error;
use crate::onnx::{SaveError, write_atomically};
use crate::page::PageError;
use crate::pipeline::DataSource;
use crate::printable::printable_json;
use crate::screen::Screen;
use crate::subsidiary::Decay;
use crate::verify::{
    NamedTensors, OrtRuntime, Runtime, RuntimeError, Samples, Session, SessionOptions, TensorInfo,
    Trial, name_operator_library,
};

use super::args::{DataArgs, PrecisionName, RuntimeArgs, RuntimeChoice, SYNTHETIC, ScheduleName};
use super::host::{Host, Outcome};
use super::isolate::{library, operators};
use super::targets::Named;

/// Samples a run in `eval` and `verify`.
pub const BATCH: usize = 64;

/// The images that the arguments name, if they name some.
pub fn source_of(args: &DataArgs) -> Option<DataSource> {
    Some(DataSource {
        data: args.data.clone()?,
        synthetic: None,
        val: None,
        val_split: None,
        classes: args.classes.clone(),
        scale: args.scale,
        mean: args.mean.clone(),
        std: args.std.clone(),
        channels: args.channels.map(Into::into),
        resize: args.resize,
        crop: args.crop,
        augment: Augment::default(),
        images_mb: args.images_mb,
        skip_bad: args.skip_bad,
    })
}

/// The images that arguments of a command which learns nothing name.
///
/// # Errors
/// If they are to be made.
pub fn measured_on(args: &DataArgs) -> Result<Option<DataSource>, Error> {
    let source = source_of(args);
    match source
        .as_ref()
        .is_some_and(|s| s.data == Path::new(SYNTHETIC))
    {
        true => Err(Error::Usage(format!(
            "--data {SYNTHETIC}: images are made to learn from, and nothing is learned here; give real ones (a folder of that name is ./{SYNTHETIC})"
        ))),
        false => Ok(source),
    }
}

/// The validation images.
pub fn samples(images: &Images) -> Samples<'_> {
    let set: &Dataset = images.val_set();
    Samples::Images {
        data: set,
        indices: &images.val_indices,
        preprocess: &images.preprocess,
    }
}

/// The runtime that the arguments ask for, in this process.
pub fn runtime(args: &RuntimeArgs, host: &Host<'_>) -> Result<Box<dyn Runtime>, RuntimeError> {
    let ort = || -> Result<Box<dyn Runtime>, RuntimeError> {
        let library = library(args, host)?;
        operators(args, host)?
            .into_iter()
            .for_each(name_operator_library);
        Ok(Box::new(match library.is_absolute() {
            true => OrtRuntime::new(Some(&library))?,
            // A bare name is for the system's loader.
            false => OrtRuntime::of_system()?,
        }))
    };
    choose(args, host, ort, tract)
}

/// The one of two runtimes that the arguments ask for.
pub fn choose(
    args: &RuntimeArgs,
    host: &Host<'_>,
    ort: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    tract: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
) -> Result<Box<dyn Runtime>, RuntimeError> {
    match args.runtime {
        RuntimeChoice::Ort => ort(),
        RuntimeChoice::Tract => tract(),
        RuntimeChoice::Auto => ort().or_else(|missing| {
            let note = format!("{missing}; tract verifies instead");
            host.observer.warn(&note);
            tract()
        }),
    }
}

/// tract, in this process.
#[cfg(feature = "tract")]
pub fn tract() -> Result<Box<dyn Runtime>, RuntimeError> {
    Ok(Box::new(crate::verify::TractRuntime))
}

/// tract, in this process.
#[cfg(not(feature = "tract"))]
pub fn tract() -> Result<Box<dyn Runtime>, RuntimeError> {
    Err(RuntimeError::Missing(
        "tract is not built in; build with the cargo feature `tract`, or use --runtime ort"
            .to_owned(),
    ))
}

/// A runtime whose sessions stop at the next batch once the flag is set.
pub struct Interruptible(pub Box<dyn Runtime>, pub Arc<AtomicBool>);

impl Runtime for Interruptible {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn load(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError> {
        let session = self.0.load(model, options)?;
        Ok(Box::new(InterruptibleSession(session, Arc::clone(&self.1))))
    }

    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        self.0.try_out(model, seed)
    }
}

struct InterruptibleSession(Box<dyn Session>, Arc<AtomicBool>);

impl Session for InterruptibleSession {
    fn inputs(&self) -> &[TensorInfo] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[TensorInfo] {
        self.0.outputs()
    }

    fn run(
        &mut self,
        inputs: &[(String, ndarray::ArrayD<f32>)],
    ) -> Result<NamedTensors, RuntimeError> {
        match self.1.load(Ordering::Relaxed) {
            // The caller sees the flag as well: this text is never shown.
            true => Err(RuntimeError::Interface("interrupted".to_owned())),
            false => self.0.run(inputs),
        }
    }

    fn time(
        &mut self,
        inputs: &[(String, ndarray::ArrayD<f32>)],
        warm_up: usize,
        runs: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(RuntimeError::Interface("interrupted".to_owned())),
            false => self.0.time(inputs, warm_up, runs),
        }
    }
}

/// The decay of that name.
pub fn decay(name: ScheduleName) -> Decay {
    match name {
        ScheduleName::Exponential => Decay::Exponential,
        ScheduleName::Cosine => Decay::Cosine,
        ScheduleName::Constant => Decay::Constant,
    }
}

/// The precision of that name.
pub fn precision(name: PrecisionName) -> Precision {
    match name {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::Int8 => Precision::Int8,
    }
}

/// Writes a report to `path`, if there is one.
pub fn write_report(path: Option<&Path>, report: &impl serde::Serialize) -> Result<(), Error> {
    match path {
        Some(path) => unless_read_enough(write_atomically(path, json(path, report)?.as_bytes())),
        None => Ok(()),
    }
}

/// Whoever reads a report or a page from standard output (`| head`) may stop when they have seen enough. A model, or
/// masks, they want whole.
fn unless_read_enough(written: Result<(), SaveError>) -> Result<(), Error> {
    match written {
        Err(SaveError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Writes a page about a report to `path`, if there is one.
pub fn write_page(
    path: Option<&Path>,
    page: impl FnOnce() -> Result<String, PageError>,
) -> Result<(), Error> {
    let Some(path) = path else {
        return Ok(());
    };
    let page = page().map_err(|e| Error::unsuitable(path, e.to_string()))?;
    unless_read_enough(write_atomically(path, page.as_bytes()))
}

/// A command line as reports hold it.
pub fn words(line: &[OsString]) -> Vec<String> {
    let words = line.iter().enumerate();
    words
        .map(|(place, word)| match place {
            // Not where the program is installed.
            0 => "onnx-bnnprune".to_owned(),
            _ => word.to_string_lossy().into_owned(),
        })
        .collect()
}

/// Adds the files that a job wrote beside OUT to the figure `written` above: those that were asked for, where
/// that went well.
pub fn also_written(screen: &mut Screen, files: &[(Named<'_>, bool)]) {
    for ((option, path), well) in files {
        if let Some(path) = path.filter(|path| *well && *path != Path::new("-")) {
            screen.figure("", format!("{} ({option})", path.display()));
        }
    }
}

/// What a job says at its end. Where one of its files went to standard output, its result
/// goes elsewhere. What it could not write is said after that.
pub fn concluded(
    screen: Screen,
    code: u8,
    on_stdout: bool,
    written: Result<(), Error>,
) -> Result<Outcome, Error> {
    let outcome = Outcome {
        on_stderr: on_stdout,
        ..Outcome::new(screen, code)
    };
    Ok(outcome.and(written))
}

/// `value` as the JSON that a command prints; `path` is the file concerned.
pub fn json(path: &Path, value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value)
        .map(|s| printable_json(&s) + "\n")
        .map_err(|e| Error::unsuitable(path, format!("cannot be written as JSON: {e}")))
}
