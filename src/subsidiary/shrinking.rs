//! Filters that are gone for good cost nothing: once a mask is fixed, the network that learns loses
//! them physically, by the plan that the rewrite follows.

use ndarray::ArrayD;

use super::error::TrainError;
use super::sanity::{predictions, spread};
use super::schedule::prune;
use super::trainer::Trainer;
use super::{MaskGroup, mask};
use crate::engine::Inference;
use crate::graph::{Graph, NodeId};
use crate::network::{BinaryId, ChannelsOfValues, KeptElements, MaskSpec, Network, ParamId};
use crate::ops::{LeftOnAxis, ParamKind};
use crate::rewrite::{Analysis, FilterMasks, RemainingChannels, Removal};

/// Images that masked and smaller network are compared on.
const COMPARED: usize = 64;
/// Share of them that may be classified in another way: sums are rounded in another order, and a
/// binariser may turn that into another sign.
const MAY_DIFFER: f64 = 0.1;

/// What the channels of a network are known from.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    pub graph: &'a Graph<'a>,
    pub analysis: &'a Analysis,
    pub groups: &'a [MaskGroup],
}

/// How far the filters that fixed masks have removed are taken out of the network that learns.
#[derive(Default)]
pub(super) struct Shrinking<'a> {
    /// What is known of the network's channels, where filters that are gone may be taken out.
    channels: Option<Channels<'a>>,
    /// The network of the file, where the one that learns has become smaller.
    whole: Option<Whole>,
    /// Stages whose filters were taken out.
    stages: usize,
}

impl<'a> Shrinking<'a> {
    /// From now on filters may be taken out.
    pub(super) fn allow(&mut self, channels: Channels<'a>) {
        self.channels = Some(channels);
    }
}

/// The network as it is in the file, its filters masked, beside the smaller one that learns.
#[derive(Debug)]
struct Whole {
    network: Network,
    kept: KeptElements,
    remaining: RemainingChannels,
}

impl Whole {
    /// With what the smaller network has learned.
    fn learned(&mut self, small: &Network) -> &Network {
        self.network.take_back(small, &self.kept);
        &self.network
    }
}

/// However a run ends, whoever lent the network gets that of the file back.
impl Drop for Trainer<'_> {
    fn drop(&mut self) {
        if let Some(mut whole) = self.shrinking.whole.take() {
            whole.learned(self.network);
            *self.network = whole.network;
        }
    }
}

