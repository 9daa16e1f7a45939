//! What several commands need: images, a runtime, JSON.

use std::io::Write as _;
use std::path::Path;

use crate::data::{Augment, Dataset, Images};
use crate::engine::Precision;
use crate::error::Error;
use crate::onnx::write_atomically;
use crate::pipeline::DataSource;
use crate::printable::{printable_json, printable_line, printable_lines};
use crate::subsidiary::{Decay, MainOptimizer};
use crate::verify::{
    NamedTensors, OrtRuntime, Runtime, RuntimeError, Samples, Session, SessionOptions, TensorInfo,
    Trial,
};

use super::args::{
    DataArgs, OptimizerName, PrecisionName, RuntimeArgs, RuntimeChoice, ScheduleName,
};
use super::progress::interrupted;

/// Samples a run in `eval` and `verify`.
pub const BATCH: usize = 64;

/// The images that the arguments name, if they name some.
pub fn source_of(args: &DataArgs) -> Option<DataSource> {
    Some(DataSource {
        data: args.data.clone()?,
        synthetic: None,
        val: None,
        val_split: 0.1,
        classes: args.classes.clone(),
        scale: args.scale,
        mean: args.mean.clone(),
        std: args.std.clone(),
        channels: args.channels.map(Into::into),
        resize: args.resize,
        crop: args.crop,
        augment: Augment::default(),
    })
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
pub fn runtime(args: &RuntimeArgs) -> Result<Box<dyn Runtime>, RuntimeError> {
    let ort = || -> Result<Box<dyn Runtime>, RuntimeError> {
        Ok(Box::new(OrtRuntime::new(args.ort_lib.as_deref())?))
    };
    choose(args, ort, tract)
}

/// The one of two runtimes that the arguments ask for.
pub fn choose(
    args: &RuntimeArgs,
    ort: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    tract: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
) -> Result<Box<dyn Runtime>, RuntimeError> {
    match args.runtime {
        RuntimeChoice::Ort => ort(),
        RuntimeChoice::Tract => tract(),
        RuntimeChoice::Auto => ort().or_else(|missing| {
            let missing = printable_line(&missing.to_string());
            eprintln!("note: {missing}; tract verifies instead");
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

/// A runtime whose sessions stop at the next batch once the user has pressed Ctrl-C.
pub struct Interruptible(pub Box<dyn Runtime>);

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
        Ok(Box::new(InterruptibleSession(session)))
    }

    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        self.0.try_out(model, seed)
    }
}

struct InterruptibleSession(Box<dyn Session>);

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
        match interrupted() {
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
        match interrupted() {
            true => Err(RuntimeError::Interface("interrupted".to_owned())),
            false => self.0.time(inputs, warm_up, runs),
        }
    }
}

/// Uses that many threads.
pub fn set_threads(threads: Option<usize>) -> Result<(), Error> {
    let Some(n) = threads else {
        return Ok(());
    };
    if n == 0 {
        return Err(Error::Usage("--threads must be at least 1".to_owned()));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Error::Usage(format!("--threads {n}: {e}")))
}

/// The optimiser of that name.
pub fn optimizer(name: OptimizerName) -> MainOptimizer {
    match name {
        OptimizerName::Adam => MainOptimizer::Adam,
        OptimizerName::Sgd => MainOptimizer::Sgd,
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

/// Prints a warning.
pub fn warn(text: &str) {
    eprintln!("warning: {}", printable_line(text));
}

/// Writes a report to `path`, if there is one.
pub fn write_report(path: Option<&Path>, report: &impl serde::Serialize) -> Result<(), Error> {
    match path {
        Some(path) => Ok(write_atomically(path, json(path, report)?.as_bytes())?),
        None => Ok(()),
    }
}

/// What a job prints at its end. Where one of its files went to standard output, its text goes to
/// standard error. What it could not write is said after the text, and instead of `code`.
pub fn concluded(
    text: String,
    code: u8,
    on_stdout: bool,
    written: Result<(), Error>,
) -> Result<(String, u8), Error> {
    let safe = printable_lines(&text);
    match (on_stdout, written) {
        (false, Ok(())) => return Ok((text, code)),
        // A reader who has left (`| head`) is no reason to fail.
        (false, Err(e)) => {
            let _ = std::io::stdout().write_all(safe.as_bytes());
            return failed(code, e);
        }
        (true, written) => {
            let _ = std::io::stderr().write_all(safe.as_bytes());
            if let Err(e) = written {
                return failed(code, e);
            }
        }
    }
    Ok((String::new(), code))
}

/// What could not be written is an error, unless the job had failed already: that counts.
fn failed(code: u8, e: Error) -> Result<(String, u8), Error> {
    match code {
        0 => Err(e),
        code => {
            eprintln!("onnx-bnnprune: {}", printable_line(&e.to_string()));
            Ok((String::new(), code))
        }
    }
}

/// `value` as the JSON that a command prints; `path` is the file concerned.
pub fn json(path: &Path, value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value)
        .map(|s| printable_json(&s) + "\n")
        .map_err(|e| Error::unsuitable(path, format!("cannot be written as JSON: {e}")))
}
