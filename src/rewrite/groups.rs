//! Coupled groups: layers whose filters share classes and must be cut together, and the places where
//! a group's mask multiplies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::analysis::{Analysis, LayerNode};
use super::classes::ChannelClass;
use super::state::State;
use crate::graph::NodeId;

/// Index into [`Analysis::groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// Layers whose filters must be cut together: one, or all producers of a residual stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its place in [`Analysis::groups`].
    pub id: GroupId,
    /// How many channels can be chosen: the length of its mask.
    pub channels: usize,
    /// Names of its layers, in the order of execution.
    pub layers: Vec<String>,
    /// For each layer, the group channel of each of its filters.
    pub channel_of: Vec<Vec<usize>>,
    /// Channels that are constant where a layer reads them, whatever their filters' weights are. Masked, they
    /// are not dropped there but stay as the constants that they are; they are masked where they are written.
    pub constant: BTreeSet<usize>,
    /// Why channels of it cannot be cut; `None` if all can.
    pub blocked: Option<String>,
}

impl Group {
    /// The filters of each layer that group channels stand for, sorted.
    pub fn filters_of(&self, channels: &[usize]) -> BTreeMap<String, Vec<usize>> {
        let chosen = |c: &usize| channels.contains(c);
        let filters = self.channel_of.iter().map(|of| {
            let hit = of.iter().enumerate().filter(|(_, c)| chosen(c));
            hit.map(|(f, _)| f).collect()
        });
        self.layers.iter().cloned().zip(filters).collect()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}: {} channels", self.id.0, self.channels)?;
        for (name, of) in self.layers.iter().zip(&self.channel_of) {
            write!(f, "\n  '{name}': {} filters", of.len())?;
        }
        match &self.blocked {
            Some(reason) => write!(f, "\n  not prunable: {reason}"),
            None => Ok(()),
        }
    }
}

/// A place where a group's mask multiplies in `drop`: the data input of a channel-mixing consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSite {
    /// The Conv, Gemm or MatMul that reads.
    pub consumer: NodeId,
    /// Which of its inputs.
    pub input: usize,
    /// The axis of that tensor along which the mask lies.
    pub axis: usize,
    /// For each index along it, the group channel whose mask multiplies; `None` where nothing does
    /// (another group's channel, or one that does not depend on the model's input).
    pub filter_of: Vec<Option<usize>>,
}

/// The groups of an analysed graph, and the mask sites of each.
pub(super) fn form(a: &Analysis) -> (Vec<Group>, Vec<Vec<MaskSite>>) {
    let mut owner: Vec<Option<usize>> = vec![None; a.classes.len()];
    let mut members: Vec<Vec<&LayerNode>> = Vec::new();
    for layer in &a.layers {
        let roots = roots(a, layer);
        if roots.is_empty() {
            continue;
        }
        // All groups that this layer touches become one: the oldest.
        let mut touched: Vec<usize> = roots.iter().filter_map(|&u| owner[u]).collect();
        touched.sort_unstable();
        touched.dedup();
        let home = touched.first().copied().unwrap_or_else(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        for &other in touched.iter().skip(1) {
            let moved = std::mem::take(&mut members[other]);
            members[home].extend(moved);
            owner
                .iter_mut()
                .filter(|o| **o == Some(other))
                .for_each(|o| *o = Some(home));
        }
        for u in roots {
            owner[u] = Some(home);
        }
        members[home].push(layer);
    }
    let mut groups = Vec::new();
    let mut place: Vec<Option<(usize, usize)>> = vec![None; a.classes.len()];
    for mut layers in members.into_iter().filter(|m| !m.is_empty()) {
        let position = |l: &LayerNode| a.layers.iter().position(|x| x.node == l.node);
        layers.sort_by_key(|l| position(l));
        groups.push(group(a, GroupId(groups.len()), &layers, &mut place));
    }
    for (g, channel) in a.constants_read().filter_map(|class| place[class]) {
        groups[g].constant.insert(channel);
    }
    let sites = sites(a, groups.len(), &place);
    (groups, sites)
}

fn roots(a: &Analysis, layer: &LayerNode) -> Vec<ChannelClass> {
    match &a.tensors[layer.output.0] {
        Some(c) if a.behaviours[layer.node.0].is_some() => {
            c.classes.iter().map(|&u| a.classes.find(u)).collect()
        }
        _ => Vec::new(),
    }
}

fn group(
    a: &Analysis,
    id: GroupId,
    layers: &[&LayerNode],
    place: &mut [Option<(usize, usize)>],
) -> Group {
    let mut channels = 0;
    let mut blocked = None;
    let mut channel_of = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut of = Vec::new();
        for u in roots(a, layer) {
            let (_, channel) = *place[u].get_or_insert_with(|| {
                channels += 1;
                (id.0, channels - 1)
            });
            of.push(channel);
            if blocked.is_none() {
                blocked = a.classes.why_undroppable(u).map(str::to_owned);
            }
        }
        channel_of.push(of);
    }
    Group {
        id,
        channels,
        layers: layers.iter().map(|l| l.name.clone()).collect(),
        channel_of,
        constant: BTreeSet::new(),
        blocked,
    }
}

fn sites(a: &Analysis, count: usize, place: &[Option<(usize, usize)>]) -> Vec<Vec<MaskSite>> {
    let mut sites: Vec<Vec<MaskSite>> = vec![Vec::new(); count];
    for (consumer, mixing, data) in a.mixing_with_data() {
        let mut found: BTreeMap<usize, Vec<Option<usize>>> = BTreeMap::new();
        for (i, (&u, &state)) in data.classes.iter().zip(&data.states).enumerate() {
            if state != State::Live {
                continue;
            }
            if let Some((g, channel)) = place[a.classes.find(u)] {
                found
                    .entry(g)
                    .or_insert_with(|| vec![None; data.classes.len()])[i] = Some(channel);
            }
        }
        for (g, filter_of) in found {
            sites[g].push(MaskSite {
                consumer,
                input: mixing.layer.weights_at.data_input(),
                axis: data.axis,
                filter_of,
            });
        }
    }
    sites
}
