//! One run's network and data, and what its stages share.

use ndarray::{ArrayD, Axis};

use super::budget::Judge;
use super::error::TrainError;
use super::evaluate::{RunContext, STATISTICS_IMAGES, Subset, eval_batch, logits_of, sample};
use super::objective::Objective;
use super::prefix::Caching;
use super::resume::Saving;
use super::shrinking::Shrinking;
use super::span::Span;
use super::state::Run;
use super::teacher::Teacher;
use super::{Control, Options, temperature};
use crate::data::Images;
use crate::distributed::Communicator;
use crate::engine::Boundary;
use crate::network::{Network, ParamId};
use crate::progress::Observer;
use crate::stopwatch::Stopwatch;
use crate::training::restore_norms;

/// One run's network, images and options.
pub(super) struct Trainer<'a> {
    pub(super) network: &'a mut Network,
    pub(super) images: &'a Images,
    pub(super) options: &'a Options,
    pub(super) observer: &'a dyn Observer,
    /// The processes that share the run.
    pub(super) processes: &'a dyn Communicator,
    pub(super) teacher: Option<Teacher>,
    /// What the network is held against.
    pub(super) judge: Option<Judge>,
    /// By how much the regulariser weighs the filters of each group.
    pub(super) weights: Vec<f32>,
    /// What logits are divided by in losses.
    pub(super) temperature: f32,
    pub(super) caching: Caching,
    /// Where the run is.
    pub(super) run: Run,
    /// Whether the network that learns has become smaller than the file's.
    pub(super) shrinking: Shrinking<'a>,
    /// Where the run is saved.
    pub(super) saving: Saving<'a>,
    /// Where the time goes.
    pub(super) clock: Stopwatch,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        network: &'a mut Network,
        images: &'a Images,
        options: &'a Options,
        control: Control<'a>,
    ) -> Result<Self, TrainError> {
        let Control {
            observer,
            checkpoint,
            processes,
        } = control;
        let context = RunContext {
            observer,
            processes,
        };
        let saving = Saving::to(checkpoint, processes)?;
        // Of a run that has learned, nobody asks the original any more.
        let learns = !saving.is_finished();
        let teacher = match learns {
            true => Teacher::new(network, images, options, &context)?,
            false => None,
        };
        let judge = match learns {
            true => Judge::new(network, images, options, &context)?,
            false => None,
        };
        let temperature = temperature_of(network, teacher.as_ref(), images, &context)?;
        let mut trainer = Self {
            network,
            images,
            options,
            observer,
            processes,
            teacher,
            judge,
            weights: Vec::new(),
            temperature,
            caching: Caching::default(),
            run: Run::default(),
            shrinking: Shrinking::default(),
            saving,
            clock: Stopwatch::default(),
        };
        trainer.restore_norms()?;
        Ok(trainer)
    }

    /// Puts BatchNormalizations back that the file's form hides.
    fn restore_norms(&mut self) -> Result<(), TrainError> {
        if self.network.hidden_norms().is_empty() {
            return Ok(());
        }
        let chosen = sample(self.network, &self.images.train_indices, STATISTICS_IMAGES);
        let mut starts = Vec::new();
        for indices in chosen.chunks(eval_batch(self.network)) {
            let x = self.images.train.batch(indices, &self.images.preprocess)?;
            starts.push(Boundary::start(self.network, x)?);
        }
        restore_norms(self.network, starts)?;
        Ok(())
    }

    pub(super) fn context(&self) -> RunContext<'a> {
        RunContext {
            observer: self.observer,
            processes: self.processes,
        }
    }

    /// What losses of this run are computed from.
    pub(super) fn objective(&self) -> Objective<'a> {
        Objective {
            images: self.images,
            options: self.options,
            temperature: self.temperature,
        }
    }

    pub(super) fn options(&self) -> &'a Options {
        self.options
    }

    pub(super) fn param(&self, p: ParamId) -> &ArrayD<f32> {
        &self.network.param(p).value
    }

    /// A seed for stage `index`, different from those of other purposes.
    pub(super) fn seed_of(&self, index: u64) -> u64 {
        let mixed = self.options.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ index.wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    /// Steps of an epoch of so many images.
    pub(super) fn steps(&self, images: usize) -> usize {
        self.options.batches(images)
    }

    /// Steps of an epoch of all training images.
    pub(super) fn steps_per_epoch(&self) -> usize {
        self.steps(self.images.train_indices.len())
    }

    /// Begins with progress anew where a phase is run once more: steps are counted as they were planned.
    pub(super) fn take_again(&mut self, span: &Span, epochs: usize, stages: usize) {
        let again = self.steps(span.images.len()).saturating_mul(epochs);
        self.run.steps = self.run.steps.saturating_sub(again as u64);
        let images = self.images.train_indices.len();
        let all = self.options.steps_of_run(images, stages) as u64;
        let left = all.saturating_sub(self.run.steps);
        self.observer.begin("learning", left);
    }

    /// Counts the steps of a stage that has nothing to learn as done.
    pub(super) fn skip(&mut self, span: &Span) {
        let options = self.options;
        let epochs = options.mask_epochs_of_stage() + options.main_epochs;
        let steps = self.steps(span.images.len()).saturating_mul(epochs) as u64;
        self.run.steps += steps;
        self.observer.advance(steps);
    }

    /// Steps in which a mask is trained.
    pub(super) fn steps_per_mask(&self, span: &Span) -> usize {
        let steps = self.steps(span.images.len());
        steps.saturating_mul(self.options.mask_epochs)
    }

    pub(super) fn check_cancelled(&self) -> Result<(), TrainError> {
        match self.observer.cancelled() {
            true => Err(TrainError::Interrupted),
            false => Ok(()),
        }
    }
}

/// The temperature of the original's logits, on some training images.
fn temperature_of(
    network: &Network,
    teacher: Option<&Teacher>,
    images: &Images,
    context: &RunContext<'_>,
) -> Result<f32, TrainError> {
    let chosen = sample(network, &images.train_indices, STATISTICS_IMAGES);
    let logits = match teacher {
        Some(Teacher::Kept(all)) => all.select(Axis(0), &chosen),
        Some(Teacher::Asked(_)) | None => {
            let of = Subset::of_training(images, &chosen);
            logits_of(network, &of, context)?
        }
    };
    let labels = images.train.labels.as_ref();
    let labels = labels.map(|l| chosen.iter().map(|&i| l[i]).collect::<Vec<usize>>());
    Ok(temperature::of(&logits, labels.as_deref()))
}
