//! The bottom-up schedule (paper, section 3.3 and algorithm 1).

use super::allocation::allocate;
use super::error::TrainError;
use super::stage::{self, StageReport};
use super::trainer::Trainer;
use super::{Excluded, Options, Selector, units};
use crate::autograd::Network;
use crate::data::Images;
use crate::graph::Graph;
use crate::progress::Observer;
use crate::recognize::Layer;
use crate::rewrite::{Analysis, FilterMasks};

/// What a run of the schedule found. The network it was given is retrained in place.
#[derive(Debug)]
pub struct Learned {
    /// Which filters go.
    pub masks: FilterMasks,
    /// Binary layers that were left alone, and why.
    pub excluded: Vec<Excluded>,
    /// What happened in each stage.
    pub stages: Vec<StageReport>,
}

/// Chooses filters of the network's binary layers and retrains it around the gaps.
///
/// For each unit, bottom-up: (1) its mask is trained (or set by a rule) with everything below
/// already pruned and the main network frozen; (2) the mask is fixed, and the main network is
/// retrained from the unit on, everything below frozen.
pub fn learn(
    network: &mut Network,
    graph: &Graph<'_>,
    layers: &[Layer],
    analysis: &Analysis,
    images: &Images,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Learned, TrainError> {
    let (units, excluded) = units(graph, layers, analysis, &options.keep);
    let mut trainer = Trainer::new(network, images, options, observer)?;
    let mask_epochs = match options.selector {
        Selector::Subsidiary { .. } => options.mask_epochs,
        Selector::Rule { .. } => 0,
    };
    let epochs = (mask_epochs + options.main_epochs) * units.len() + options.final_epochs;
    let steps = trainer.steps_per_epoch() * epochs;
    observer.begin("learning", steps as u64);
    let shares = match options.selector {
        Selector::Subsidiary { ratio: Some(ratio) } => allocate(&mut trainer, &units, ratio)?,
        _ => Vec::new(),
    };
    let mut stages = Vec::new();
    let mut masks = FilterMasks::default();
    for (index, unit) in units.iter().enumerate() {
        let share = shares.get(index).copied();
        let goal = share.map(|(keep, _)| keep);
        let place = (index, units.len());
        let (keep, mut report) = stage::run(&mut trainer, unit, layers, place, goal)?;
        report.sensitivity = share.map(|(_, cost)| cost);
        stages.push(report);
        let pruned: Vec<usize> = (0..unit.filters).filter(|&f| !keep[f]).collect();
        for (name, filters) in unit.group.filters_of(&pruned) {
            let count = analysis.filters(&name).unwrap_or(unit.filters);
            masks.prune(&name, count, filters);
        }
    }
    if !units.is_empty() && options.final_epochs > 0 {
        let whole = trainer.whole();
        trainer.retrain(&whole, options.final_epochs, "whole network")?;
    }
    observer.end();
    Ok(Learned {
        masks,
        excluded,
        stages,
    })
}
