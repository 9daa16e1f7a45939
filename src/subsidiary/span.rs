//! What a stage runs on: from which step on, on which images, and what the frozen steps below give.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayD;

use super::MaskGroup;
use super::error::TrainError;
use super::evaluate::eval_batch;
use super::prefix::{Budget, Packed, PrefixCache};
use super::resume::Shared;
use super::trainer::Trainer;
use crate::data::{Augmentation, DataError, epoch_order};
use crate::engine::{Boundary, Inference};
use crate::graph::NodeId;
use crate::network::{EditError, ParamId, StepId};

/// What a stage runs on: the steps from its first layer on, and what the frozen ones below give.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) from: StepId,
    /// The training images that it learns from.
    pub(super) images: Vec<usize>,
    /// Trainable parameters of the main network from there on.
    pub(super) params: Vec<ParamId>,
    /// What the frozen steps read that is trained here.
    pub(super) shared: Shared,
    /// Images that caches hold, ascending.
    cached: Vec<usize>,
    /// By view of the images ([`Trainer::view`]).
    caches: BTreeMap<u64, PrefixCache>,
    /// The frozen steps, where they run more than once.
    frozen: Option<Box<Inference<'static>>>,
}

/// How training images are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TrainingImages {
    /// Varied at random, where the options say so.
    Augmented,
    /// As they are.
    AsTheyAre,
}

/// When what lies below a stage is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    /// Before it, once for all of its images, as each of its epochs needs that.
    Before,
    /// For the images that are looked at: nothing is learned.
    AsNeeded,
}

