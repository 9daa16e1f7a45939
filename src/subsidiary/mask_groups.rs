//! What is masked together, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayD;

use super::{EvenParts, mask, shared_weights};
use crate::graph::{Graph, NodeId};
use crate::recognize::Layer;
use crate::rewrite::{Analysis, FilterMasks, Group, MaskSite, Residual};

/// One stage of the schedule: filters that share one mask.
#[derive(Debug, Clone)]
pub struct MaskGroup {
    /// The group in the analysis: every layer whose filters are cut together, float ones included.
    pub class: Group,
    /// Its binary layers, in order of execution.
    pub layers: Vec<String>,
    /// Channels that can be chosen: the length of the mask.
    pub filters: usize,
    /// Of which channels as many stay as of which others.
    pub parts: EvenParts,
    /// Where the mask multiplies in `drop`; nowhere for one producer of a stream.
    pub sites: Vec<MaskSite>,
    /// Whether the mask multiplies what its layers write, in `drop` as well: others write the same
    /// channels, which stay.
    pub behind: bool,
    /// The nodes of the group's layers, in its order, and along which axis of what they write filters lie.
    pub nodes: Vec<(NodeId, usize)>,
    /// The first node of the group in order of execution.
    pub first: NodeId,
    /// Channels that leave the file without a mask, as they are constant or read by nothing: the first ones that
    /// a mask takes, so that they count as part of what is to go.
    pub dead: Vec<usize>,
}

/// Why none of the filters goes that grouped convolutions write or read.
const NONE_CAN_GO: &str = "each group of the convolutions that write or read its filters keeps as many as the others (and what --round-to says), so all stay";

impl MaskGroup {
    /// About `keep` filters: as many as grouped convolutions and `round_to` let stay. Where groups are large,
    /// the nearest multiple may be fewer, or nothing would go.
    pub(super) fn nearest(&self, keep: usize, round_to: usize) -> usize {
        // Never 0.
        let multiple = self.parts.multiple(round_to);
        let above = mask::rounded(keep, self.filters, multiple);
        let below = keep / multiple * multiple;
        let fewer = self.parts.multiple(1) > 1 && below > 0 && keep - below < above - keep;
        if fewer { below } else { above }
    }

    /// How many of its channels are not dead.
    pub(super) fn live(&self) -> usize {
        self.filters - self.dead.len().min(self.filters)
    }

    /// How many of those that a mask takes are dead.
    pub(super) fn dead_among_pruned(&self, keep: &[bool]) -> usize {
        let pruned = |&&c: &&usize| keep.get(c).is_some_and(|&keep| !keep);
        self.dead.iter().filter(pruned).count()
    }

    /// Gives dead channels the lowest score there can be.
    pub(super) fn with_dead_last(&self, mut scores: Vec<f64>) -> Vec<f64> {
        for &channel in &self.dead {
            if let Some(score) = scores.get_mut(channel) {
                *score = f64::NEG_INFINITY;
            }
        }
        scores
    }

    /// Masks dead channels in M; all others are as with a goal of so many that stay, where there is one.
    pub(super) fn settle(&self, m: &mut ArrayD<f32>, goal: Option<usize>) {
        if let Some(keep) = goal {
            self.parts.centre(m, keep);
        }
        for &channel in &self.dead {
            if let Some(m) = m.get_mut([channel]) {
                *m = -1.0;
            }
        }
    }

    fn find_dead(&mut self, filters: &FilterMasks) {
        let mut live = vec![false; self.filters];
        for (name, channel_of) in self.class.layers.iter().zip(&self.class.channel_of) {
            let dead = filters.layers.get(name).map_or(&[][..], |l| &l.pruned);
            for (filter, &channel) in channel_of.iter().enumerate() {
                if let Some(live) = live.get_mut(channel) {
                    *live |= dead.binary_search(&filter).is_err();
                }
            }
        }
        let all = live.iter().enumerate();
        self.dead = all.filter(|(_, live)| !**live).map(|(c, _)| c).collect();
    }
}

/// A binary layer whose filters are not pruned, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The layer.
    pub layer: String,
    /// Why.
    pub reason: String,
}

/// What filters are masked together by.
#[derive(Debug, Clone, Copy)]
pub struct Grouping<'a> {
    /// Layers whose filters all stay.
    pub keep: &'a [String],
    /// Whether producers of a stream lose the same filters.
    pub residual: Residual,
    /// Of how many filters a multiple stays.
    pub round_to: usize,
}

impl Default for Grouping<'_> {
    /// All layers, coupled streams, any number of filters.
    fn default() -> Self {
        Self {
            keep: &[],
            residual: Residual::default(),
            round_to: 1,
        }
    }
}

