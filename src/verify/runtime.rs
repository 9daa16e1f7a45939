//! What a runtime is to this crate: it loads a model from memory and runs it on f32 inputs.

use std::time::Instant;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::data::DataError;

/// Tensors by name, in the order of the model's interface.
pub type NamedTensors = Vec<(String, ArrayD<f32>)>;

/// Why a runtime could not do its work. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime is not installed or not built in (exit code 3 of the command line).
    #[error("{0}")]
    Missing(String),
    /// The runtime refuses the model.
    #[error("{runtime} cannot load the model: {reason}{}", newer(reason))]
    Load {
        /// The runtime's name.
        runtime: &'static str,
        /// What it said.
        reason: String,
    },
    /// The runtime failed while running the model.
    #[error("{runtime} cannot run the model: {reason}")]
    Run {
        /// The runtime's name.
        runtime: &'static str,
        /// What it said.
        reason: String,
    },
    /// The process that the runtime ran in (see [`super::Isolated`]) came to no good end: a crash,
    /// or a limit of time or memory.
    #[error("the process that ran {runtime} {reason}")]
    Died {
        /// The runtime's name.
        runtime: &'static str,
        /// How it ended.
        reason: String,
    },
    /// The model's inputs or outputs are not what the caller needs.
    #[error("{0}")]
    Interface(String),
    /// The images that it was to run on cannot be read any more; no model is to blame.
    #[error(transparent)]
    Images(#[from] DataError),
    /// In a comparison: the candidate cannot be loaded or run where the reference can, or has
    /// other inputs or outputs. A verdict on the candidate, not a fault of the input (exit code 1).
    #[error("the candidate does not compute what the reference computes: {0}")]
    Candidate(String),
}

impl RuntimeError {
    /// The same error as a verdict on a comparison's candidate.
    pub(super) fn of_candidate(self) -> Self {
        match self {
            blameless @ (Self::Missing(_) | Self::Images(_)) => blameless,
            verdict @ Self::Candidate(_) => verdict,
            other => Self::Candidate(other.to_string()),
        }
    }
}

/// How far the runtime may rewrite the graph before it runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimization {
    /// Not at all.
    Off,
    /// Redundancy elimination, constant folding and simple fusions.
    Basic,
    /// Everything: what a user gets by default.
    #[default]
    All,
}

/// How to load a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// Graph optimisation level.
    pub optimization: Optimization,
    /// Threads within an operator; 0 leaves the choice to the runtime.
    pub threads: usize,
}

/// Name, element type and shape of a graph input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Name in the graph.
    pub name: String,
    /// Whether elements are 32-bit floats.
    pub float: bool,
    /// Whether elements are bytes (uint8), which the session makes of whole numbers from 0 to 255.
    pub bytes: bool,
    /// Dimensions; `None` where the model leaves one free.
    pub shape: Vec<Option<usize>>,
}

/// An inference engine.
pub trait Runtime: Send + Sync {
    /// Its name, as reports write it.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> &str;

    /// Loads a serialised `ModelProto` whose weights are inline.
    ///
    /// # Errors
    /// [`RuntimeError::Load`] with the runtime's reason.
    fn load(
        &self,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, RuntimeError>;

    /// Loads a model and runs it once on made-up inputs, a function of the seed.
    ///
    /// # Errors
    /// If the model cannot be loaded or run.
    fn try_out(&self, model: &[u8], seed: u64) -> Result<Trial, RuntimeError> {
        let options = SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        };
        super::trial::try_floats(&mut *self.load(model, &options)?, seed)
    }
}

/// A loaded model.
pub trait Session {
    /// Inputs that must be given: initializers listed as inputs are left out.
    fn inputs(&self) -> &[TensorInfo];

    /// Outputs, in graph order.
    fn outputs(&self) -> &[TensorInfo];

    /// Runs the model on one batch. Outputs of other number types are converted to f32.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] with the runtime's reason.
    fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError>;

    /// Runs the model `warm_up` times, then `runs` times more; of these, how many milliseconds each
    /// took where the model is.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] with the runtime's reason.
    fn time(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
        warm_up: usize,
        runs: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        for _ in 0..warm_up {
            self.run(inputs)?;
        }
        (0..runs)
            .map(|_| {
                let start = Instant::now();
                self.run(inputs)?;
                Ok(start.elapsed().as_secs_f64() * 1e3)
            })
            .collect()
    }
}

/// What to do about a model that is newer than the runtime, if that is what it says.
fn newer(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    let version = ["ir version", "ir_version", "opset"];
    match version.iter().any(|word| reason.contains(word)) {
        true => {
            "; install a newer runtime, or save the model with an older IR version or opset (onnx.version_converter)"
        }
        false => "",
    }
}

/// Indented lines that belong to the first one of a message, at most.
const MORE_LINES: usize = 4;

/// The first line of what a runtime said, with those that are indented below it, for one-line errors.
pub(super) fn first_line(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    let first = lines.next().unwrap_or("unknown error").trim();
    let mut said = without_place(first).to_owned();
    for more in lines
        .take_while(|line| line.starts_with(' '))
        .take(MORE_LINES)
    {
        said = format!("{said}; {}", more.trim());
    }
    said
}

/// ONNX Runtime's message without the place in its source that it begins with.
fn without_place(line: &str) -> &str {
    let place = line.split_once(".cc:");
    let rest = place.and_then(|(_, rest)| rest.split_once(") "));
    match rest {
        Some((_, message)) if line.starts_with('/') && !message.trim().is_empty() => message.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_newer_than_the_runtime_is_said_in_few_words() {
        let said = "/onnxruntime_src/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, \
                    const onnxruntime::ModelOptions&) Unsupported model IR version: 99, max supported IR version: 14";
        let error = RuntimeError::Load {
            runtime: "ONNX Runtime",
            reason: first_line(said),
        };
        let text = error.to_string();
        let begin = "ONNX Runtime cannot load the model: Unsupported model IR version: 99";
        assert!(
            text.starts_with(begin) && text.contains("install a newer runtime"),
            "{text}"
        );
        assert_eq!(first_line("a.cc:3 f(x) why"), "a.cc:3 f(x) why");
        let sizes =
            "for the following indices\n index: 0 Got: 8 Expected: 1\n Please fix either.\nat f()";
        let said = "for the following indices; index: 0 Got: 8 Expected: 1; Please fix either.";
        assert_eq!(first_line(sizes), said);
    }
}
