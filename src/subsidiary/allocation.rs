//! How many filters each group keeps when the share over all of them is given: fewest where they
//! are missed least.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::cost::Costs;
use super::error::TrainError;
use super::evaluate::sample;
use super::trainer::Trainer;
use super::{MaskGroup, Options, mask, rules};
use crate::engine::{Boundary, Inference};
use crate::training::loss::distillation;
use crate::training::reestimate_running_statistics;

/// Training images that a group is judged on.
const PROBE_IMAGES: usize = 1_024;
/// Share of a group's filters that a probe masks.
const PROBE_SHARE: f64 = 0.25;
/// Random masks that the cost of a group is averaged over.
const PROBES: u64 = 3;

/// What is known of a group when the shares are decided.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Demand {
    /// Filters of the mask.
    filters: usize,
    /// Those of them that are not dead: no more are kept.
    live: usize,
    /// How many are kept is a multiple of this, or all.
    multiple: usize,
    /// How far the outputs move when [`PROBE_SHARE`] of the filters is masked: mean
    /// Kullback-Leibler divergence from the whole network's.
    cost: f64,
}

impl Demand {
    /// How many filters are kept at most.
    fn most(&self) -> usize {
        mask::rounded(self.live, self.filters, self.multiple)
    }
}

/// For each group how many filters it keeps, so that (at least) `ratio` of what the model costs goes,
/// and how far its probe moved the outputs.
///
/// Masking a share r of group i is taken to harm by a_i · r / (1 - r), with a_i measured by masking
/// filters at random. The least harm for a given saving then keeps, in each group, a share
/// proportional to √(a_i / c_i), c_i being what its filters cost (of binary filters their number; of
/// operations what they and their readers take, as far as these are left); no group loses more than
/// `max_share`.
pub(super) fn allocate(
    trainer: &mut Trainer<'_>,
    groups: &[MaskGroup],
    costs: &Costs,
    ratio: f64,
) -> Result<Vec<(usize, f64)>, TrainError> {
    for (index, group) in groups.iter().enumerate().skip(trainer.run.costs.len()) {
        let label = format!("probing layer {}/{}", index + 1, groups.len());
        trainer.observer.detail(&label);
        let cost = probe(trainer, group, index as u64)?;
        trainer.run.costs.push(cost);
        trainer.save_if_due(None, None)?;
    }
    let keep = shared_out(trainer, groups, costs, ratio);
    Ok(keep
        .into_iter()
        .zip(trainer.run.costs.iter().copied())
        .collect())
}

/// For each group, which were probed, how many filters it keeps at a ratio.
pub(super) fn shared_out(
    trainer: &Trainer<'_>,
    groups: &[MaskGroup],
    costs: &Costs,
    ratio: f64,
) -> Vec<usize> {
    shared_by(&trainer.run.costs, groups, costs, trainer.options(), ratio)
}

/// The same before anything is probed: as if all groups were missed alike.
pub(super) fn shared_alike(
    groups: &[MaskGroup],
    costs: &Costs,
    options: &Options,
    ratio: f64,
) -> Vec<usize> {
    shared_by(&vec![1.0; groups.len()], groups, costs, options, ratio)
}

fn shared_by(
    moved: &[f64],
    groups: &[MaskGroup],
    costs: &Costs,
    options: &Options,
    ratio: f64,
) -> Vec<usize> {
    let demand = |(group, &cost): (&MaskGroup, &f64)| Demand {
        filters: group.filters,
        live: group.live(),
        multiple: group.parts.multiple(options.round_to),
        cost,
    };
    let demands: Vec<Demand> = groups.iter().zip(moved).map(demand).collect();
    let limits = Limits {
        max_share: options.max_share,
        ratio,
    };
    keep_counts(&demands, costs, ratio * costs.total(), limits)
}

