//! How a run went, as Python gets it.

use std::any::Any;

use onnx_bnnprune::cli::Outcome;
use onnx_bnnprune::error::Error;
use onnx_bnnprune::rewrite::RewriteError;
use onnx_bnnprune::verify::RuntimeError;
use pyo3::prelude::*;

/// How a run went.
#[derive(Debug, Default, IntoPyObject)]
pub struct Answer {
    /// Which exception it is; empty where it is none.
    kind: &'static str,
    /// The exception's text.
    pub message: String,
    /// The file that it is about.
    file: Option<std::path::PathBuf>,
    code: u8,
    /// The result: text, or JSON.
    text: String,
    /// Why the code is not 0 although there is a result, one line each.
    failures: Vec<String>,
}

impl Answer {
    pub fn of(outcome: Result<Outcome, Error>) -> Self {
        match outcome {
            Ok(outcome) => Self {
                code: outcome.code,
                text: outcome.text(),
                failures: outcome.failures,
                ..Self::default()
            },
            Err(error) => Self {
                kind: kind(&error),
                message: error.to_string(),
                file: error.file().map(ToOwned::to_owned),
                code: error.exit_code(),
                ..Self::default()
            },
        }
    }

    pub fn of_nothing(done: Result<(), Error>) -> Self {
        Self::of(done.map(|()| Outcome::default()))
    }

    /// Whether the run was stopped.
    pub fn interrupted(&self) -> bool {
        self.kind == INTERRUPTED
    }
}

const INTERRUPTED: &str = "interrupted";

/// Which exception an error is.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Kept { source, .. } => kind(source),
        Error::Usage(_) => "usage",
        Error::Runtime(RuntimeError::Missing(_)) => "runtime_missing",
        Error::Verification(_) | Error::Ruined(_) | Error::Runtime(RuntimeError::Candidate(_)) => {
            "verification"
        }
        Error::Interrupted | Error::Unsaved | Error::Paused(_) => INTERRUPTED,
        Error::Data(_) => "data",
        Error::Masks(_)
        | Error::Rewrite {
            source: RewriteError::Masks(_),
            ..
        } => "masks",
        Error::Checkpoint(_) => "checkpoint",
        Error::Save(_) => "output",
        // Whether of a model or of images, the file tells.
        Error::Unsuitable { .. } => "unsuitable",
        Error::Load(_)
        | Error::Graph { .. }
        | Error::Facts { .. }
        | Error::Import { .. }
        | Error::Rewrite { .. }
        | Error::Lower(_)
        | Error::Runtime(_)
        | Error::Refused { .. } => "model",
        _ => "other",
    }
}

/// A defect of the tool.
pub fn panicked(panic: &Box<dyn Any + Send>) -> Answer {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Answer {
        kind: "internal",
        message: text.unwrap_or_else(|| "a panic without a message".to_owned()),
        code: 101,
        ..Answer::default()
    }
}
