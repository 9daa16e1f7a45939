//! Phases of training: of a mask, and of the main network.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{ArrayD, Axis};

use super::average::Average;
use super::best_epoch::BestEpoch;
use super::error::TrainError;
use super::objective::loss;
use super::retrain::EpochReport;
use super::sanity::predictions;
use super::span::{Span, TrainingImages};
use super::state::Training;
use super::teacher::Sample;
use super::trainer::Trainer;
use super::{Decay, MaskGroup, mask};
use crate::data::{Images, epoch_order};
use crate::engine::{Mode, Plan, Wanted, Weights};
use crate::network::{Network, ParamId};
use crate::ops::ParamKind;
use crate::progress::Silent;
use crate::training::{Adam, Optimizer, Schedule};

/// Times that the accuracy is taken while the whole network is retrained.
const CURVE_POINTS: usize = 8;

/// What the epochs of a phase have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase<'a> {
    span: &'a Span,
    batch_statistics: bool,
    /// Of a mask phase.
    regularizer: Option<&'a mask::Regularizer>,
    /// Of a mask phase: the group, and how many filters to keep after each step, where that is given.
    mask: Option<(&'a MaskGroup, Option<usize>)>,
}

impl<'a> Phase<'a> {
    /// A phase that trains a mask alone; the main network is frozen, and BatchNormalization uses
    /// running statistics. With a goal, exactly so many filters are kept after each step.
    pub(super) fn of_mask(
        span: &'a Span,
        regularizer: &'a mask::Regularizer,
        group: &'a MaskGroup,
        goal: Option<usize>,
    ) -> Self {
        Self {
            span,
            batch_statistics: false,
            regularizer: Some(regularizer),
            mask: Some((group, goal)),
        }
    }

    /// A phase that trains the main network, by batch statistics.
    fn of_network(span: &'a Span) -> Self {
        Self {
            span,
            batch_statistics: true,
            regularizer: None,
            mask: None,
        }
    }
}