/// Masks filters of one group at random; how far the outputs move. Leaves the network as it was.
fn probe(trainer: &mut Trainer<'_>, group: &MaskGroup, index: u64) -> Result<f64, TrainError> {
    let chosen = sample(trainer.network, &trainer.images.train_indices, PROBE_IMAGES);
    let before = trainer.network.clone();
    let whole = mask::hard(&vec![true; group.filters]);
    let m = trainer.insert_mask(group, whole)?;
    let span = trainer.span_over(group.first)?;
    let boundaries = trainer.boundaries(&span, &chosen)?;
    // By statistics of the same images, so that only the mask moves the outputs.
    let processes = trainer.processes;
    reestimate_running_statistics(trainer.network, boundaries.clone(), span.from, processes)?;
    let original = outputs(trainer, &boundaries)?;
    let kept = group.filters - (group.filters as f64 * PROBE_SHARE).ceil() as usize;
    let mut sum = 0.0;
    for draw in 0..PROBES {
        trainer.check_cancelled()?;
        let seed = trainer.seed_of(index) ^ (0x100 + draw);
        let random = rules::random(group.filters, kept.max(1), seed);
        trainer.network.values_mut(m).assign(&mask::hard(&random));
        reestimate_running_statistics(trainer.network, boundaries.clone(), span.from, processes)?;
        let moved = outputs(trainer, &boundaries)?;
        let pairs = moved.iter().zip(&original);
        let each: Vec<f64> = pairs
            .map(|(a, b)| {
                f64::from(distillation(a, b, trainer.temperature).value) * a.shape()[0] as f64
            })
            .collect();
        let total: f64 = processes.gather_numbers(&each)?.iter().sum();
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

/// What holds for each group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// No more than this share of a group goes, or than the ratio, if that is larger.
    pub(super) max_share: f64,
    pub(super) ratio: f64,
}

impl Limits {
    /// How many filters a group keeps at least, a multiple of `multiple` or all.
    pub(super) fn least(self, filters: usize, multiple: usize) -> usize {
        let stay = filters as f64 * (1.0 - self.max_share.max(self.ratio));
        // A ratio that is to be reached may not fail by a part of a filter.
        let least = match self.ratio >= self.max_share {
            true => (stay + 1e-9).floor(),
            false => (stay - 1e-9).ceil(),
        };
        let least = (least.max(0.0) as usize).max(mask::minimum(filters));
        mask::rounded(least, filters, multiple)
    }
}

/// Times that costs are taken anew at the shares found: what a filter saves depends on what is left of
/// the layers that it reads and is read by.
const ROUNDS: usize = 6;

/// How many filters each group keeps, for so much to be saved. Rounding never leaves less saved than
/// asked for, unless groups are at their limits.
fn keep_counts(demands: &[Demand], costs: &Costs, wanted: f64, limits: Limits) -> Vec<usize> {
    let wanted = wanted - 1e-9 * costs.total().max(1.0);
    let least = demands.iter().map(|d| {
        let least = limits.least(d.filters, d.multiple);
        least.min(d.most())
    });
    let least: Vec<usize> = least.collect();
    let shares = |kept: &[f64]| -> Vec<f64> {
        let each = kept.iter().zip(demands);
        each.map(|(k, d)| k / d.filters.max(1) as f64).collect()
    };
    let mut sizes = costs.of_groups(&vec![1.0; demands.len()]);
    let mut exact = Vec::new();
    for _ in 0..ROUNDS {
        // The price at which as much is saved as is wanted, by bisection on its logarithm.
        let kept_at = |price: f64| -> Vec<f64> {
            let each = demands.iter().zip(&least).zip(&sizes);
            let kept = each.map(|((d, &least), &size)| {
                // Of what is not dead, which is that part of what the group costs.
                let live = d.live as f64;
                let size = size * live / d.filters.max(1) as f64;
                let share = (d.cost.max(1e-12) / (price * size.max(1e-12))).sqrt();
                (live * share).clamp(least as f64, d.most() as f64)
            });
            kept.collect()
        };
        let (mut low, mut high) = (-100.0f64, 60.0f64);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            match costs.saved(&shares(&kept_at(middle.exp()))) < wanted {
                true => low = middle,
                false => high = middle,
            }
        }
        exact = kept_at(high.exp());
        sizes = costs.of_groups(&shares(&exact));
    }
    let round = |(d, (&k, &least)): (&Demand, (&f64, &usize))| {
        mask::rounded((k.round() as usize).max(least), d.filters, d.multiple).min(d.most())
    };
    let mut keep: Vec<usize> = demands
        .iter()
        .zip(exact.iter().zip(&least))
        .map(round)
        .collect();
    // One more (or one multiple more) where rounding kept most beyond the exact share.
    loop {
        let kept: Vec<f64> = keep.iter().map(|&k| k as f64).collect();
        if costs.saved(&shares(&kept)) >= wanted {
            return given_back(demands, costs, wanted, keep);
        }
        let excess = |i: usize| (keep[i] as f64 - exact[i]) / demands[i].filters.max(1) as f64;
        let lower = |i: usize| {
            let multiple = demands[i].multiple.max(1);
            (keep[i].saturating_sub(1) / multiple) * multiple
        };
        let next = (0..keep.len())
            .filter(|&i| lower(i) >= least[i])
            .max_by(|&a, &b| excess(a).total_cmp(&excess(b)).then(b.cmp(&a)));
        match next {
            Some(i) => keep[i] = lower(i),
            None => return keep,
        }
    }
}

