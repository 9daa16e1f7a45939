//! Grouped convolutions need as many channels and filters in each group as in the others; a group
//! may go as a whole.

use std::collections::BTreeMap;

use super::Analysis;
use super::classes::ChannelClass;
use super::decide::More;
use super::groups::Group;
use super::liveness::{Solution, Stays};
use super::rules::Channels;
use crate::graph::NodeId;

/// The filters of a grouped convolution, or the channels that it reads: for each group that does
/// not go as a whole its classes, by representative.
struct Side {
    node: NodeId,
    groups: Vec<Vec<ChannelClass>>,
    /// How many of each group have to stay.
    target: usize,
}

/// Channel classes that have to stay so that groups are of equal size.
pub(super) fn uneven(a: &Analysis, stays: &Solution) -> More {
    let mut sides = sides(a, stays);
    // Two sides of the same channels (a convolution that reads what another writes, shuffled) keep
    // as many in all.
    let mut totals: BTreeMap<Vec<ChannelClass>, usize> = BTreeMap::new();
    let key = |s: &Side| {
        let mut classes = s.groups.concat();
        classes.sort_unstable();
        classes
    };
    for s in &sides {
        let total = totals.entry(key(s)).or_default();
        *total = (*total).max(s.target * s.groups.len());
    }
    for s in &mut sides {
        let total = totals.get(&key(s)).copied().unwrap_or(0);
        s.target = total.div_ceil(s.groups.len().max(1));
    }
    fill(&sides, stays)
}

impl Analysis {
    /// How grouped convolutions part a group's channels that they read or write: for each channel, which of
    /// the convolution's groups it is in. Each way once; as many channels of each part have to stay. None
    /// where what a convolution reads is written by others too.
    pub fn even_partitions(&self, group: &Group) -> Vec<Vec<usize>> {
        let mut channel_of: BTreeMap<ChannelClass, usize> = BTreeMap::new();
        for (name, channels) in group.layers.iter().zip(&group.channel_of) {
            let layer = self.layers.iter().find(|l| l.name == *name);
            let out = layer.and_then(|l| self.tensors[l.output.0].as_ref());
            let classes = out.iter().flat_map(|out| &out.classes);
            let roots = classes.map(|&u| self.classes.find(u));
            channel_of.extend(roots.zip(channels.iter().copied()));
        }
        let mut partitions = Vec::new();
        for (_, m, out) in self.mixing().filter(|(_, m, _)| m.layer.groups > 1) {
            let data = m.data.and_then(|t| self.tensors[t.0].as_ref());
            let read = data.map(|data| (data, m.layer.group_inputs()));
            let written = (out, m.layer.group_filters());
            // A group of one channel is there or goes as a whole.
            for (channels, size) in read.into_iter().chain([written]).filter(|(_, s)| *s > 1) {
                let mut part_of = vec![None; group.channels];
                for (i, &u) in channels.classes.iter().enumerate() {
                    if let Some(&channel) = channel_of.get(&self.classes.find(u)) {
                        part_of[channel].get_or_insert(i / size);
                    }
                }
                if let Some(part_of) = part_of.into_iter().collect::<Option<Vec<usize>>>()
                    && part_of.len() == channels.classes.len()
                    && !partitions.contains(&part_of)
                {
                    partitions.push(part_of);
                }
            }
        }
        partitions
    }
}

fn sides(a: &Analysis, stays: &Solution) -> Vec<Side> {
    let mut sides = Vec::new();
    let count = |classes: &[ChannelClass]| classes.iter().filter(|&&u| stays[u].is_some()).count();
    for (layer, m, out) in a.mixing().filter(|(_, m, _)| m.layer.groups > 1) {
        let chunks = |c: &Channels, size: usize| -> Vec<Vec<ChannelClass>> {
            let roots: Vec<ChannelClass> = c.classes.iter().map(|&u| a.classes.find(u)).collect();
            roots.chunks(size.max(1)).map(<[_]>::to_vec).collect()
        };
        let outputs = chunks(out, m.layer.group_filters());
        // Inputs that are not tracked are all there.
        let data = m.data.and_then(|t| a.tensors[t.0].as_ref());
        let inputs = data.map(|d| chunks(d, m.layer.group_inputs()));
        let present = |g: usize| {
            let reads = |i: &Vec<Vec<ChannelClass>>| i.get(g).is_some_and(|i| count(i) > 0);
            inputs.as_ref().is_none_or(reads) || outputs.get(g).is_some_and(|o| count(o) > 0)
        };
        for side in [Some(&outputs), inputs.as_ref()].into_iter().flatten() {
            let present = side.iter().enumerate().filter(|(g, _)| present(*g));
            let groups: Vec<Vec<ChannelClass>> =
                present.map(|(_, classes)| classes.clone()).collect();
            let most = groups.iter().map(|g| count(g)).max().unwrap_or(0);
            sides.push(Side {
                node: layer.node,
                groups,
                target: most.max(1),
            });
        }
    }
    sides
}

/// Channel classes that go, as many as the groups lack; first those that more than one group lacks.
fn fill(sides: &[Side], stays: &Solution) -> More {
    let mut missing: Vec<usize> = Vec::new();
    // For each class that goes the groups that could do with it, and why.
    let mut useful: BTreeMap<ChannelClass, (NodeId, Vec<usize>)> = BTreeMap::new();
    for s in sides {
        for classes in &s.groups {
            let gone: Vec<ChannelClass> = classes
                .iter()
                .copied()
                .filter(|&u| stays[u].is_none())
                .collect();
            let there = classes.len() - gone.len();
            let lacks = s.target.min(classes.len()).saturating_sub(there);
            if lacks > 0 {
                for u in gone {
                    let (_, groups) = useful.entry(u).or_insert_with(|| (s.node, Vec::new()));
                    groups.push(missing.len());
                }
                missing.push(lacks);
            }
        }
    }
    let mut more = More::new();
    let most = useful.values().map(|(_, groups)| groups.len()).max();
    for wanted in (1..=most.unwrap_or(0)).rev() {
        useful.retain(|&u, (node, groups)| {
            let lacking = groups.iter().filter(|&&g| missing[g] > 0).count();
            let taken = lacking >= wanted;
            if taken {
                groups
                    .iter()
                    .for_each(|&g| missing[g] = missing[g].saturating_sub(1));
                more.push((u, Stays::Even(*node)));
            }
            !taken
        });
    }
    more
}
