//! How many filters each unit keeps when the share over all of them is given: fewest where they
//! are missed least.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::error::TrainError;
use super::evaluate::EVAL_BATCH;
use super::sanity::spread;
use super::trainer::Trainer;
use super::{MaskGroup, mask, rules};
use crate::engine::{Boundary, Inference};
use crate::training::loss::distillation;
use crate::training::reestimate_running_statistics;

/// Training images that a unit is judged on.
const PROBE_IMAGES: usize = 1_024;
/// Share of a unit's filters that a probe masks.
const PROBE_SHARE: f64 = 0.25;
/// Random masks that the cost of a unit is averaged over.
const PROBES: u64 = 3;

/// What is known of a unit when the shares are decided.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Demand {
    /// Filters of the mask.
    filters: usize,
    /// Binary filters that go with each: one per binary layer of the unit.
    weight: usize,
    /// How far the outputs move when [`PROBE_SHARE`] of the filters is masked: mean
    /// Kullback-Leibler divergence from the whole network's.
    cost: f64,
}

/// For each unit how many filters it keeps, so that (at least) `ratio` of all binary filters go,
/// and how far its probe moved the outputs.
///
/// Masking a share r of unit i is taken to cost a_i · r / (1 - r), with a_i measured by masking
/// filters at random. The least total cost for a given number of filters then keeps, in each unit,
/// a share proportional to √(a_i / n_i), n_i being its number of binary filters; no unit loses
/// more than `max_share`.
pub(super) fn allocate(
    trainer: &mut Trainer<'_>,
    units: &[MaskGroup],
    ratio: f64,
) -> Result<Vec<(usize, f64)>, TrainError> {
    for (index, unit) in units.iter().enumerate().skip(trainer.run.costs.len()) {
        let label = format!("probing layer {}/{}", index + 1, units.len());
        trainer.observer.detail(&label);
        let cost = probe(trainer, unit, index as u64)?;
        trainer.run.costs.push(cost);
        trainer.save_if_due(None, None)?;
    }
    let demand = |(unit, &cost): (&MaskGroup, &f64)| Demand {
        filters: unit.filters,
        weight: unit.layers.len().max(1),
        cost,
    };
    let demands: Vec<Demand> = units.iter().zip(&trainer.run.costs).map(demand).collect();
    let options = trainer.options();
    let keep = keep_counts(&demands, ratio, options.max_share, options.round_to);
    Ok(keep
        .into_iter()
        .zip(demands.iter().map(|d| d.cost))
        .collect())
}

/// Masks filters of one unit at random; how far the outputs move. Leaves the network as it was.
fn probe(trainer: &mut Trainer<'_>, unit: &MaskGroup, index: u64) -> Result<f64, TrainError> {
    let chosen = spread(&trainer.images.train_indices, PROBE_IMAGES);
    let before = trainer.network.clone();
    let whole = mask::hard(&vec![true; unit.filters]);
    let m = trainer.insert_mask(unit, whole)?;
    let span = trainer.span_over(unit.first)?;
    let mut boundaries = Vec::new();
    for indices in chosen.chunks(EVAL_BATCH) {
        trainer.check_cancelled()?;
        boundaries.push(trainer.boundary(&span, indices, true)?);
    }
    // By statistics of the same images, so that only the mask moves the outputs.
    reestimate_running_statistics(trainer.network, boundaries.clone(), span.from)?;
    let original = outputs(trainer, &boundaries)?;
    let kept = unit.filters - (unit.filters as f64 * PROBE_SHARE).ceil() as usize;
    let mut sum = 0.0;
    for draw in 0..PROBES {
        trainer.check_cancelled()?;
        let seed = trainer.seed_of(index) ^ (0x100 + draw);
        let random = rules::random(unit.filters, kept.max(1), seed);
        trainer.network.values_mut(m).assign(&mask::hard(&random));
        reestimate_running_statistics(trainer.network, boundaries.clone(), span.from)?;
        let moved = outputs(trainer, &boundaries)?;
        let pairs = moved.iter().zip(&original);
        let total: f64 = pairs
            .map(|(a, b)| {
                f64::from(distillation(a, b, trainer.temperature).value) * a.shape()[0] as f64
            })
            .sum();
        sum += total / chosen.len().max(1) as f64;
    }
    *trainer.network = before;
    Ok(sum / PROBES as f64)
}

fn outputs(trainer: &Trainer<'_>, boundaries: &[Boundary]) -> Result<Vec<ArrayD<f32>>, TrainError> {
    let network = &*trainer.network;
    let first = boundaries.first().map_or(network.end(), |b| b.step);
    let inference = Inference::new(Cow::Borrowed(network), first..network.end());
    let logits = boundaries.iter().map(|b| inference.logits(b));
    Ok(logits.collect::<Result<_, _>>()?)
}