impl Trainer<'_> {
    /// The training of a mask from where it was saved, if it was.
    pub(super) fn saved_mask_training(
        &mut self,
        m: ParamId,
    ) -> Result<Option<Training>, TrainError> {
        self.take_up(&[m])
    }

    /// The training of a mask from where it stands now.
    pub(super) fn mask_training(
        &mut self,
        m: ParamId,
        group: &MaskGroup,
        goal: Option<usize>,
        span: &Span,
    ) -> Training {
        settle(self.network, m, group, goal);
        let options = self.options();
        let schedule = self.schedule(self.steps_per_mask(span));
        let optimizer = Optimizer::new(&Adam, options.mask_lr, schedule);
        Training::new(vec![m], optimizer)
    }

    /// One epoch of training, or the rest of it; the mean loss.
    pub(super) fn train_epoch(
        &mut self,
        phase: &Phase<'_>,
        training: &mut Training,
    ) -> Result<f32, TrainError> {
        let options = self.options();
        let order = epoch_order(&phase.span.images, options.seed, self.run.epoch);
        let batches = order.chunks(options.batch_size.max(1));
        let mode = Mode {
            batch_statistics_from: phase.batch_statistics.then_some(phase.span.from),
            wanted: Wanted::of(self.network, training.params.iter().copied()),
            gradients: options.gradients,
            ..Mode::default()
        };
        let plan = Plan::new(self.network, phase.span.from..self.network.end(), mode);
        let mut weights = Arc::new(Weights::new(self.network));
        for indices in batches.skip(training.batches) {
            self.pause(phase.span, training)?;
            training.batches += 1;
            // A batch of one, the last of an epoch, has no variance to normalise by.
            if phase.batch_statistics && indices.len() < 2 {
                self.run.steps += 1;
                self.observer.advance(1);
                continue;
            }
            let batch = plan.batch(self.network, indices.len(), self.processes);
            let mine = batch.rows();
            let Sample { boundary, taught } = self.sample(
                phase.span,
                &indices[mine.clone()],
                TrainingImages::Augmented,
            )?;
            let objective = self.objective();
            let right = AtomicUsize::new(0);
            let loss = |logits: &ArrayD<f32>, rows: Range<usize>| {
                let found = recognised(self.images, logits, &indices[rows.clone()]);
                right.fetch_add(found, Ordering::Relaxed);
                let own = rows.start - mine.start..rows.end - mine.start;
                let taught = taught.as_ref().map(|t| rows_of(t, own));
                loss(&objective, logits, &indices[rows], taught.as_ref())
            };
            let (mut loss, mut gradients) =
                plan.gradients(self.network, &weights, &batch, &boundary, loss)?;
            let right = self
                .processes
                .gather_numbers(&[right.into_inner() as u64])?;
            if let Some(r) = phase.regularizer {
                for &p in &training.params {
                    let value = &self.network.param(p).value;
                    loss += r.loss(value);
                    let mut extra = ArrayD::zeros(value.raw_dim());
                    r.add_gradient(&mut extra);
                    gradients.add(p, extra);
                }
            }
            if !loss.is_finite() {
                return Err(TrainError::Diverged(loss));
            }
            training.optimizer.step(self.network, &gradients);
            // A mask alone leaves the weights as they are.
            if phase.regularizer.is_none() {
                weights = Arc::new(Weights::new(self.network));
            }
            if let Some((group, goal)) = phase.mask {
                for p in &training.params {
                    settle(self.network, *p, group, goal);
                }
            }
            if let Some(average) = &mut training.average {
                average.update(self.network, &training.params);
            }
            training.sum += f64::from(loss) * indices.len() as f64;
            training.count += indices.len();
            training.right += right.into_iter().sum::<u64>() as usize;
            self.run.steps += 1;
            self.observer.advance(1);
        }
        self.run.epoch += 1;
        Ok(training.end_epoch(self.images.train.labels.is_some()))
    }

    /// Phase 2 of a stage, or the rest of it: retrains the main network from the span's first step
    /// on, by batch statistics, and re-estimates the running ones. The share of binary weights that
    /// flipped, and the mean loss of the last epoch.
    pub(super) fn retrain(
        &mut self,
        span: &Span,
        epochs: usize,
        label: &str,
    ) -> Result<(f64, f32), TrainError> {
        self.retrain_watched(span, epochs, |trainer, training| {
            let detail = format!("{label}, retraining: loss {:.3}", training.loss);
            trainer.observer.detail(&detail);
            trainer.note_epoch(span, training, epochs)
        })
    }

    /// Keeps an epoch's figures. Within a stage the accuracy is taken once, at its end; while the whole
    /// network is retrained, now and then.
    fn note_epoch(
        &mut self,
        span: &Span,
        training: &Training,
        epochs: usize,
    ) -> Result<(), TrainError> {
        let every = epochs.div_ceil(CURVE_POINTS).max(1);
        let whole = self.run.stage.is_none();
        let due = training.epochs.is_multiple_of(every) || training.epochs == epochs;
        let accuracy = match whole && due && self.images.val_set().labels.is_some() {
            true => self.accuracy_by_now(span)?,
            false => None,
        };
        let report = training.report(accuracy);
        match &mut self.run.stage {
            Some(stage) => stage.retraining.push(report),
            None => self.run.whole.push(report),
        }
        Ok(())
    }

    /// The accuracy after an epoch, by statistics measured anew. Whoever stops the run now stops it at the next batch,
    /// where it is saved.
    pub(super) fn accuracy_by_now(&mut self, span: &Span) -> Result<Option<f64>, TrainError> {
        let observer = std::mem::replace(&mut self.observer, &Silent);
        let found = self.reestimate(span).and_then(|()| self.accuracy());
        self.observer = observer;
        found
    }

    /// [`Trainer::retrain`] that calls `after_epoch` after each epoch.
    pub(super) fn retrain_watched(
        &mut self,
        span: &Span,
        epochs: usize,
        mut after_epoch: impl FnMut(&mut Self, &Training) -> Result<(), TrainError>,
    ) -> Result<(f64, f32), TrainError> {
        let mut training = match self.take_up(&span.params)? {
            Some(training) => training,
            None => self.main_training(span, epochs),
        };
        let phase = Phase::of_network(span);
        while training.epochs < epochs {
            let loss = self.train_epoch(&phase, &mut training)?;
            if let Some(best) = &mut training.best {
                best.note(self.network, &training.params, training.epochs, loss);
            }
            after_epoch(self, &training)?;
        }
        if epochs > 0 {
            self.reestimate(span)?;
        }
        let mut averaged = match training.average {
            Some(average) => self.settle(span, &training.params, average)?,
            None => false,
        };
        if let Some(best) = training.best {
            let loss = self.go_back_to_best(span, &training.params, best, training.loss)?;
            averaged &= loss.to_bits() == training.loss.to_bits();
            training.loss = loss;
        }
        // Figures of the last epoch and of the result differ then.
        if averaged && self.run.stage.is_none() {
            self.observer.note(
                "kept is the moving average of the weights: its loss on training images is no larger than that of the last step",
            );
        }
        let (before, after) = (training.signs_before, self.latent_signs(span));
        let flipped = after.iter().zip(&before).filter(|(a, b)| a != b).count();
        Ok((flipped as f64 / before.len().max(1) as f64, training.loss))
    }

    /// The training of the main network at its start.
    fn main_training(&self, span: &Span, epochs: usize) -> Training {
        let options = self.options();
        let an_epoch = self.steps(span.images.len());
        let warm_up = an_epoch * options.warm_up;
        let schedule = self.schedule(an_epoch * epochs);
        let optimizer = Optimizer::new(options.optimizer, options.main_lr, schedule);
        let optimizer = optimizer.with_warm_up(warm_up);
        Training {
            average: Some(Average::new(an_epoch * epochs)),
            best: Some(BestEpoch::default()),
            signs_before: self.latent_signs(span),
            ..Training::new(span.params.clone(), optimizer)
        }
    }

    fn latent_signs(&self, span: &Span) -> Vec<bool> {
        let latents = span.params.iter().map(|&p| self.network.param(p));
        latents
            .filter(|p| p.kind == ParamKind::Latent)
            .flat_map(|p| p.value.iter().map(|v| *v >= 0.0))
            .collect()
    }

    /// The learning rate over so many steps.
    fn schedule(&self, steps: usize) -> Schedule {
        match self.options().decay {
            // To a thousandth, as in section 4 of the paper.
            Decay::Exponential => Schedule::Exponential {
                factor: 1e-3,
                steps,
            },
            Decay::Cosine => Schedule::Cosine { steps },
            Decay::Constant => Schedule::Constant,
        }
    }
}

