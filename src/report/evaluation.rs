//! What `eval` says of a model.

use serde::Serialize;

use super::text::{grouped, percent};
use crate::screen::Screen;
use crate::verify::{Confusion, Latency};

/// Mistakes that the text lists.
const LISTED: usize = 8;
/// Up to this many classes the JSON holds the whole matrix; beyond, only what is not 0.
const MATRIX: usize = 256;

/// Accuracy and latency of a model (`eval --json`; keys are a contract).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evaluation {
    /// The file.
    pub model: String,
    /// Where the images came from.
    pub data: String,
    /// Who ran it.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Threads within an operator; absent if left to the runtime.
    pub threads: Option<usize>,
    /// Top-1, 0..1.
    pub accuracy: f64,
    /// Share of images whose class is among the five most probable ones, 0..1; absent with fewer than
    /// ten classes.
    pub top5: Option<f64>,
    /// Labelled images.
    pub samples: usize,
    /// Median of one run, in milliseconds.
    pub latency_ms: f64,
    /// Its distribution.
    pub latency: LatencyEntry,
    /// Each class.
    pub classes: Vec<ClassEntry>,
    /// Mistakes, most frequent first.
    pub confused: Vec<ConfusedEntry>,
    /// Counts by true class, then predicted class; absent beyond 256 classes.
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// Times of runs, in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LatencyEntry {
    /// Images a run.
    pub batch: usize,
    /// Runs before the clock counted.
    pub warm_up: usize,
    /// Runs that counted.
    pub runs: usize,
    /// What they took.
    #[serde(flatten)]
    pub times: Latency,
}

/// One class.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClassEntry {
    /// Its name, or its index where the data has no names.
    pub class: String,
    /// Images of it.
    pub samples: u64,
    /// Of these, recognised.
    pub correct: u64,
}

/// Images of one class taken for another.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfusedEntry {
    /// What they are.
    pub class: String,
    /// What the model said.
    pub predicted: String,
    /// How many.
    pub count: u64,
}

impl Evaluation {
    /// Fills in what the predictions say; `names` are the classes' names, as far as there are any.
    #[must_use]
    pub fn with_confusion(mut self, found: &Confusion, names: &[String]) -> Self {
        let name = |class: usize| {
            names
                .get(class)
                .cloned()
                .unwrap_or_else(|| class.to_string())
        };
        let classes = 0..found.classes();
        self.classes = classes
            .map(|class| {
                let (samples, correct) = found.of_class(class);
                ClassEntry {
                    class: name(class),
                    samples,
                    correct,
                }
            })
            .collect();
        let mistakes = found.mistakes();
        self.confused = mistakes
            .iter()
            .map(|m| ConfusedEntry {
                class: name(m.truth),
                predicted: name(m.predicted),
                count: m.count,
            })
            .collect();
        self.confusion = (found.classes() <= MATRIX).then(|| found.matrix().to_vec());
        self
    }

    /// For people.
    pub fn render(&self) -> Screen {
        let mut screen = Screen::default();
        let mut line = |name: &'static str, value: String| screen.figure(name, value);
        line(
            "accuracy",
            format!(
                "{} top-1 on {} images of {}",
                percent(self.accuracy),
                grouped(self.samples as u64),
                self.data
            ),
        );
        let seen = self.classes.iter().filter(|c| c.samples > 0);
        let share = |c: &ClassEntry| c.correct as f64 / c.samples as f64;
        if let Some(worst) = seen.min_by(|a, b| share(a).total_cmp(&share(b))) {
            line(
                "weakest class",
                format!(
                    "'{}': {} of {} recognised ({})",
                    worst.class,
                    grouped(worst.correct),
                    grouped(worst.samples),
                    percent(share(worst))
                ),
            );
        }
        for (number, c) in self.confused.iter().take(LISTED).enumerate() {
            let name = if number == 0 { "mistakes" } else { "" };
            line(
                name,
                format!(
                    "'{}' taken for '{}': {}",
                    c.class,
                    c.predicted,
                    grouped(c.count)
                ),
            );
        }
        if self.confused.len() > LISTED {
            let rest: u64 = self.confused.iter().skip(LISTED).map(|c| c.count).sum();
            line("", format!("{} others; --json lists all", grouped(rest)));
        }
        let l = &self.latency;
        let images = match l.batch {
            1 => "an image".to_owned(),
            n => format!("{n} images"),
        };
        line(
            "latency",
            format!(
                "{:.3} ms {images} (median); 95 % within {:.3} ms, {:.3} to {:.3} ms",
                l.times.median, l.times.p95, l.times.min, l.times.max
            ),
        );
        let threads = match self.threads {
            None => "the runtime's own choice of threads".to_owned(),
            Some(1) => "1 thread".to_owned(),
            Some(n) => format!("{n} threads"),
        };
        line(
            "measured",
            format!("{} runs after {} to warm up, {threads}", l.runs, l.warm_up),
        );
        line(
            "runtime",
            format!("{} {}", self.runtime, self.runtime_version),
        );
        screen
    }
}