/// Where filters go in multiples, gives those back that need not go for so much to be saved: first to
/// groups that miss them most.
fn given_back(demands: &[Demand], costs: &Costs, wanted: f64, mut keep: Vec<usize>) -> Vec<usize> {
    let saved = |keep: &[usize]| {
        let each = keep.iter().zip(demands);
        let shares = each.map(|(&k, d)| k as f64 / d.filters.max(1) as f64);
        costs.saved(&shares.collect::<Vec<f64>>())
    };
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.retain(|&i| demands[i].multiple > 1);
    order.sort_by(|&a, &b| demands[b].cost.total_cmp(&demands[a].cost).then(a.cmp(&b)));
    for i in order {
        let d = demands[i];
        while keep[i] < d.most() {
            let before = keep[i];
            keep[i] = mask::rounded(before + 1, d.filters, d.multiple);
            if saved(&keep) < wanted {
                keep[i] = before;
                break;
            }
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(filters: usize, cost: f64) -> Demand {
        Demand {
            filters,
            live: filters,
            multiple: 1,
            cost,
        }
    }

    fn keep(demands: &[Demand], ratio: f64, max_share: f64, round_to: usize) -> Vec<usize> {
        let groups: Vec<(usize, usize)> = demands.iter().map(|d| (d.filters, 1)).collect();
        counts(
            demands,
            &Costs::of_filters(&groups),
            ratio,
            max_share,
            round_to,
        )
    }

    fn counts(
        demands: &[Demand],
        costs: &Costs,
        ratio: f64,
        max_share: f64,
        round_to: usize,
    ) -> Vec<usize> {
        let rounded = |d: &Demand| Demand {
            multiple: round_to,
            ..*d
        };
        let demands: Vec<Demand> = demands.iter().map(rounded).collect();
        let limits = Limits { max_share, ratio };
        keep_counts(&demands, costs, ratio * costs.total(), limits)
    }

    fn gone(demands: &[Demand], keep: &[usize]) -> usize {
        let each = demands.iter().zip(keep);
        each.map(|(d, k)| d.filters - k).sum()
    }

    #[test]
    fn equal_layers_lose_equal_shares() {
        let demands = [demand(100, 0.1); 4];
        assert_eq!(keep(&demands, 0.2, 0.6, 1), [80; 4]);
    }

    #[test]
    fn what_costs_more_loses_less_and_the_sum_is_reached() {
        let demands = [demand(32, 0.2), demand(64, 0.1), demand(128, 0.1)];
        let keep = keep(&demands, 0.3, 0.6, 1);
        let share = |i: usize| keep[i] as f64 / demands[i].filters as f64;
        assert!(share(0) > share(1) && share(1) > share(2), "{keep:?}");
        assert_eq!(gone(&demands, &keep), 68);
    }

    #[test]
    fn what_is_dead_goes_first_and_counts() {
        let half_dead = Demand {
            live: 50,
            ..demand(100, 0.1)
        };
        // No more than what is dead has to go: of the other layer nothing does.
        assert_eq!(keep(&[half_dead, demand(100, 0.1)], 0.2, 0.6, 1), [50, 100]);
        // Beyond that both lose equal shares of what is live.
        let kept = keep(&[half_dead, demand(50, 0.1)], 0.5, 0.7, 1);
        assert_eq!(kept.iter().sum::<usize>(), 75);
        assert!(kept[0].abs_diff(kept[1]) <= 1, "{kept:?}");
        // More than a layer may lose is dead: all of that goes.
        let most_dead = Demand {
            live: 10,
            ..demand(100, 0.1)
        };
        assert_eq!(keep(&[most_dead], 0.2, 0.6, 1), [10]);
        assert_eq!(keep(&[most_dead], 0.2, 0.6, 8), [16]);
    }

    #[test]
    fn limits_hold() {
        let free = [demand(50, 0.0), demand(50, 1.0)];
        let kept = keep(&free, 0.25, 0.4, 1);
        assert_eq!(kept[0], 30);
        assert!(gone(&free, &kept) >= 25);
        // More than any layer may lose: all at the target.
        assert_eq!(keep(&free, 0.8, 0.6, 1), [10, 10]);
        let rounded = keep(&[demand(48, 0.1), demand(64, 0.02)], 0.3, 0.6, 16);
        assert!(rounded.iter().all(|k| k % 16 == 0), "{rounded:?}");
    }

    #[test]
    fn coupled_layers_count_as_often_as_they_are() {
        let demands = [demand(64, 0.1), demand(64, 0.1)];
        let costs = Costs::of_filters(&[(64, 3), (64, 1)]);
        let keep = counts(&demands, &costs, 0.25, 0.6, 1);
        assert!(keep[0] < keep[1]);
        assert!(3 * (64 - keep[0]) + (64 - keep[1]) >= 64);
    }

    #[test]
    fn what_is_saved_counts_work_that_is_gone_on_both_sides_once() {
        let demands = [demand(100, 0.1), demand(100, 0.1)];
        let costs = Costs::chain(3);
        let keep = counts(&demands, &costs, 0.4, 0.9, 1);
        let left: Vec<f64> = keep.iter().map(|&k| k as f64 / 100.0).collect();
        let saved = costs.saved(&left) / costs.total();
        assert!((0.4..0.41).contains(&saved), "{keep:?} {saved}");
    }
}