/// Puts a group's M where it is between two steps ([`MaskGroup::settle`]).
fn settle(network: &mut Network, m: ParamId, group: &MaskGroup, goal: Option<usize>) {
    if goal.is_none() && group.dead.is_empty() {
        return;
    }
    let mut value = network.param(m).value.clone();
    group.settle(&mut value, goal);
    network.values_mut(m).assign(&value);
}

/// Some samples of a batch.
fn rows_of(x: &ArrayD<f32>, rows: Range<usize>) -> ArrayD<f32> {
    x.slice_axis(Axis(0), rows.into()).to_owned()
}

/// How many of some training images are recognised; 0 without labels.
fn recognised(images: &Images, logits: &ArrayD<f32>, indices: &[usize]) -> usize {
    let Some(labels) = &images.train.labels else {
        return 0;
    };
    let found = predictions(logits);
    let both = found.iter().zip(indices);
    both.filter(|(class, i)| labels.get(**i) == Some(*class))
        .count()
}

impl Training {
    /// Ends an epoch; its mean loss.
    fn end_epoch(&mut self, labelled: bool) -> f32 {
        self.loss = (self.sum / self.count.max(1) as f64) as f32;
        let share = self.right as f64 / self.count.max(1) as f64;
        self.accuracy = (labelled && self.count > 0).then_some(share);
        self.epochs += 1;
        (self.batches, self.sum, self.count, self.right) = (0, 0.0, 0, 0);
        self.loss
    }

    /// The last epoch's figures, with an accuracy on validation images.
    pub(super) fn report(&self, accuracy: Option<f64>) -> EpochReport {
        EpochReport {
            loss: self.loss,
            accuracy,
            training_accuracy: self.accuracy,
            learning_rate: self.optimizer.learning_rate(),
        }
    }
}