impl Trainer<'_> {
    /// The network of the file with what was learned: masked, all filters in their places.
    pub(super) fn whole_network(&mut self) -> &Network {
        match &mut self.shrinking.whole {
            Some(whole) => whole.learned(self.network),
            None => self.network,
        }
    }

    /// Takes the filters out that fixed masks have removed, stage by stage. Where a smaller network
    /// cannot be had, this and all later masks stay masks.
    pub(super) fn shrink(&mut self) -> Result<(), TrainError> {
        let Some(channels) = self.shrinking.channels else {
            return Ok(());
        };
        if self.options().removal != Removal::Drop {
            return Ok(());
        }
        // What was decided before the run was saved is not decided again, by other parameters.
        while self.shrinking.stages < self.run.shrunk
            && self.shrink_to(channels, self.shrinking.stages + 1, false)?
        {
            self.shrinking.stages += 1;
        }
        let fixed = self.fixed_stages().count();
        while self.shrinking.stages < fixed && !self.run.shrinking_ended {
            match self.shrink_to(channels, self.shrinking.stages + 1, true)? {
                true => {
                    self.shrinking.stages += 1;
                    self.run.shrunk = self.shrinking.stages;
                }
                false => self.run.shrinking_ended = true,
            }
        }
        Ok(())
    }

    /// Takes the filters out that the first so many masks have removed; whether that was possible, and,
    /// if that is to be compared, the smaller network does what the masked one does.
    fn shrink_to(
        &mut self,
        channels: Channels<'_>,
        stages: usize,
        compares: bool,
    ) -> Result<bool, TrainError> {
        let mut masks = FilterMasks::default();
        let fixed = channels.groups.iter().zip(self.fixed_stages()).take(stages);
        // Of a stream no channel goes with one of its layers, nor with all: the constants stay that they leave.
        for (group, keep) in fixed.filter(|(group, _)| !group.behind) {
            prune(&mut masks, group, keep, channels.analysis);
        }
        let whole = self.whole_network().clone();
        let remaining = channels.analysis.remaining_channels(&masks);
        let left = left_in(&whole, channels.graph, &remaining);
        let Some((mut small, kept)) = whole.shrunk(&left) else {
            return Ok(false);
        };
        let fixed = whole.mask_params().take(stages);
        fixed.for_each(|m| small.remove_idle_masks(m));
        if compares && !self.agree(&small)? {
            return Ok(false);
        }
        *self.network = small;
        self.shrinking.whole = Some(Whole {
            network: whole,
            kept,
            remaining,
        });
        Ok(true)
    }

    /// Puts the masks in place that the stages have now, where these keep more filters than before: the
    /// network of the file takes the place of the smaller one, which is made anew.
    pub(super) fn remask(&mut self, groups: &[MaskGroup]) -> Result<(), TrainError> {
        if let Some(mut whole) = self.shrinking.whole.take() {
            whole.learned(self.network);
            *self.network = whole.network;
        }
        let fixed: Vec<Vec<bool>> = self.fixed_stages().map(<[bool]>::to_vec).collect();
        let params: Vec<ParamId> = self.network.mask_params().collect();
        for (m, keep) in params.into_iter().zip(&fixed) {
            self.network.values_mut(m).assign(&mask::hard(keep));
        }
        for b in (0..self.network.binaries().len()).map(BinaryId) {
            self.network.exchange_kept_columns(b, &mut None);
        }
        for (group, keep) in groups.iter().zip(&fixed) {
            self.keep_columns(group, keep);
        }
        // Which of the masks could be taken out was decided, and stays: steps may not move within a stage.
        self.shrinking.stages = 0;
        self.shrink()
    }

    /// What the stages keep that are done, and the one under way if its mask is fixed.
    fn fixed_stages(&self) -> impl Iterator<Item = &[bool]> {
        let under_way = self.run.stage.iter().filter(|s| s.report.is_some());
        let under_way = under_way.filter_map(|s| s.keep.as_deref());
        let done = self.run.done.iter().map(|d| &d.keep[..]);
        done.chain(under_way)
    }

    /// Whether a smaller network classifies (nearly) all of some training images as the one that learns
    /// does.
    fn agree(&self, small: &Network) -> Result<bool, TrainError> {
        let chosen = spread(&self.images.train_indices, COMPARED);
        let x = self.images.train.batch(&chosen, &self.images.preprocess)?;
        let now = predictions(&Inference::of(self.network).infer(x.clone())?);
        // One that cannot be run is none.
        let Ok(then) = Inference::of(small).infer(x) else {
            return Ok(false);
        };
        let then = predictions(&then);
        let differing = now.iter().zip(&then).filter(|(a, b)| a != b).count();
        Ok(now.len() == then.len() && differing as f64 <= MAY_DIFFER * chosen.len() as f64)
    }

    /// Adds a group's mask parameters and puts them where the rewrite will cut: in `drop` in front
    /// of each channel-mixing consumer, in `fold` behind each member.
    pub(super) fn insert_mask(
        &mut self,
        group: &MaskGroup,
        value: ArrayD<f32>,
    ) -> Result<ParamId, TrainError> {
        let removal = self.options().removal;
        let (Some(whole), Some(channels)) = (&mut self.shrinking.whole, self.shrinking.channels)
        else {
            return insert(self.network, group, removal, value, |_, _| None);
        };
        insert(&mut whole.network, group, removal, value.clone(), |_, _| {
            None
        })?;
        let remaining = &whole.remaining;
        insert(self.network, group, removal, value, |consumer, input| {
            let tensor = channels.graph.input_of(consumer, input)?;
            remaining.of(tensor)
        })
    }

    /// From now on the scale of each consumer averages over kept columns only.
    pub(super) fn keep_columns(&mut self, group: &MaskGroup, keep: &[bool]) {
        if self.options().removal == Removal::Fold {
            return;
        }
        let graph = self.shrinking.channels.map(|c| c.graph);
        let mut whole = self.shrinking.whole.as_mut();
        for site in &group.sites {
            let columns = site
                .filter_of
                .iter()
                .map(|filter| filter.is_none_or(|f| keep.get(f).copied().unwrap_or(true)));
            let columns: Vec<bool> = columns.collect();
            let Some(id) = self.network.binary_of(site.consumer) else {
                continue;
            };
            let mut left = columns.clone();
            if let Some(whole) = &mut whole {
                whole.network.keep_columns(id, &columns);
                let tensor = graph.and_then(|g| g.input_of(site.consumer, site.input));
                if let Some(remaining) = tensor.and_then(|t| whole.remaining.of(t)) {
                    left = remaining.kept.iter().map(|&c| columns[c]).collect();
                }
            }
            self.network.keep_columns(id, &left);
        }
    }
}

