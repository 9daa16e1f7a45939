//! What filters cost, and how much of that pruning saves (design, c_o of the regulariser).

use serde::Serialize;

use super::allocation::Limits;
use super::{MaskGroup, Options, Subject, mask, mask_groups};
use crate::recognize::Layer;

/// The most by which the regulariser weighs a layer above or below the average.
const MOST_WEIGHT: f64 = 4.0;

/// What a share of is to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Binary filters, as the paper counts.
    #[default]
    Filters,
    /// Multiply-accumulates of all layers.
    Macs,
    /// Bytes of all layers' weights.
    Bytes,
}

impl Cost {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filters => "filters",
            Self::Macs => "macs",
            Self::Bytes => "bytes",
        }
    }
}

/// What one layer costs: proportional to the filters that are left of it, and to the channels that it
/// reads.
#[derive(Debug, Clone)]
struct Term {
    cost: f64,
    /// The group that its filters are in.
    group: Option<usize>,
    /// The groups whose channels it reads, and the share that they are of its inputs.
    reads: Vec<(usize, f64)>,
}

/// What a model costs.
#[derive(Debug, Clone)]
pub(super) struct Costs {
    terms: Vec<Term>,
    total: f64,
}

impl Costs {
    pub(super) fn of(cost: Cost, subject: &Subject<'_>, groups: &[MaskGroup]) -> Self {
        let layers = subject.layers.iter().zip(subject.costs);
        let terms: Vec<Term> = layers
            .filter(|(layer, _)| cost != Cost::Filters || layer.is_binary())
            .map(|(layer, costs)| Term {
                cost: match cost {
                    Cost::Filters => layer.filters as f64,
                    Cost::Macs => costs.macs as f64,
                    Cost::Bytes => costs.bytes as f64,
                },
                group: groups
                    .iter()
                    .position(|u| u.class.layers.contains(&layer.name)),
                reads: match cost {
                    Cost::Filters => Vec::new(),
                    Cost::Macs | Cost::Bytes => reads(layer, groups),
                },
            })
            .collect();
        Self {
            total: terms.iter().map(|t| t.cost).sum(),
            terms,
        }
    }

    /// What the model costs as it is.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// What is saved where of each group only a share of the filters is left.
    pub(super) fn saved(&self, left: &[f64]) -> f64 {
        self.terms
            .iter()
            .map(|t| t.cost * (1.0 - t.left(left)))
            .sum()
    }

    /// What the whole of each group costs, its share in what else is left counted as it is.
    pub(super) fn of_groups(&self, left: &[f64]) -> Vec<f64> {
        let mut costs = vec![0.0; left.len()];
        for term in &self.terms {
            let of_reads = term.left_of_reads(left);
            let of_filters = term.group.map_or(1.0, |g| left[g]);
            if let Some(g) = term.group {
                costs[g] += term.cost * of_reads;
            }
            for &(g, share) in &term.reads {
                costs[g] += term.cost * of_filters * share;
            }
        }
        costs
    }

    /// By how much the regulariser weighs the filters of each group: what one costs, in units of what
    /// one costs on average.
    pub(super) fn weights(&self, groups: &[MaskGroup]) -> Vec<f32> {
        let whole = self.of_groups(&vec![1.0; groups.len()]);
        let filters: Vec<f64> = groups.iter().map(|u| u.filters.max(1) as f64).collect();
        let mean = whole.iter().sum::<f64>() / filters.iter().sum::<f64>().max(1.0);
        let weight = |(cost, filters): (&f64, &f64)| {
            let weight = cost / filters / mean.max(f64::MIN_POSITIVE);
            weight.clamp(1.0 / MOST_WEIGHT, MOST_WEIGHT) as f32
        };
        whole.iter().zip(&filters).map(weight).collect()
    }
}

