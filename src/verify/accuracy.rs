//! Top-1 and top-5 accuracy of a model in a runtime.

use super::batched::BatchedSession;
use super::predictions::Predictions;
use super::runtime::RuntimeError;
use super::samples::Samples;

/// What a model said of labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Share of correct predictions, 0..1.
    pub fraction: f64,
    /// Share of samples whose class is among the five most probable ones; absent with fewer than ten classes.
    pub top5: Option<f64>,
    /// The predicted class of each sample.
    pub predictions: Vec<usize>,
}

/// Classes that the model tells apart: the size of axis 1 of its first output on one sample, or two by one number.
///
/// # Errors
/// If the model can't be run or has no output `[N, K]` or `[N]`.
pub fn output_classes(
    session: &mut BatchedSession,
    samples: &Samples<'_>,
) -> Result<usize, RuntimeError> {
    let inputs = samples.batch(session.inputs(), 0..samples.len().min(1))?;
    let outputs = session.run(&inputs)?;
    let shape = outputs.first().map(|(_, output)| output.shape());
    let asked = samples.len().min(1);
    match shape {
        Some([n]) if *n == asked => Ok(2),
        Some([_, rest @ ..]) if rest.iter().all(|&side| side == 1) => Ok(2),
        Some([_, classes, rest @ ..]) if rest.iter().all(|&side| side == 1) => Ok(*classes),
        _ => Err(RuntimeError::Interface(
            "the model's first output is not [N, classes]: it has no accuracy".into(),
        )),
    }
}

/// The most probable classes of every sample, `batch` at a time. A model with one number a sample says class 1
/// above `threshold` ([`threshold_of_one_output`](super::threshold_of_one_output)).
///
/// # Errors
/// If the model can't be run or its first output is not `[N, K]` (or `[N, K, 1, 1]`) or `[N]`, or one number that
/// is a probability by its values alone.
pub fn predict(
    session: &mut BatchedSession,
    samples: &Samples<'_>,
    batch: usize,
    threshold: f32,
) -> Result<Predictions, RuntimeError> {
    let batch = batch.max(1);
    let mut predictions = Predictions::default();
    for start in (0..samples.len()).step_by(batch) {
        let range = start..samples.len().min(start.saturating_add(batch));
        let inputs = samples.batch(session.inputs(), range.clone())?;
        let outputs = session.run(&inputs)?;
        let mut first = outputs.first().into_iter();
        let count = range.len();
        if !first.any(|(_, output)| {
            predictions.add(output.view(), count)
                || predictions.add_one_output(output.view(), count, threshold)
        }) {
            return Err(RuntimeError::Interface(
                "the model's first output is not [N, classes]: it has no accuracy".into(),
            ));
        }
    }
    match predictions.look_like_probabilities() {
        true => Err(RuntimeError::Interface(
            "the model's only output lies within 0 and 1 on every image, as a probability does, and no Sigmoid ends the model: above what it says class 1 is not known; give the logit, or end the model in a Sigmoid".into(),
        )),
        false => Ok(predictions),
    }
}

/// Accuracy on `samples`, whose classes are `labels`.
///
/// # Errors
/// As [`predict`]; and if there are no samples, or not one label for each.
pub fn accuracy(
    session: &mut BatchedSession,
    samples: &Samples<'_>,
    labels: &[usize],
    batch: usize,
    threshold: f32,
) -> Result<Accuracy, RuntimeError> {
    labelled(samples.len(), labels)?;
    Accuracy::of(predict(session, samples, batch, threshold)?, labels)
}

impl Accuracy {
    /// Of predictions that were made before.
    ///
    /// # Errors
    /// If there are none, or not one label for each.
    pub fn of(predictions: Predictions, labels: &[usize]) -> Result<Self, RuntimeError> {
        labelled(predictions.len(), labels)?;
        let both = predictions.first.iter().zip(labels);
        let correct = both.filter(|(a, b)| a == b).count();
        Ok(Self {
            fraction: correct as f64 / labels.len() as f64,
            top5: predictions.top5(labels),
            predictions: predictions.first,
        })
    }
}

fn labelled(images: usize, labels: &[usize]) -> Result<(), RuntimeError> {
    match images > 0 && images == labels.len() {
        true => Ok(()),
        false => Err(RuntimeError::Interface(format!(
            "accuracy needs labelled images: {images} images, {} labels",
            labels.len()
        ))),
    }
}
