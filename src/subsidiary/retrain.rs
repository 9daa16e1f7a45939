//! Training of a network as it is: the last phase of the schedule alone, nothing masked.

use bnn_kernels::buffers::release_memory;
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::evaluate::{RunContext, Subset, logits_of};
use super::sanity::{predictions, spread};
use super::trainer::Trainer;
use super::{Control, Decay, JUDGE_IMAGES, Options};
use crate::data::{Augment, Images};
use crate::distributed::Alone;
use crate::engine::Precision;
use crate::network::Network;
use crate::progress::Observer;
use crate::training::OptimizerRule;

/// Options of training a network as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TrainOptions {
    /// Passes over the training images.
    pub epochs: usize,
    /// Learning rate.
    pub lr: f32,
    /// Epochs in which the rate rises from 0.
    pub warm_up: usize,
    /// How the rate falls then.
    pub lr_schedule: Decay,
    /// Optimiser.
    #[cfg_attr(test, schemars(with = "String"))]
    pub optimizer: &'static dyn OptimizerRule,
    /// With which numbers binary layers compute gradients.
    pub gradients: Precision,
    /// Images per step.
    pub batch_size: usize,
    /// Seed of the order of images and of their variation.
    pub seed: u64,
}

impl TrainOptions {
    /// As options of a schedule without stages, by cross-entropy with the labels alone.
    fn of_schedule(&self, images: usize, augment: Augment) -> Options {
        Options {
            distill: 0.0,
            final_epochs: self.epochs,
            main_lr: self.lr,
            warm_up: self.warm_up,
            decay: self.lr_schedule,
            optimizer: self.optimizer,
            gradients: self.gradients,
            batch_size: self.batch_size,
            seed: self.seed,
            augment,
            ..Options::for_images(images)
        }
    }
}

/// One epoch of training weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EpochReport {
    /// Mean loss.
    pub loss: f32,
    /// Native accuracy after it, by running statistics, on at most [`JUDGE_IMAGES`] validation
    /// images; `None` without labels, and in epochs after which it was not taken.
    pub accuracy: Option<f64>,
    /// Accuracy on the training images as they passed by; `None` without labels.
    pub training_accuracy: Option<f64>,
    /// The learning rate at its end.
    pub learning_rate: f32,
}

/// What training did.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrained {
    /// Every epoch, those before an interruption included.
    pub epochs: Vec<EpochReport>,
    /// Share of the binary weights whose sign changed.
    pub flipped_weights: f64,
    /// Whether the run went on from a checkpoint.
    pub resumed: bool,
}

/// Trains all parameters of a network on labelled images, in place.
///
/// With a checkpoint, the run is saved every few minutes, and goes on from where it was saved last:
/// the result is that of an uninterrupted run, to the bit.
///
/// # Errors
/// If the network cannot be run on the images, the loss is no longer a number, the run cannot be
/// saved, or the user stops it.
pub fn retrain(
    network: &mut Network,
    images: &Images,
    augment: Augment,
    options: &TrainOptions,
    control: Control<'_>,
) -> Result<Retrained, TrainError> {
    let epochs = options.epochs;
    let options = options.of_schedule(images.train_indices.len(), augment);
    let observer = control.observer;
    let mut trainer = Trainer::new(network, images, &options, control)?;
    let resumed = trainer.resume(&[])?;
    let mut flipped_weights = 0.0;
    if !trainer.run.finished {
        let steps = (trainer.steps_per_epoch() * epochs) as u64;
        observer.begin("training", steps.saturating_sub(trainer.run.steps));
        let whole = trainer.whole();
        (flipped_weights, _) = trainer.retrain_watched(&whole, epochs, |trainer, training| {
            let report = training.report(trainer.accuracy_by_now(&whole)?);
            trainer.run.whole.push(report);
            observer.note(&report.line(training.epochs, epochs));
            Ok(())
        })?;
        observer.end();
    }
    trainer.finish()?;
    release_memory();
    Ok(Retrained {
        epochs: std::mem::take(&mut trainer.run.whole),
        flipped_weights,
        resumed,
    })
}

impl EpochReport {
    fn line(&self, epoch: usize, epochs: usize) -> String {
        let accuracy = match self.accuracy {
            Some(a) => format!(", accuracy {:.2} %", a * 100.0),
            None => String::new(),
        };
        format!("epoch {epoch}/{epochs}: loss {:.4}{accuracy}", self.loss)
    }
}

/// The classes that a native network gives (at most [`JUDGE_IMAGES`]) validation images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativePredictions {
    /// The class of each.
    pub classes: Vec<usize>,
    /// Which images these are.
    pub images: Vec<usize>,
}

/// What the native network predicts for validation images.
///
/// # Errors
/// If the network cannot be run on them, or the user stops it.
pub fn native_predictions(
    network: &Network,
    images: &Images,
    observer: &dyn Observer,
) -> Result<NativePredictions, TrainError> {
    let chosen = spread(&images.val_indices, JUDGE_IMAGES);
    let of = Subset::of_validation(images, &chosen);
    let context = RunContext {
        observer,
        processes: &Alone,
    };
    let logits = logits_of(network, &of, &context)?;
    Ok(NativePredictions {
        classes: predictions(&logits),
        images: chosen,
    })
}
