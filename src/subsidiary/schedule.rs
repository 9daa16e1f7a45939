//! The bottom-up schedule (paper, section 3.3 and algorithm 1).

use bnn_kernels::buffers::release_memory;

use super::allocation::allocate;
use super::cost::{Cost, Costs};
use super::error::TrainError;
use super::prefix::CacheUse;
use super::retrain::{EpochReport, NativePredictions, native_predictions};
use super::shrinking::Channels;
use super::stage::{self, StageReport};
use super::trainer::Trainer;
use super::{Attempt, Excluded, MaskGroup, Options, mask_groups};
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::distributed::Communicator;
use crate::graph::Graph;
use crate::network::Network;
use crate::progress::Observer;
use crate::recognize::Layer;
use crate::rewrite::{Analysis, FilterMasks, FoldedColumns, LayerCost};
use crate::stopwatch::Lap;

/// What a run of the schedule found. The network it was given is retrained in place.
#[derive(Debug)]
pub struct Learned {
    /// Which filters go.
    pub masks: FilterMasks,
    /// Binary layers that were left alone, and why.
    pub excluded: Vec<Excluded>,
    /// What happened in each stage.
    pub stages: Vec<StageReport>,
    /// The networks that retraining ended in, filters given back in between; the last one is that of
    /// the masks. Empty without a budget.
    pub attempts: Vec<Attempt>,
    /// Whether the run went on from a checkpoint.
    pub resumed: bool,
    /// What was kept of frozen layers, since then.
    pub cache: CacheUse,
    /// Each epoch in which the whole masked network was retrained; where filters were given back in
    /// between, those of all attempts in order.
    pub final_retraining: Vec<EpochReport>,
    /// Where the time went, since then.
    pub laps: Vec<Lap>,
    /// Columns whose constants stayed while the masks were learned.
    pub folded: FoldedColumns,
    /// What the network predicts as it was trained; of the first process alone. That it cannot be had ends no
    /// run that has learned.
    pub predictions: Option<Result<NativePredictions, TrainError>>,
}

/// How a run is watched, stopped and kept.
pub struct Control<'a> {
    /// Receives progress, and says when to stop.
    pub observer: &'a dyn Observer,
    /// Where the run is saved, and what it goes on from; the first process's alone.
    pub checkpoint: Option<&'a mut Checkpoint>,
    /// The processes that share the run.
    pub processes: &'a dyn Communicator,
}

/// The model that a network was imported from.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its graph.
    pub graph: &'a Graph<'a>,
    /// Its layers.
    pub layers: &'a [Layer],
    /// What each of them costs, in the same order.
    pub costs: &'a [LayerCost],
    /// What is known of its channels.
    pub analysis: &'a Analysis,
}

/// Chooses filters of the network's binary layers and retrains it around the gaps.
///
/// For each group, bottom-up: (1) its mask is trained (or set by a rule) with everything below
/// already pruned and the main network frozen; (2) the mask is fixed, and the main network is
/// retrained from the group on, everything below frozen.
///
/// With a checkpoint, the run is saved after each phase and every few minutes within, and goes on
/// from where it was saved last: the result is that of an uninterrupted run, to the bit.
pub fn learn(
    network: &mut Network,
    subject: &Subject<'_>,
    images: &Images,
    options: &Options,
    control: Control<'_>,
) -> Result<Learned, TrainError> {
    let &Subject {
        graph,
        layers,
        analysis,
        ..
    } = subject;
    let (groups, excluded) = mask_groups(graph, layers, analysis, options.grouping());
    let costs = Costs::of(options.cost, subject, &groups);
    let observer = control.observer;
    let mut trainer = Trainer::new(network, images, options, control)?;
    let resumed = trainer.resume(&groups)?;
    if !trainer.network.shares_parameters() {
        trainer.shrinking.allow(Channels {
            graph,
            analysis,
            groups: &groups,
        });
    }
    trainer.shrink()?;
    let steps = options.steps_of_run(images.train_indices.len(), groups.len()) as u64;
    observer.begin("learning", steps.saturating_sub(trainer.run.steps));
    trainer.clock.lap("preparing to learn", None);
    let shares = match options.selector.shared() {
        Some(ratio) => allocate(&mut trainer, &groups, &costs, ratio)?,
        None => Vec::new(),
    };
    trainer.clock.lap("sharing filters out", None);
    trainer.weights = match options.cost {
        Cost::Filters => vec![1.0; groups.len()],
        Cost::Macs | Cost::Bytes => costs.weights(&groups),
    };
    for index in trainer.run.done.len()..groups.len() {
        let share = shares.get(index).copied();
        let goal = share.map(|(keep, _)| keep);
        let mut done = stage::run(&mut trainer, &groups, layers, index, goal)?;
        done.report.sensitivity = share.map(|(_, cost)| cost);
        let line = done.report.line();
        trainer.finish_stage(done)?;
        observer.note(&format!("layer {}/{}  {line}", index + 1, groups.len()));
    }
    if !groups.is_empty() && !trainer.run.finished {
        trainer.retrain_whole(&groups, &costs)?;
    }
    trainer.finish()?;
    observer.detail("asking the trained network");
    let first = trainer.processes.rank() == 0;
    let predictions = first.then(|| native_predictions(trainer.network, images, observer));
    release_memory();
    observer.end();
    trainer.clock.lap("retraining the whole network", None);
    let cache = trainer.caching.most();
    let mut stages = Vec::new();
    let streams = groups.iter().filter(|group| group.behind);
    let folded = streams.fold(FoldedColumns::of(graph, analysis), |folded, group| {
        folded.with_stream(graph, analysis, group.class.id)
    });
    let judged = trainer.images.val_indices.len();
    let mut masks = FilterMasks::default();
    for (group, done) in groups.iter().zip(std::mem::take(&mut trainer.run.done)) {
        prune(&mut masks, group, &done.keep, analysis);
        let mut report = done.report;
        report.warnings = stage::warnings(&report, judged);
        stages.push(report);
    }
    Ok(Learned {
        attempts: std::mem::take(&mut trainer.run.attempts),
        masks,
        excluded,
        stages,
        resumed,
        cache,
        final_retraining: std::mem::take(&mut trainer.run.whole),
        laps: trainer.clock.take(),
        folded,
        predictions,
    })
}

impl Trainer<'_> {
    /// Retrains the whole network with all masks in place, and again for as long as filters are given back.
    fn retrain_whole(&mut self, groups: &[MaskGroup], costs: &Costs) -> Result<(), TrainError> {
        let epochs = self.options().final_epochs;
        loop {
            if epochs > 0 {
                let whole = self.whole();
                self.retrain(&whole, epochs, "whole network")?;
            }
            if !self.goes_on(groups, costs)? {
                return Ok(());
            }
            let whole = self.whole();
            self.take_again(&whole, epochs, groups.len());
            self.save(None, None)?;
        }
    }
}

/// Adds a group's mask to those of its layers.
pub(super) fn prune(
    masks: &mut FilterMasks,
    group: &MaskGroup,
    keep: &[bool],
    analysis: &Analysis,
) {
    let gone = keep.iter().enumerate().filter(|(_, keep)| !**keep);
    let gone: Vec<usize> = gone.map(|(f, _)| f).collect();
    for (name, filters) in group.class.filters_of(&gone) {
        let count = analysis.filters(&name).unwrap_or(group.filters);
        masks.prune(&name, count, filters);
    }
}
