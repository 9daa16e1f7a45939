//! Accuracies of a run, and the statistics they depend on.

use ndarray::{ArrayD, IxDyn};

use super::error::TrainError;
use super::mask;
use super::sanity::{agreement, predictions, spread};
use super::trainer::{Span, Trainer};
use crate::data::{Dataset, Preprocess};
use crate::engine::Inference;
use crate::network::{Network, ParamId};
use crate::progress::Observer;
use crate::training::reestimate_running_statistics;

/// Images that running statistics are re-estimated on.
pub(super) const STATISTICS_IMAGES: usize = 2_048;
/// Validation images that a stage's masks are judged on, at most.
pub const JUDGE_IMAGES: usize = 2_000;
/// Images per batch where nothing is learned.
pub(super) const EVAL_BATCH: usize = 256;

impl Trainer<'_> {
    /// Sets a mask and re-estimates statistics; the accuracy then (`None` without labels).
    pub(super) fn masked_accuracy(
        &mut self,
        m: ParamId,
        keep: &[bool],
        span: &Span,
    ) -> Result<Option<f64>, TrainError> {
        self.network.values_mut(m).assign(&mask::hard(keep));
        self.reestimate(span)?;
        self.accuracy()
    }

    /// Native accuracy on (at most 2,000 of) the validation images; `None` without labels.
    pub(super) fn accuracy(&self) -> Result<Option<f64>, TrainError> {
        let set = self.images.val_set();
        let Some(labels) = &set.labels else {
            return Ok(None);
        };
        let chosen = spread(&self.images.val_indices, JUDGE_IMAGES);
        let truth: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
        let pre = &self.images.preprocess;
        let logits = logits_of(self.network, set, &chosen, pre, self.observer)?;
        Ok(Some(agreement(&predictions(&logits), &truth)))
    }

    /// Re-estimates the running statistics of the span's BatchNormalizations on training images,
    /// varied as in training: on images that the network has often seen as they are, activations
    /// are further apart than on new ones.
    pub(super) fn reestimate(&mut self, span: &Span) -> Result<(), TrainError> {
        let chosen = spread(&self.images.train_indices, STATISTICS_IMAGES);
        let mut boundaries = Vec::new();
        for indices in chosen.chunks(EVAL_BATCH) {
            self.check_cancelled()?;
            boundaries.push(self.boundary(span, indices, true)?);
        }
        Ok(reestimate_running_statistics(
            self.network,
            boundaries,
            span.from,
        )?)
    }
}

/// The logits `[N, K]` of images, by running statistics.
pub(super) fn logits_of(
    network: &Network,
    set: &Dataset,
    indices: &[usize],
    preprocess: &Preprocess,
    observer: &dyn Observer,
) -> Result<ArrayD<f32>, TrainError> {
    let mut rows: Vec<f32> = Vec::new();
    let mut shape = vec![0, 0];
    let inference = Inference::of(network);
    for chunk in indices.chunks(EVAL_BATCH) {
        if observer.cancelled() {
            return Err(TrainError::Interrupted);
        }
        let x = inference.start(set.batch(chunk, preprocess)?)?;
        let logits = inference.logits(&x)?;
        shape = logits.shape().to_vec();
        rows.extend(logits.iter());
    }
    shape[0] = indices.len();
    ArrayD::from_shape_vec(IxDyn(&shape), rows)
        .map_err(|e| TrainError::Mismatch(format!("the network's outputs differ in shape: {e}")))
}
