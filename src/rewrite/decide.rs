//! Which classes stay, given what a model can hold: no layer without filters, groups of equal size,
//! border maps that are worth their values.

use std::collections::BTreeSet;

use super::classes::ChannelClass;
use super::even::uneven;
use super::fold;
use super::liveness::{self, Decisions, Solution, Stays, kept};
use super::{Analysis, EliminateOptions, FilterMasks};
use crate::graph::NodeId;

/// Solves until nothing more has to stay. Each round only adds, so it ends.
pub(super) fn decide(a: &Analysis, options: &EliminateOptions) -> (Solution, Decisions) {
    let mut decisions = Decisions::default();
    for l in a.layers.iter().filter(|l| options.keep.contains(&l.name)) {
        let classes = a.tensors[l.output.0].iter().flat_map(|out| &out.classes);
        decisions
            .more
            .extend(classes.map(|&u| (a.classes.find(u), Stays::Kept)));
    }
    loop {
        let stays = liveness::solve(a, &decisions);
        let mut more = emptied(a, &stays);
        if more.is_empty() {
            more = uneven(a, &stays);
        }
        if more.is_empty() {
            more = rounded(a, &stays, options.round_to);
        }
        if !more.is_empty() {
            decisions.more.extend(more);
            continue;
        }
        let together = costly(a, &stays, options.scatter_cost);
        if !together.is_subset(&decisions.no_scatter) {
            decisions.no_scatter.extend(together);
            continue;
        }
        let too_large = not_worth(a, &stays, options);
        if too_large.is_empty() {
            return (stays, decisions);
        }
        decisions.no_map.extend(too_large);
    }
}

/// The filters that nothing has stay, where no mask is given.
pub(super) fn dead_filters(a: &Analysis) -> FilterMasks {
    let (stays, _) = decide(a, &EliminateOptions::default());
    let mut dead = FilterMasks::default();
    for layer in &a.layers {
        let Some(channels) = &a.tensors[layer.output.0] else {
            continue;
        };
        let classes = channels.classes.iter().enumerate();
        let gone = classes.filter(|(_, u)| stays[a.classes.find(**u)].is_none());
        let gone: Vec<usize> = gone.map(|(filter, _)| filter).collect();
        dead.prune(&layer.name, channels.classes.len(), gone);
    }
    dead
}

pub(super) type More = Vec<(ChannelClass, Stays)>;

/// One channel of each tensor that would have none left.
fn emptied(a: &Analysis, stays: &Solution) -> More {
    let gone = |u: &ChannelClass| stays[a.classes.find(*u)].is_none();
    a.tensors
        .iter()
        .flatten()
        .filter(|c| c.classes.iter().all(gone))
        .filter_map(|c| c.classes.first().map(|&u| (a.classes.find(u), Stays::Last)))
        .collect()
}

/// The first `count` classes among `of` that would go.
fn first_gone<'u>(
    a: &'u Analysis,
    stays: &'u Solution,
    of: &'u [ChannelClass],
    count: usize,
) -> impl Iterator<Item = ChannelClass> + 'u {
    let roots = of.iter().map(|&u| a.classes.find(u));
    roots.filter(|&u| stays[u].is_none()).take(count)
}

/// Layers whose number of filters would not be a multiple of `round_to`.
fn rounded(a: &Analysis, stays: &Solution, round_to: usize) -> More {
    if round_to <= 1 {
        return More::new();
    }
    let mut more = More::new();
    for (.., out) in a.mixing() {
        let count = kept(a, stays, out).len();
        let wanted = count.next_multiple_of(round_to).min(out.classes.len());
        let classes = first_gone(a, stays, &out.classes, wanted - count);
        more.extend(classes.map(|u| (u, Stays::Rounded)));
    }
    more
}

/// Operands whose scattering would cost more than the filters that it saves.
fn costly(a: &Analysis, stays: &Solution, each: usize) -> BTreeSet<(NodeId, usize)> {
    let (mut macs, mut positions) = (vec![0usize; a.classes.len()], vec![0usize; a.classes.len()]);
    for (_, m, out) in a.mixing() {
        for &u in &out.classes {
            let root = a.classes.find(u);
            macs[root] = macs[root].saturating_add(m.macs());
            positions[root] = positions[root].max(m.positions);
        }
    }
    let mut costly = BTreeSet::new();
    for s in &a.scattered {
        let (mut saved, mut cost, mut same) = (0usize, 0usize, true);
        for (operand, stream, _) in liveness::pairs(a, s) {
            same &= stays[operand].is_some() == stays[stream].is_some();
            if stays[operand].is_none() {
                saved = saved.saturating_add(macs[operand]);
            }
            if stays[stream].is_some() {
                let each = each.saturating_mul(positions[operand]);
                cost = cost.saturating_add(each);
            }
        }
        if !same && saved <= cost && cost > 0 {
            costly.insert((s.node, s.input));
        }
    }
    costly
}

/// Convolutions whose border map would take more values than the channels that it replaces.
fn not_worth(a: &Analysis, stays: &Solution, options: &EliminateOptions) -> Vec<NodeId> {
    // Weights that a class's filters hold, in all layers that write it.
    let mut held = vec![0usize; a.classes.len()];
    for (_, m, out) in a.mixing() {
        let row = m.layer.group_inputs().saturating_mul(m.kernel);
        for &u in &out.classes {
            let root = a.classes.find(u);
            held[root] = held[root].saturating_add(row);
        }
    }
    let mut list = Vec::new();
    for (layer, m, out) in a.mixing() {
        let data = m.data.and_then(|t| a.tensors[t.0].as_ref());
        let (Some(data), Some(border)) = (data, &m.border) else {
            continue;
        };
        let rows = kept(a, stays, out);
        let gone: Vec<usize> = fold::gone(data, &kept(a, stays, data))
            .into_iter()
            .map(|(i, _)| i)
            .filter(|&i| rows.iter().any(|&o| m.reads(o, i)))
            .collect();
        if gone.is_empty() {
            continue;
        }
        let classes: BTreeSet<_> = gone
            .iter()
            .map(|&i| a.classes.find(data.classes[i]))
            .collect();
        let columns = gone.len() * rows.len() * (m.kernel);
        let saved = classes.iter().map(|&u| held[u]).sum::<usize>() + columns;
        let allowed = f64::from(options.border_map_ratio) * saved as f64;
        let size = fold::form(border, rows.len(), m.kernel);
        if size.is_none_or(|(_, size)| size as f64 > allowed) {
            list.push(layer.node);
        }
    }
    list
}
