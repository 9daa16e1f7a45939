//! Accuracies of a run, and the statistics they depend on.

use ndarray::{ArrayD, IxDyn};

use super::error::TrainError;
use super::mask;
use super::sanity::{agreement, predictions, spread};
use super::span::{Span, TrainingImages};
use super::trainer::Trainer;
use crate::data::{Dataset, Images, Preprocess};
use crate::distributed::{Communicator, numbers_of};
use crate::engine::{Boundary, Inference};
use crate::network::{Network, ParamId};
use crate::progress::Observer;
use crate::training::reestimate_running_statistics;

/// Images that running statistics are re-estimated on.
pub(super) const STATISTICS_IMAGES: usize = 2_048;
/// Validation images that a stage's masks are judged on, at most.
pub const JUDGE_IMAGES: usize = 2_000;
/// Images per batch where nothing is learned, at most, and about so many elements of the input.
const EVAL_BATCH: (usize, usize) = (256, 1 << 22);
/// Elements of all inputs that are held at a time, about.
const HELD_ELEMENTS: usize = 1 << 26;
/// Of however large images: so many are a sample.
const LEAST_SAMPLE: usize = 64;

/// Images of a set that a network is asked about.
#[derive(Clone, Copy)]
pub(super) struct Subset<'a> {
    pub(super) set: &'a Dataset,
    /// Which of the set's images.
    pub(super) indices: &'a [usize],
    /// How they become the network's input.
    pub(super) preprocess: &'a Preprocess,
}

impl<'a> Subset<'a> {
    /// Some of the images to learn from.
    pub(super) fn of_training(images: &'a Images, indices: &'a [usize]) -> Self {
        Self {
            set: &images.train,
            indices,
            preprocess: &images.preprocess,
        }
    }

    /// Some of the images to validate on.
    pub(super) fn of_validation(images: &'a Images, indices: &'a [usize]) -> Self {
        Self {
            set: images.val_set(),
            indices,
            preprocess: &images.preprocess,
        }
    }
}

/// What a network is run within.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    /// Receives progress, and says when to stop.
    pub(super) observer: &'a dyn Observer,
    /// The processes that share the work.
    pub(super) processes: &'a dyn Communicator,
}

/// Images per batch where nothing is learned.
pub(super) fn eval_batch(network: &Network) -> usize {
    let (images, elements) = EVAL_BATCH;
    (elements / elements_of(network)).clamp(1, images)
}

/// At most `count` of the indices, evenly spread; fewer where images are large.
pub(super) fn sample(network: &Network, indices: &[usize], count: usize) -> Vec<usize> {
    let most = (HELD_ELEMENTS / elements_of(network)).max(LEAST_SAMPLE);
    spread(indices, count.min(most))
}

/// Elements of an image.
fn elements_of(network: &Network) -> usize {
    network.input_shape().iter().product::<usize>().max(1)
}

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
        let of = Subset::of_validation(self.images, &chosen);
        let logits = logits_of(self.network, &of, &self.context())?;
        Ok(Some(agreement(&predictions(&logits), &truth)))
    }

    /// Re-estimates the running statistics of the span's BatchNormalizations on training images,
    /// varied as in training: on images that the network has often seen as they are, activations
    /// are further apart than on new ones.
    pub(super) fn reestimate(&mut self, span: &Span) -> Result<(), TrainError> {
        let chosen = sample(self.network, &span.images, STATISTICS_IMAGES);
        let boundaries = self.boundaries(span, &chosen)?;
        Ok(reestimate_running_statistics(
            self.network,
            boundaries,
            span.from,
            self.processes,
        )?)
    }

    /// What the frozen part gives for this process's share of some training images, varied as in training,
    /// batch by batch.
    pub(super) fn boundaries(
        &self,
        span: &Span,
        chosen: &[usize],
    ) -> Result<Vec<Boundary>, TrainError> {
        let mut boundaries = Vec::new();
        for indices in share_of(self.network, chosen, self.processes) {
            self.check_cancelled()?;
            boundaries.push(self.boundary(span, indices, TrainingImages::Augmented)?);
        }
        Ok(boundaries)
    }
}

/// The batches of images that are this process's share.
pub(super) fn share_of<'i>(
    network: &Network,
    indices: &'i [usize],
    processes: &dyn Communicator,
) -> impl Iterator<Item = &'i [usize]> + use<'i> {
    let size = eval_batch(network);
    let share = processes.share(indices.len().div_ceil(size));
    let batches = indices.chunks(size);
    batches.skip(share.start).take(share.len())
}

/// The logits `[N, K]` of images, by running statistics.
pub(super) fn logits_of(
    network: &Network,
    of: &Subset<'_>,
    context: &RunContext<'_>,
) -> Result<ArrayD<f32>, TrainError> {
    logits_counted(network, of, context, &|_| ())
}

/// [`logits_of`], which says of how many more images it has them each time that it has.
pub(super) fn logits_counted(
    network: &Network,
    of: &Subset<'_>,
    context: &RunContext<'_>,
    counted: &dyn Fn(usize),
) -> Result<ArrayD<f32>, TrainError> {
    let &RunContext {
        observer,
        processes,
    } = context;
    let mut rows: Vec<f32> = Vec::new();
    let mut sample: Vec<u64> = Vec::new();
    let inference = Inference::of(network);
    for chunk in share_of(network, of.indices, processes) {
        if observer.cancelled() {
            return Err(TrainError::Interrupted);
        }
        let x = inference.start(of.set.batch(chunk, of.preprocess)?)?;
        let logits = inference.logits(&x)?;
        sample = logits.shape()[1..].iter().map(|&d| d as u64).collect();
        if rows.is_empty() {
            let each = logits.len() / chunk.len().max(1);
            rows.reserve_exact(each.saturating_mul(of.indices.len()) / processes.size().max(1));
        }
        rows.extend(logits.iter());
        counted(chunk.len());
    }
    let (rows, sample) = match processes.size() {
        // They may be many: those of a million images.
        1 => (rows, sample),
        // The first process has a share if any has.
        _ => {
            let shapes = processes.gather(bytemuck::cast_slice(&sample))?;
            (
                processes.gather_numbers(&rows)?,
                numbers_of(&shapes[0]).into_owned(),
            )
        }
    };
    let sample = sample.iter().map(|&d| d as usize);
    let shape: Vec<usize> = std::iter::once(of.indices.len()).chain(sample).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), rows)
        .map_err(|e| TrainError::Mismatch(format!("the network's outputs differ in shape: {e}")))
}
