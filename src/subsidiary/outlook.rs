//! Before anything is learned: what will be masked together, and how much of it may go.

use super::allocation::shared_alike;
use super::cost::Costs;
use super::mask::decide;
use super::schedule::prune;
use super::{Excluded, MaskGroup, Options, Selector, Subject, mask_groups, select};
use crate::rewrite::FilterMasks;

/// What is known of a run of the schedule before it begins.
#[derive(Debug)]
pub struct Outlook {
    /// Its stages, bottom-up.
    pub groups: Vec<MaskGroup>,
    /// Binary layers that are left alone, and why.
    pub excluded: Vec<Excluded>,
    /// Filters kept in each group: at least so many where masks are learned freely; just so many by
    /// a rule; so many on average where a ratio is shared out among the groups.
    pub kept: Vec<usize>,
    /// Masks of that size. Which filters a mask takes shows only when it is learned, or when a rule
    /// looks at the data: these take the dead and the last ones.
    pub masks: FilterMasks,
}

/// Looks ahead at what [`learn`](super::learn) would do with the same arguments.
pub fn outlook(subject: &Subject<'_>, options: &Options) -> Outlook {
    let &Subject {
        graph,
        layers,
        analysis,
        ..
    } = subject;
    let (groups, excluded) = mask_groups(graph, layers, analysis, options.grouping());
    let mut masks = FilterMasks::default();
    let mut kept = Vec::new();
    let goals = options.selector.shared().map(|ratio| {
        let costs = Costs::of(options.cost, subject, &groups);
        shared_alike(&groups, &costs, options, ratio)
    });
    for (i, group) in groups.iter().enumerate() {
        let keep = match &options.selector {
            Selector::Subsidiary { .. } => {
                let goal = goals.as_ref().and_then(|goals| goals.get(i)).copied();
                // No filter asks to stay.
                let m = group.with_dead_last(vec![-1.0; group.filters]);
                decide(&m, &group.parts, options.bounds(goal))
            }
            Selector::Rule { amount, .. } => {
                let keep = select::count(group, amount, options.round_to);
                let first: Vec<f64> = (0..group.filters).map(|f| -(f as f64)).collect();
                group.parts.largest(&group.with_dead_last(first), keep)
            }
        };
        kept.push(keep.iter().filter(|&&k| k).count());
        prune(&mut masks, group, &keep, analysis);
    }
    Outlook {
        groups,
        excluded,
        kept,
        masks,
    }
}