/// How many filters each unit keeps. Rounding never leaves fewer binary filters pruned than asked
/// for, unless units are at their limits.
fn keep_counts(demands: &[Demand], ratio: f64, max_share: f64, round_to: usize) -> Vec<usize> {
    let total: usize = demands.iter().map(|d| d.filters * d.weight).sum();
    let wanted = (total as f64 * ratio - 1e-9).ceil().max(0.0) as usize;
    let least: Vec<usize> = demands
        .iter()
        .map(|d| {
            let share = (d.filters as f64 * (1.0 - max_share.max(ratio))).ceil() as usize;
            mask::rounded(share.max(mask::minimum(d.filters)), d.filters, round_to)
        })
        .collect();
    // The price of a filter at which as many go as are wanted, by bisection on its logarithm.
    let kept_at = |price: f64| -> Vec<f64> {
        let kept = demands.iter().zip(&least).map(|(d, &least)| {
            let size = (d.filters * d.weight) as f64;
            let share = (d.cost.max(1e-12) / (price * size)).sqrt();
            (d.filters as f64 * share).clamp(least as f64, d.filters as f64)
        });
        kept.collect()
    };
    let pruned = |kept: &[f64]| -> f64 {
        let each = demands.iter().zip(kept);
        each.map(|(d, k)| (d.filters as f64 - k) * d.weight as f64)
            .sum()
    };
    let (mut low, mut high) = (-60.0f64, 60.0f64);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        match pruned(&kept_at(middle.exp())) < wanted as f64 {
            true => low = middle,
            false => high = middle,
        }
    }
    let exact = kept_at(high.exp());
    let round = |(d, (&k, &least)): (&Demand, (&f64, &usize))| {
        mask::rounded((k.round() as usize).max(least), d.filters, round_to)
    };
    let mut keep: Vec<usize> = demands
        .iter()
        .zip(exact.iter().zip(&least))
        .map(round)
        .collect();
    // One more (or one multiple more) where rounding kept most beyond the exact share.
    loop {
        let gone: usize = demands
            .iter()
            .zip(&keep)
            .map(|(d, k)| (d.filters - k) * d.weight)
            .sum();
        if gone >= wanted {
            return keep;
        }
        let excess = |i: usize| (keep[i] as f64 - exact[i]) / demands[i].filters.max(1) as f64;
        let lower = |i: usize| (keep[i].saturating_sub(1) / round_to.max(1)) * round_to.max(1);
        let next = (0..keep.len())
            .filter(|&i| lower(i) >= least[i])
            .max_by(|&a, &b| excess(a).total_cmp(&excess(b)).then(b.cmp(&a)));
        match next {
            Some(i) => keep[i] = lower(i),
            None => return keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(filters: usize, cost: f64) -> Demand {
        Demand {
            filters,
            weight: 1,
            cost,
        }
    }

    fn gone(demands: &[Demand], keep: &[usize]) -> usize {
        let each = demands.iter().zip(keep);
        each.map(|(d, k)| (d.filters - k) * d.weight).sum()
    }

    #[test]
    fn equal_layers_lose_equal_shares() {
        let demands = [demand(100, 0.1); 4];
        assert_eq!(keep_counts(&demands, 0.2, 0.6, 1), [80; 4]);
    }

    #[test]
    fn what_costs_more_loses_less_and_the_sum_is_reached() {
        let demands = [demand(32, 0.2), demand(64, 0.1), demand(128, 0.1)];
        let keep = keep_counts(&demands, 0.3, 0.6, 1);
        let share = |i: usize| keep[i] as f64 / demands[i].filters as f64;
        assert!(share(0) > share(1) && share(1) > share(2), "{keep:?}");
        assert_eq!(gone(&demands, &keep), 68);
    }

    #[test]
    fn limits_hold() {
        let free = [demand(50, 0.0), demand(50, 1.0)];
        let keep = keep_counts(&free, 0.25, 0.4, 1);
        assert_eq!(keep[0], 30);
        assert!(gone(&free, &keep) >= 25);
        // More than any layer may lose: all at the target.
        assert_eq!(keep_counts(&free, 0.8, 0.6, 1), [10, 10]);
        let rounded = keep_counts(&[demand(48, 0.1), demand(64, 0.02)], 0.3, 0.6, 16);
        assert!(rounded.iter().all(|k| k % 16 == 0), "{rounded:?}");
    }

    #[test]
    fn coupled_layers_count_as_often_as_they_are() {
        let mut demands = [demand(64, 0.1), demand(64, 0.1)];
        demands[0].weight = 3;
        let keep = keep_counts(&demands, 0.25, 0.6, 1);
        assert!(keep[0] < keep[1]);
        assert!(gone(&demands, &keep) >= 64);
    }
}
