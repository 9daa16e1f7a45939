//! What `train` says of itself.

use serde::Serialize;

use super::text::{figure, percent};
use super::{FileReport, RunReport};
use crate::pipeline::DataSource;
use crate::printable::printable;
use crate::subsidiary::{EpochReport, TrainOptions};

/// Everything a training run says of itself (keys are stable).
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TrainReport {
    /// Always `onnx-bnnprune`.
    pub tool: String,
    /// The tool's version.
    pub version: String,
    /// The model read.
    pub input: FileReport,
    /// The model written.
    pub output: FileReport,
    /// Top-1 accuracy in the runtime; absent where the validation images have no labels.
    pub accuracy: Option<TrainAccuracy>,
    /// On which share of validation images the trained network and the written model, in the
    /// runtime, predict the same.
    pub agreement_with_native: Option<f64>,
    /// Every epoch.
    pub epochs: Vec<EpochReport>,
    /// Share of the binary weights whose sign changed.
    pub flipped_weights: f64,
    /// Whether the run went on from a checkpoint.
    pub resumed: bool,
    /// Who ran the models.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// How the network was trained.
    pub options: TrainOptions,
    /// The images and their preprocessing.
    pub data: DataSource,
    /// Which run it was: command, time, machine.
    pub run: RunReport,
    /// Wall-clock time of this process.
    pub seconds: f64,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// Top-1 accuracy, as fractions, in the runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TrainAccuracy {
    /// Of the input model.
    pub before: f64,
    /// Of the output model.
    pub after: f64,
    /// Number of images.
    pub samples: usize,
    /// Where the images came from.
    pub source: String,
}

impl TrainReport {
    /// As text for a terminal.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: String| text += &figure(label, &value);
        if let Some(a) = &self.accuracy {
            let (before, after) = (percent(a.before), percent(a.after));
            line("accuracy", format!("before {before}, after {after}"));
            line(
                "measured on",
                format!("{} images of {}", a.samples, a.source),
            );
            let runtime = format!("{} {}", self.runtime, self.runtime_version);
            line("measured in", runtime);
        }
        if let Some(last) = self.epochs.last() {
            let count = self.epochs.len();
            line(
                "epochs",
                format!("{count}, loss {:.4} in the last", last.loss),
            );
        }
        line("flipped weights", percent(self.flipped_weights));
        line("time", format!("{:.1} s", self.seconds));
        line("written", self.output.path.clone());
        for note in &self.notes {
            text += &format!("note: {}\n", printable(note));
        }
        text
    }
}
