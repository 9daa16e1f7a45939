//! Where a run is: everything that a checkpoint holds.
//!
//! All else that a run uses (groups, the teacher, caches, orders of images, random masks) follows
//! from the model, the images and the options.

use std::borrow::Cow;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use super::MaskGroup;
use super::average::Average;
use super::best_epoch::BestEpoch;
use super::budget::Attempt;
use super::resume::Shared;
use super::retrain::EpochReport;
use super::stage::{MaskEpoch, StageReport};
use crate::network::{BinaryId, Network, ParamId};
use crate::training::Optimizer;

/// A checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved<'a> {
    pub(super) run: Cow<'a, Run>,
    /// Training under way.
    pub(super) training: Option<Cow<'a, Training>>,
    /// What the frozen part of the stage under way reads.
    pub(super) shared: Cow<'a, Shared>,
    pub(super) values: Values<'a>,
}

/// Where the schedule is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Run {
    /// Counts every epoch of the run, so that no two have the same order of images.
    pub(super) epoch: u64,
    /// Counts every training step.
    pub(super) steps: u64,
    /// What masking cost of the groups probed so far, where a ratio is shared out by that.
    pub(super) costs: Vec<f64>,
    /// The stages that are done.
    pub(super) done: Vec<Done>,
    /// The stage under way, its mask inserted.
    pub(super) stage: Option<Stage>,
    /// What the stages cost so far ([`super::Attempt::drop`]).
    pub(super) drop: f64,
    /// What may be lost, as it was when the run began: what was decided by it stays.
    pub(super) max_drop: Option<f64>,
    /// The share that is pruned, where filters were given back.
    pub(super) ratio: Option<f64>,
    /// The networks that retraining ended in, filters given back in between.
    pub(super) attempts: Vec<Attempt>,
    /// The epochs in which the whole network was trained, that of all attempts.
    pub(super) whole: Vec<EpochReport>,
    /// Stages whose filters could be taken out of the network that learns.
    pub(super) shrunk: usize,
    /// Those of later stages are not: a smaller network could not be had.
    pub(super) shrinking_ended: bool,
    /// Nothing is left to train.
    pub(super) finished: bool,
}

impl Run {
    /// Whether this can be a run over those groups.
    pub(super) fn fits(&self, groups: &[MaskGroup]) -> bool {
        let under_way = self.stage.as_ref().map(|s| s.keep.as_deref());
        let done = self.done.iter().map(|d| Some(&d.keep[..]));
        let stages = done.chain(under_way);
        let as_long = |(keep, group): (Option<&[bool]>, &MaskGroup)| {
            keep.is_none_or(|keep| keep.len() == group.filters && keep.contains(&true))
        };
        let count = self.done.len() + usize::from(self.stage.is_some());
        count <= groups.len() && self.costs.len() <= groups.len() && stages.zip(groups).all(as_long)
    }
}

/// A stage that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Done {
    /// Which filters stay.
    pub(super) keep: Vec<bool>,
    /// How much each filter asks to stay, where that is known.
    pub(super) scores: Vec<f32>,
    /// What happened.
    pub(super) report: StageReport,
}

/// The stage under way. First its filters are chosen, then the choice is judged, then the network
/// is retrained.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Stage {
    /// The parameter of its mask.
    pub(super) mask: Option<ParamId>,
    /// The epochs of mask training that are done.
    pub(super) mask_epochs: Vec<MaskEpoch>,
    /// The epochs of retraining that are done.
    pub(super) retraining: Vec<EpochReport>,
    /// What M kept at the start of the epoch of mask training under way.
    pub(super) signs_before: Vec<bool>,
    /// Which filters stay, once that is decided.
    pub(super) keep: Option<Vec<bool>>,
    /// How much each filter asks to stay, where that is known.
    pub(super) scores: Vec<f32>,
    /// How often more filters were kept, as it cost too much.
    pub(super) tries: usize,
    /// What is known before retraining, once the mask is in place.
    pub(super) report: Option<StageReport>,
}

/// Training of a set of parameters over some epochs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Training {
    pub(super) params: Vec<ParamId>,
    pub(super) optimizer: Optimizer,
    /// The moving average of the parameters, where there is one.
    pub(super) average: Option<Average>,
    /// The best epoch, where it is kept.
    pub(super) best: Option<BestEpoch>,
    /// Signs of the binary weights before the first step.
    pub(super) signs_before: Vec<bool>,
    /// Epochs done.
    pub(super) epochs: usize,
    /// Mean loss of the last one.
    pub(super) loss: f32,
    /// Accuracy on its images as they passed by; absent without labels.
    pub(super) accuracy: Option<f64>,
    /// Of the epoch under way: batches done, their losses times their images, their images, and how
    /// many of these were recognised.
    pub(super) batches: usize,
    pub(super) sum: f64,
    pub(super) count: usize,
    pub(super) right: usize,
}

impl Training {
    pub(super) fn new(params: Vec<ParamId>, optimizer: Optimizer) -> Self {
        Self {
            params,
            optimizer,
            average: None,
            best: None,
            signs_before: Vec::new(),
            epochs: 0,
            loss: 0.0,
            accuracy: None,
            batches: 0,
            sum: 0.0,
            count: 0,
            right: 0,
        }
    }

    /// Whether no step of an epoch has been taken.
    pub(super) fn at_start_of_epoch(&self) -> bool {
        self.batches == 0
    }

    /// Whether this can be the training of those parameters.
    pub(super) fn fits(&self, network: &Network, params: &[ParamId]) -> bool {
        let (average, best) = (self.average.as_ref(), self.best.as_ref());
        self.params == params
            && average.is_none_or(|a| a.fits(network, params))
            && best.is_none_or(|b| b.fits(network, params))
    }
}

/// All of a network that training changes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Values<'a> {
    /// Parameters: weights, statistics and masks.
    params: Vec<Cow<'a, ArrayD<f32>>>,
    /// Of each binary weight the columns that its scale averages.
    columns: Vec<Option<Cow<'a, [bool]>>>,
}

impl<'a> Values<'a> {
    pub(super) fn of(network: &'a Network) -> Self {
        let values = network.params().iter().map(|p| Cow::Borrowed(&p.value));
        let columns = network.binaries().iter().map(|b| b.kept_columns());
        Self {
            params: values.collect(),
            columns: columns.map(|c| c.map(Cow::Borrowed)).collect(),
        }
    }

    /// Puts the values into a network; `None`, and nothing is changed, if they are not of one like
    /// it.
    pub(super) fn restore(self, network: &mut Network) -> Option<()> {
        let mut pairs = network.params().iter().zip(&self.params);
        if self.params.len() != network.params().len()
            || self.columns.len() != network.binaries().len()
            || !pairs.all(|(p, v)| p.value.shape() == v.shape())
        {
            return None;
        }
        for (p, value) in self.params.into_iter().enumerate() {
            network.exchange(ParamId(p), &mut value.into_owned());
        }
        for (b, columns) in self.columns.into_iter().enumerate() {
            network.exchange_kept_columns(BinaryId(b), &mut columns.map(Cow::into_owned));
        }
        Some(())
    }
}
