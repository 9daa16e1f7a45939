//! Validation of model files, for CI: the file, the rules of ONNX, shapes, and a run in a runtime.

mod baseline;
mod junit;
mod required;
mod rules;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use walkdir::WalkDir;

use crate::error::Error;
use crate::graph::{Facts, Graph};
use crate::onnx::{Model, OPSETS, to_bytes};
use crate::qonnx;
use crate::recognize;
use crate::rewrite::cost;
use crate::verify::{Runtime, RuntimeError, Samples, SessionOptions};

pub use baseline::{Baseline, BaselineError};
pub use junit::junit;

/// Random inputs that a model is run on, where its batch is free.
const SAMPLES: usize = 2;

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What was checked: `load`, `rules`, `graph`, `shapes`, `runtime`, `outputs`, `baseline`.
    pub check: &'static str,
    /// In one line: the node or tensor, what is wrong, the remedy.
    pub message: String,
}

impl Problem {
    fn new(check: &'static str, message: impl ToString) -> Self {
        let message = message.to_string();
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        Self {
            check,
            message: lines.join(" "),
        }
    }
}

/// What a model is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Opset of the default domain.
    pub opset: i64,
    /// The exporter, as far as it shows.
    pub dialect: String,
    /// Nodes of the main graph.
    pub nodes: usize,
    /// Size of the file, with its external data.
    pub bytes: u64,
    /// Multiply-accumulates of an inference of one sample, in layers with constant weights.
    pub macs: u64,
    /// Binary layers.
    pub binary_layers: usize,
    /// Their filters.
    pub binary_filters: usize,
}

/// What was found of a file.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The file, as it was found.
    pub path: PathBuf,
    /// Nothing is wrong.
    pub passed: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What could not be checked, or looks odd.
    pub notes: Vec<String>,
    /// What it is, as far as it could be read.
    pub summary: Option<Summary>,
    /// Time it took.
    pub seconds: f64,
}

/// Every `.onnx` under the paths, sorted, each once.
///
/// # Errors
/// [`Error::Unsuitable`] for a path that cannot be read, or under which there is no model.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        for entry in WalkDir::new(path).sort_by_file_name() {
            let entry = entry.map_err(|e| Error::unsuitable(path, e.to_string()))?;
            let named = entry.path().extension().is_some_and(|e| e == "onnx");
            // A file that is named itself is checked whatever it is called.
            if entry.file_type().is_file() && (named || entry.depth() == 0) {
                found.push(entry.into_path());
            }
        }
        if found.len() == before {
            return Err(Error::unsuitable(path, "holds no .onnx file"));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Checks one file.
///
/// # Errors
/// Only if the runtime is missing; whatever is wrong with the file is in the result.
pub fn check(path: &Path, runtime: &dyn Runtime) -> Result<Checked, Error> {
    let start = Instant::now();
    let mut found = Checked {
        path: path.to_owned(),
        passed: false,
        problems: Vec::new(),
        notes: Vec::new(),
        summary: None,
        seconds: 0.0,
    };
    match Model::load_any_opset(path) {
        Ok(model) => found.examine(&model, runtime)?,
        Err(e) => found.problems.push(Problem::new("load", e.kind())),
    }
    found.passed = found.problems.is_empty();
    found.seconds = start.elapsed().as_secs_f64();
    Ok(found)
}

impl Checked {
    fn fault(&mut self, check: &'static str, message: impl ToString) {
        self.problems.push(Problem::new(check, message));
    }

    fn examine(&mut self, model: &Model, runtime: &dyn Runtime) -> Result<(), Error> {
        self.notes.extend(model.warnings.iter().cloned());
        let broken = rules::broken(&model.proto);
        self.problems
            .extend(broken.into_iter().map(|m| Problem::new("rules", m)));
        let graph = match Graph::new(&model.proto) {
            Ok(graph) => graph,
            Err(e) => {
                self.fault("graph", e);
                return Ok(());
            }
        };
        let mut summary = Summary {
            opset: graph.opset(),
            dialect: recognize::dialect_of(&graph).exporter.name().to_owned(),
            nodes: graph.order().len(),
            bytes: size(model),
            ..Summary::default()
        };
        match Facts::infer(&graph, 1) {
            _ if !OPSETS.contains(&graph.opset()) => self.notes.push(format!(
                "shapes were not checked: pruning and shape inference take opsets {} to {}",
                OPSETS.start(),
                OPSETS.end()
            )),
            Ok(facts) => {
                let wrong = rules::wrong_shapes(&graph, &facts);
                self.problems
                    .extend(wrong.into_iter().map(|m| Problem::new("shapes", m)));
                let layers = recognize::layers(&graph, &facts);
                let costs = cost(&graph, &facts, &layers);
                summary.macs = costs.layers.iter().map(|l| l.macs).sum();
                let binary = layers.iter().filter(|l| l.is_binary());
                summary.binary_filters = binary.clone().map(|l| l.filters).sum();
                summary.binary_layers = binary.count();
            }
            Err(e) => self.notes.push(format!("shapes were not checked: {e}")),
        }
        self.summary = Some(summary);
        self.run(model, runtime)
    }

    /// Loads and runs the model on random inputs.
    fn run(&mut self, model: &Model, runtime: &dyn Runtime) -> Result<(), Error> {
        let lowered = match qonnx::lower(&model.proto) {
            Ok(lowered) => lowered,
            Err(e) => {
                self.fault("runtime", e);
                return Ok(());
            }
        };
        let outcome = runtime.load(&to_bytes(&lowered.model), &SessionOptions::default());
        let mut session = match outcome {
            Ok(session) => session,
            Err(e @ RuntimeError::Missing(_)) => return Err(e.into()),
            Err(e) => {
                self.fault("runtime", e);
                return Ok(());
            }
        };
        // A batch of its own size, or one that a free batch must take.
        let declared = session.inputs().iter().find_map(|i| *i.shape.first()?);
        let count = declared.unwrap_or(SAMPLES);
        let samples = Samples::Random { seed: 0, count };
        let inputs = match samples.batch(session.inputs(), 0..count) {
            Ok(inputs) => inputs,
            Err(e) => {
                self.notes.push(format!("loaded, but not run: {e}"));
                return Ok(());
            }
        };
        match session.run(&inputs) {
            Ok(outputs) => {
                for (name, y) in outputs {
                    let bad = y.iter().filter(|v| !v.is_finite()).count();
                    if bad > 0 {
                        let count = y.len();
                        self.fault(
                            "outputs",
                            format!("output '{name}': {bad} of {count} numbers are not finite on random inputs"),
                        );
                    }
                }
            }
            Err(e) => self.fault("runtime", e),
        }
        Ok(())
    }
}

fn size(model: &Model) -> u64 {
    let external = model.external_files.iter();
    let external = external.filter_map(|f| Some(std::fs::metadata(f).ok()?.len()));
    model.bytes.len() as u64 + external.sum::<u64>()
}
