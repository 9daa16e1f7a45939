//! What `train` says of itself.

use serde::Serialize;

use super::text::percent;
use super::{FileReport, RunReport};
use crate::data::DataSource;
use crate::screen::{Role, Screen, Text};
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
    /// For people.
    pub fn render(&self) -> Screen {
        let mut screen = Screen::default();
        if let Some(a) = &self.accuracy {
            let before = Text::from(format!("before {}, after ", percent(a.before)));
            screen.figure("accuracy", before.and(Role::Strong, percent(a.after)));
            let measured = format!("{} images of {}", a.samples, a.source);
            screen.figure("measured on", measured);
            let runtime = format!("{} {}", self.runtime, self.runtime_version);
            screen.figure("measured in", runtime);
        }
        if let Some(last) = self.epochs.last() {
            let count = self.epochs.len();
            let text = format!("{count}, loss {:.4} in the last", last.loss);
            screen.figure("epochs", text);
        }
        screen.figure("flipped weights", percent(self.flipped_weights));
        screen.figure("time", format!("{:.1} s", self.seconds));
        screen.figure("written", self.output.path.as_str());
        for note in &self.notes {
            screen.note(note.as_str());
        }
        screen
    }
}