impl Trainer<'_> {
    /// The training images that the stage under way, or the next one, learns from.
    fn images_of_stage(&self) -> Vec<usize> {
        let all = &self.images.train_indices;
        let count = self.options.images_of_stage(all.len());
        if count >= all.len() {
            return all.clone();
        }
        let stage = self.run.done.len() as u64;
        let mut chosen = epoch_order(all, self.seed_of(stage), 0);
        chosen.truncate(count);
        chosen.sort_unstable();
        chosen
    }

    /// The whole network.
    pub(super) fn whole(&self) -> Span {
        Span {
            from: StepId(0),
            images: self.images.train_indices.clone(),
            params: self.network.main_params(self.network.all()),
            shared: Shared::default(),
            cached: Vec::new(),
            caches: BTreeMap::new(),
            frozen: None,
        }
    }

    fn step_at(&self, first: NodeId) -> Result<StepId, TrainError> {
        let found = self.network.step_of(first);
        Ok(found.ok_or(EditError::NoStep(first.0))?)
    }

    /// Where a group's layers begin.
    pub(super) fn first_step(&self, group: &MaskGroup) -> Result<StepId, TrainError> {
        self.step_at(group.first)
    }

    /// Everything from `first` on.
    pub(super) fn span_over(&self, first: NodeId) -> Result<Span, TrainError> {
        let from = self.step_at(first)?;
        let params = self.network.main_params(from..self.network.end());
        Ok(Span {
            from,
            images: self.images.train_indices.clone(),
            params,
            shared: Shared::across(self.network, from),
            cached: Vec::new(),
            caches: BTreeMap::new(),
            frozen: None,
        })
    }

    /// Everything from `first` on, to learn a stage by, with the frozen part below computed once where that is
    /// asked for and valid, and there is room for it.
    pub(super) fn span_from(&self, first: NodeId, frozen: Frozen) -> Result<Span, TrainError> {
        let mut span = Span {
            images: self.images_of_stage(),
            ..self.span_over(first)?
        };
        let from = span.from;
        let below = Inference::new(Cow::Owned(self.network.clone()), StepId(0)..from);
        span.frozen = Some(Box::new(below));
        let at_input = self.network.boundary(from) == [self.network.input()];
        if at_input || frozen == Frozen::AsNeeded {
            return Ok(span);
        }
        span.cached.clone_from(&span.images);
        span.cached.sort_unstable();
        let mut budget = self.caching.budget(self.options);
        'views: for view in self.views_ahead() {
            let mut cache = PrefixCache::new(span.cached.len());
            let batches: Vec<&[usize]> = span.cached.chunks(eval_batch(self.network)).collect();
            let rounds = batches.chunks(self.processes.size());
            let count = rounds.len();
            // A batch for each process, then the next ones.
            for (done, round) in rounds.enumerate() {
                self.check_cancelled()?;
                let layer = self.run.done.len() + 1;
                let share = 100 * done / count;
                self.observer.detail(&format!(
                    "layer {layer}, computing what is frozen below: {share} %"
                ));
                let own = match round.get(self.processes.rank()) {
                    Some(batch) => {
                        let boundary = self.prefix(&span, self.varied(batch, view)?)?;
                        let values: Vec<_> = boundary.values.into_iter().map(|(_, x)| x).collect();
                        Some(Packed::of(&values))
                    }
                    None => None,
                };
                if !self.keep(own, &mut cache, &mut budget)? {
                    break 'views;
                }
            }
            span.caches.insert(view, cache);
        }
        self.caching
            .count(span.caches.values().map(PrefixCache::uses));
        Ok(span)
    }

    /// Keeps what each process has computed, in their order; false if one of them cannot.
    fn keep(
        &self,
        own: Option<Packed>,
        cache: &mut PrefixCache,
        budget: &mut Budget,
    ) -> Result<bool, TrainError> {
        let mut keep = |packed| cache.push(packed, budget);
        let kept = match self.processes.size() {
            1 => own.map_or(Ok(()), keep),
            _ => {
                let own = own.map_or_else(Vec::new, |packed| packed.to_bytes());
                let all = self.processes.gather(&own)?;
                let mut all = all.iter().filter_map(|bytes| Packed::from_bytes(bytes));
                all.try_for_each(&mut keep)
            }
        };
        if let Err(why) = &kept {
            self.caching.declined(why, self.options, self.observer);
        }
        let all = self.processes.gather_numbers(&[u8::from(kept.is_ok())])?;
        if let (Ok(()), Some(rank)) = (&kept, all.iter().position(|&kept| kept == 0)) {
            self.caching.failed_elsewhere(rank, self.observer);
        }
        Ok(all.iter().all(|&kept| kept == 1))
    }

    /// Which of the ways in which images are varied this epoch has: its number or, where there are
    /// only so many, that modulo their number.
    fn view(&self) -> u64 {
        match (self.options.augment.is_none(), self.options.views) {
            (true, _) => 0,
            (false, 0) => self.run.epoch,
            (false, views) => self.run.epoch % views as u64,
        }
    }

    /// The views that a stage which begins (or goes on) now trains on, if they come again.
    fn views_ahead(&self) -> BTreeSet<u64> {
        let (fixed, views) = (self.options.augment.is_none(), self.options.views as u64);
        let epochs = self.options.mask_epochs_of_stage() + self.options.main_epochs;
        // Beyond that they come again.
        let epochs = epochs.min(self.options.views.max(1));
        match (fixed, views) {
            (true, _) => BTreeSet::from([0]),
            (false, 0) => BTreeSet::new(),
            (false, _) => (0..epochs as u64)
                .map(|k| self.run.epoch.wrapping_add(k) % views)
                .collect(),
        }
    }

    /// What the frozen part gives for training images.
    pub(super) fn boundary(
        &self,
        span: &Span,
        indices: &[usize],
        read: TrainingImages,
    ) -> Result<Boundary, TrainError> {
        match self.kept(span, indices, read) {
            Some(boundary) => Ok(boundary),
            None => self.prefix(span, self.input(indices, read)?),
        }
    }

    /// The same, where it is kept.
    pub(super) fn kept(
        &self,
        span: &Span,
        indices: &[usize],
        read: TrainingImages,
    ) -> Option<Boundary> {
        let fixed = self.options.augment.is_none();
        let valid = fixed || read == TrainingImages::Augmented;
        let cache = span.caches.get(&self.view()).filter(|_| valid);
        let failed = |e| self.caching.failed(&e, self.observer);
        let cache = cache?;
        let place = |image: &usize| span.cached.binary_search(image).ok();
        let places: Vec<usize> = indices.iter().map(place).collect::<Option<_>>()?;
        let values = cache.batch(&places).map_err(failed).ok()?;
        Some(Boundary {
            step: span.from,
            values: self
                .network
                .boundary(span.from)
                .into_iter()
                .zip(values)
                .collect(),
        })
    }

    /// The network's input for training images.
    pub(super) fn input(
        &self,
        indices: &[usize],
        read: TrainingImages,
    ) -> Result<ArrayD<f32>, TrainError> {
        Ok(match read {
            TrainingImages::AsTheyAre => self.images.train.batch(indices, &self.images.preprocess),
            TrainingImages::Augmented => self.varied(indices, self.view()),
        }?)
    }

    /// Training images in one view; as they are where nothing is varied.
    fn varied(&self, indices: &[usize], view: u64) -> Result<ArrayD<f32>, DataError> {
        let (set, pre) = (&self.images.train, &self.images.preprocess);
        let augmentation = Augmentation {
            augment: self.options.augment,
            seed: self.options.seed,
            epoch: view,
        };
        match self.options.augment.is_none() {
            true => set.batch(indices, pre),
            false => set.augmented_batch(indices, pre, &augmentation),
        }
    }

    /// What the frozen part gives for an input.
    pub(super) fn prefix(&self, span: &Span, x: ArrayD<f32>) -> Result<Boundary, TrainError> {
        let start = Boundary::start(self.network, x)?;
        Ok(match &span.frozen {
            Some(frozen) => frozen.run(&start)?,
            None => {
                let network = Cow::Borrowed(&*self.network);
                Inference::new(network, StepId(0)..span.from).run(&start)?
            }
        })
    }
}