/// The groups of a model bottom-up (by their first node), and the binary layers left out.
///
/// A group holds at least one binary layer, all of whose members are prunable and none of which
/// the user keeps. Producers of a stream are one group or, with [`Residual::Scatter`], each binary one
/// is one for itself. Layers that share a weight, and may both lose filters, are one group too.
pub fn mask_groups(
    graph: &Graph<'_>,
    layers: &[Layer],
    analysis: &Analysis,
    grouping: Grouping<'_>,
) -> (Vec<MaskGroup>, Vec<Excluded>) {
    let Grouping {
        keep,
        residual,
        round_to,
    } = grouping;
    let position: BTreeMap<NodeId, usize> = graph
        .order()
        .iter()
        .enumerate()
        .map(|(i, &n)| (n, i))
        .collect();
    let by_name: BTreeMap<&str, &Layer> = layers.iter().map(|l| (l.name.as_str(), l)).collect();
    let with_axis = |layer: &Layer| {
        let output = graph.output_of(layer.node, 0);
        let axis = output.and_then(|t| analysis.channel_axis(t));
        (layer.node, axis.unwrap_or(1))
    };
    let mut found: Vec<(usize, MaskGroup)> = Vec::new();
    let mut excluded = Vec::new();
    for group in analysis.groups() {
        let members: Vec<&Layer> = group
            .layers
            .iter()
            .filter_map(|name| by_name.get(name.as_str()).copied())
            .collect();
        let mut binary: Vec<&Layer> = members.iter().copied().filter(|l| l.is_binary()).collect();
        if binary.is_empty() {
            continue;
        }
        let place = |l: &Layer| position.get(&l.node).copied().unwrap_or(usize::MAX);
        // Groups of convolutions are tied by more than a sum.
        let sums = members.len() > 1 && members.iter().all(|l| l.group == 1);
        if residual == Residual::Scatter && sums {
            for layer in binary {
                let kept = keep
                    .contains(&layer.name)
                    .then(|| "kept (--keep)".to_owned());
                let whole = || rounded_away(round_to, layer.filters);
                match kept
                    .or_else(|| analysis.prunable(&layer.name).err())
                    .or_else(whole)
                {
                    Some(reason) => excluded.push(Excluded {
                        layer: layer.name.clone(),
                        reason,
                    }),
                    None => found.push((place(layer), producer(group, layer, with_axis(layer)))),
                }
            }
            continue;
        }
        let parts = EvenParts::of(analysis, group);
        let even = || {
            let multiple = parts.multiple(round_to);
            match parts.multiple(1) > 1 {
                true => (multiple >= group.channels).then(|| NONE_CAN_GO.to_owned()),
                false => rounded_away(multiple, group.channels),
            }
        };
        let reason = group.layers.iter().find_map(|name| {
            if keep.contains(name) {
                return Some(match group.layers.len() {
                    1 => "kept (--keep)".to_owned(),
                    _ => format!("coupled with '{name}', which is kept (--keep)"),
                });
            }
            analysis.prunable(name).err()
        });
        if let Some(reason) = reason.or_else(even) {
            excluded.extend(binary.iter().map(|l| Excluded {
                layer: l.name.clone(),
                reason: reason.clone(),
            }));
            continue;
        }
        binary.sort_by_key(|l| place(l));
        let Some(first) = members.iter().copied().min_by_key(|l| place(l)) else {
            continue;
        };
        found.push((
            place(first),
            MaskGroup {
                class: group.clone(),
                layers: binary.iter().map(|l| l.name.clone()).collect(),
                filters: group.channels,
                parts,
                sites: analysis.mask_sites(group.id).to_vec(),
                behind: false,
                nodes: members.iter().map(|l| with_axis(l)).collect(),
                first: first.node,
                dead: Vec::new(),
            },
        ));
    }
    found.sort_by_key(|(place, _)| *place);
    let in_order = found.into_iter().map(|(_, group)| group);
    let mut groups = shared_weights::joined(in_order, &by_name);
    let dead = analysis.dead_filters();
    groups.iter_mut().for_each(|group| group.find_dead(dead));
    (groups, excluded)
}

/// Why filters of which multiples stay all stay.
fn rounded_away(multiple: usize, filters: usize) -> Option<String> {
    (multiple > 1 && multiple >= filters)
        .then(|| format!("keeps multiples of {multiple} filters (--round-to), and has {filters}"))
}

/// One of the layers that write into a stream, whose filters go without those of the others.
fn producer(group: &Group, layer: &Layer, node: (NodeId, usize)) -> MaskGroup {
    MaskGroup {
        class: Group {
            channels: layer.filters,
            layers: vec![layer.name.clone()],
            channel_of: vec![(0..layer.filters).collect()],
            constant: BTreeSet::new(),
            ..group.clone()
        },
        layers: vec![layer.name.clone()],
        filters: layer.filters,
        // What is masked leaves the layer alone; the channels of the stream stay.
        parts: EvenParts::one(layer.filters),
        sites: Vec::new(),
        behind: true,
        nodes: vec![node],
        first: layer.node,
        dead: Vec::new(),
    }
}