/// Adds a mask parameter and puts masks on a network; `left` says what is left of the channels that a
/// consumer reads at an input, where some are gone.
fn insert<'a>(
    network: &mut Network,
    group: &MaskGroup,
    removal: Removal,
    value: ArrayD<f32>,
    left: impl Fn(NodeId, usize) -> Option<&'a LeftOnAxis>,
) -> Result<ParamId, TrainError> {
    let name = format!("mask of {}", group.layers.join(", "));
    let param = network.add_param(&name, ParamKind::Mask, value);
    match (removal, group.behind) {
        (Removal::Drop, false) => {
            for site in &group.sites {
                // Only another output than the one that is learned from depends on it.
                if network.step_of(site.consumer).is_none() {
                    continue;
                }
                let filter_of = match left(site.consumer, site.input) {
                    Some(left) => {
                        let of = |&c: &usize| site.filter_of.get(c).copied().flatten();
                        left.kept.iter().map(of).collect()
                    }
                    None => site.filter_of.clone(),
                };
                let mask = MaskSpec {
                    axis: site.axis,
                    filter_of,
                    param,
                };
                network.insert_mask(site.consumer, site.input, mask)?;
            }
            // As in the file: what is constant where it is read is masked where it is written, and that
            // constant stays.
            let constant = &group.class.constant;
            insert_behind(network, group, param, |c| constant.contains(&c))?;
        }
        (Removal::Fold, _) | (Removal::Drop, true) => {
            insert_behind(network, group, param, |_| true)?;
        }
    }
    Ok(param)
}

/// Puts a mask behind each of a group's layers, on the group's channels that `masked` says.
fn insert_behind(
    network: &mut Network,
    group: &MaskGroup,
    param: ParamId,
    masked: impl Fn(usize) -> bool,
) -> Result<(), TrainError> {
    for (&(node, axis), channel_of) in group.nodes.iter().zip(&group.class.channel_of) {
        let filter_of = channel_of.iter().map(|&c| masked(c).then_some(c));
        let filter_of: Vec<Option<usize>> = filter_of.collect();
        if filter_of.iter().all(Option::is_none) {
            continue;
        }
        let mask = MaskSpec {
            axis,
            filter_of,
            param,
        };
        network.insert_output_mask(node, mask)?;
    }
    Ok(())
}

/// What is left of the channels of a network's values.
fn left_in(
    network: &Network,
    graph: &Graph<'_>,
    remaining: &RemainingChannels,
) -> ChannelsOfValues {
    network.channels_of_values(|node| remaining.of(graph.output_of(node, 0)?).cloned())
}