/// The largest share of its cost that a model can lose, if `options` ask for more: each layer keeps
/// some filters.
pub fn most_that_can_go(subject: &Subject<'_>, options: &Options) -> Option<f64> {
    let (groups, _) = mask_groups(
        subject.graph,
        subject.layers,
        subject.analysis,
        options.grouping(),
    );
    if options.selector.decides_how_many() {
        return None;
    }
    let ratio = options.selector.ratio()?;
    let filters = |group: &MaskGroup| group.filters.max(1) as f64;
    let reached = match options.selector.shared() {
        // A rule takes the ratio of each layer, as far as that goes.
        None => {
            let left = groups.iter().map(|u| {
                let multiple = u.parts.multiple(options.round_to);
                mask::rounded(mask::minimum(u.filters), u.filters, multiple) as f64
            });
            1.0 - left.sum::<f64>() / groups.iter().map(filters).sum::<f64>().max(1.0)
        }
        Some(_) => {
            let limits = Limits {
                max_share: options.max_share,
                ratio,
            };
            let left = groups
                .iter()
                .map(|u| (u, u.parts.multiple(options.round_to)))
                .map(|(u, multiple)| limits.least(u.filters, multiple) as f64 / filters(u));
            let left: Vec<f64> = left.collect();
            let costs = Costs::of(options.cost, subject, &groups);
            costs.saved(&left) / costs.total().max(f64::MIN_POSITIVE)
        }
    };
    match groups.is_empty() {
        // Where the file itself has nothing to prune, others say so.
        true => (!options.keep.is_empty() || options.round_to > 1).then_some(0.0),
        false => (reached + 1e-9 < ratio).then_some(reached),
    }
}

impl Term {
    fn left(&self, left: &[f64]) -> f64 {
        self.group.map_or(1.0, |g| left[g]) * self.left_of_reads(left)
    }

    fn left_of_reads(&self, left: &[f64]) -> f64 {
        let gone = self.reads.iter().map(|&(g, share)| share * (1.0 - left[g]));
        (1.0 - gone.sum::<f64>()).max(0.0)
    }
}

/// The groups whose channels a layer reads.
fn reads(layer: &Layer, groups: &[MaskGroup]) -> Vec<(usize, f64)> {
    let mut found = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        for site in group.sites.iter().filter(|s| s.consumer == layer.node) {
            let of_group = site.filter_of.iter().flatten().count();
            found.push((g, of_group as f64 / site.filter_of.len().max(1) as f64));
        }
    }
    found
}

#[cfg(test)]
impl Costs {
    /// Groups of so many filters that cost one each, in so many layers.
    pub(super) fn of_filters(groups: &[(usize, usize)]) -> Self {
        let terms = groups
            .iter()
            .enumerate()
            .map(|(g, &(filters, layers))| Term {
                cost: (filters * layers) as f64,
                group: Some(g),
                reads: Vec::new(),
            });
        let terms: Vec<Term> = terms.collect();
        Self {
            total: terms.iter().map(|t| t.cost).sum(),
            terms,
        }
    }

    /// A chain of layers of equal costs, each of which reads the one before.
    pub(super) fn chain(layers: usize) -> Self {
        let term = |l: usize| Term {
            cost: 100.0,
            group: (l + 1 < layers).then_some(l),
            reads: l.checked_sub(1).map(|g| (g, 1.0)).into_iter().collect(),
        };
        Self {
            terms: (0..layers).map(term).collect(),
            total: 100.0 * layers as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_saves_its_own_work_and_that_of_its_readers() {
        let costs = Costs::chain(3);
        assert_eq!(costs.total(), 300.0);
        assert_eq!(costs.saved(&[0.5, 1.0]), 100.0);
        // Half of the filters on half of the channels.
        assert_eq!(costs.saved(&[0.5, 0.5]), 50.0 + 75.0 + 50.0);
        assert_eq!(costs.of_groups(&[1.0, 0.5]), [150.0, 200.0]);
    }
}
