//! Before anything is learned: what will be masked together, and how much of it may go.

use super::mask::decide;
use super::schedule::prune;
use super::{Excluded, MaskGroup, Options, Selector, mask_groups, select};
use crate::graph::Graph;
use crate::recognize::Layer;
use crate::rewrite::{Analysis, FilterMasks};

/// What is known of a run of the schedule before it begins.
#[derive(Debug)]
pub struct Outlook {
    /// Its stages, bottom-up.
    pub groups: Vec<MaskGroup>,
    /// Binary layers that are left alone, and why.
    pub excluded: Vec<Excluded>,
    /// Filters kept in each unit: at least so many where masks are learned freely; just so many by
    /// a rule; so many on average where a ratio is shared out among the units.
    pub kept: Vec<usize>,
    /// Masks of that size. Which filters a mask takes shows only when it is learned, or when a rule
    /// looks at the data: these take the last ones.
    pub masks: FilterMasks,
}

/// Looks ahead at what [`learn`](super::learn) would do with the same arguments.
pub fn outlook(
    graph: &Graph<'_>,
    layers: &[Layer],
    analysis: &Analysis,
    options: &Options,
) -> Outlook {
    let (units, excluded) = mask_groups(graph, layers, analysis, options.grouping());
    let mut masks = FilterMasks::default();
    let mut kept = Vec::new();
    for unit in &units {
        let keep = match &options.selector {
            Selector::Subsidiary { ratio, .. } => {
                let share = |r: f64| unit.filters - (unit.filters as f64 * r).floor() as usize;
                let goal = ratio.map(|r| unit.nearest(share(r).max(1), options.round_to));
                // No filter asks to stay.
                let m = ndarray::ArrayD::from_elem(vec![unit.filters], -1.0);
                decide(&m, &unit.parts, options.bounds(goal))
            }
            Selector::Rule { amount, .. } => {
                let keep = select::count(unit, amount, options.round_to);
                let first: Vec<f64> = (0..unit.filters).map(|f| -(f as f64)).collect();
                unit.parts.largest(&first, keep)
            }
        };
        kept.push(keep.iter().filter(|&&k| k).count());
        prune(&mut masks, unit, &keep, analysis);
    }
    Outlook {
        groups: units,
        excluded,
        kept,
        masks,
    }
}
