//! Filters that are gone for good cost nothing: once a mask is fixed, the network that learns loses
//! them physically, by the plan that the rewrite follows.

use std::borrow::Cow;

use ndarray::ArrayD;

use super::MaskGroup;
use super::error::TrainError;
use super::sanity::{predictions, spread};
use super::schedule::prune;
use super::trainer::Trainer;
use crate::engine::Inference;
use crate::graph::{Graph, NodeId};
use crate::network::{ChannelsOfValues, KeptElements, MaskSpec, Network, ParamId};
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

/// The network as it is in the file, its filters masked, beside the smaller one that learns.
#[derive(Debug)]
pub(super) struct Whole {
    network: Network,
    kept: KeptElements,
    remaining: RemainingChannels,
}

impl Whole {
    /// With what the smaller network has learned.
    pub(super) fn learned(&mut self, small: &Network) -> &Network {
        self.network.take_back(small, &self.kept);
        &self.network
    }
}

impl Trainer<'_> {
    /// The network of the file with what was learned: masked, all filters in their places.
    pub(super) fn whole_network(&mut self) -> &Network {
        match &mut self.whole {
            Some(whole) => whole.learned(self.network),
            None => self.network,
        }
    }

    /// The network that learns is again that of the file.
    pub(super) fn restore_whole(&mut self) {
        if let Some(mut whole) = self.whole.take() {
            whole.learned(self.network);
            *self.network = whole.network;
        }
    }

    /// Takes the filters out that fixed masks have removed. The network stays as it is, masked, where
    /// a mask leaves something behind, or a smaller network cannot be had.
    pub(super) fn shrink(&mut self) -> Result<(), TrainError> {
        let Some(channels) = self.channels else {
            return Ok(());
        };
        let masks = self.fixed_masks(channels);
        if self.options().removal != Removal::Drop || masks.layers.is_empty() {
            return Ok(());
        }
        let whole = match self.whole.take() {
            Some(mut whole) => {
                whole.learned(self.network);
                whole.network
            }
            None => self.network.clone(),
        };
        let remaining = channels.analysis.remaining_channels(&masks);
        let left = left_in(&whole, channels.graph, &remaining);
        if let Some((mut small, kept)) = whole.shrunk(&left) {
            let fixed = self.fixed_stages().count();
            let masks = whole.mask_params().take(fixed);
            masks.for_each(|m| small.remove_masks(m));
            if self.agree(&whole, &small)? {
                *self.network = small;
                self.whole = Some(Whole {
                    network: whole,
                    kept,
                    remaining,
                });
                return Ok(());
            }
        }
        *self.network = whole;
        Ok(())
    }

    /// What the stages keep that are done, and the one under way if its mask is fixed.
    fn fixed_stages(&self) -> impl Iterator<Item = &[bool]> {
        let under_way = self.run.stage.iter().filter(|s| s.report.is_some());
        let under_way = under_way.filter_map(|s| s.keep.as_deref());
        let done = self.run.done.iter().map(|d| &d.keep[..]);
        done.chain(under_way)
    }

    /// Their masks.
    fn fixed_masks(&self, channels: Channels<'_>) -> FilterMasks {
        let mut masks = FilterMasks::default();
        for (group, keep) in channels.groups.iter().zip(self.fixed_stages()) {
            prune(&mut masks, group, keep, channels.analysis);
        }
        masks
    }

    /// Whether two networks classify (nearly) all of some training images in the same way.
    fn agree(&self, a: &Network, b: &Network) -> Result<bool, TrainError> {
        let chosen = spread(&self.images.train_indices, COMPARED);
        let x = self.images.train.batch(&chosen, &self.images.preprocess);
        let classes = |network: &Network| -> Result<Vec<usize>, TrainError> {
            let logits = Inference::new(Cow::Borrowed(network), network.all()).infer(x.clone())?;
            Ok(predictions(&logits))
        };
        let (a, b) = (classes(a)?, classes(b)?);
        let differing = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        Ok(differing as f64 <= MAY_DIFFER * chosen.len() as f64)
    }

    /// Adds a group's mask parameters and puts them where the rewrite will cut: in `drop` in front
    /// of each channel-mixing consumer, in `fold` behind each member.
    pub(super) fn insert_mask(
        &mut self,
        group: &MaskGroup,
        value: ArrayD<f32>,
    ) -> Result<ParamId, TrainError> {
        let removal = self.options().removal;
        let Some(whole) = &mut self.whole else {
            return insert(self.network, group, (removal, value), |_, _| None);
        };
        let Some(channels) = self.channels else {
            return insert(self.network, group, (removal, value), |_, _| None);
        };
        insert(
            &mut whole.network,
            group,
            (removal, value.clone()),
            |_, _| None,
        )?;
        let remaining = &whole.remaining;
        insert(self.network, group, (removal, value), |consumer, input| {
            let tensor = channels.graph.input_of(consumer, input)?;
            remaining.of(tensor)
        })
    }

    /// From now on the scale of each consumer averages over kept columns only.
    pub(super) fn keep_columns(&mut self, group: &MaskGroup, keep: &[bool]) {
        if self.options().removal == Removal::Fold {
            return;
        }
        let graph = self.channels.map(|c| c.graph);
        let mut whole = self.whole.as_mut();
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
    (removal, value): (Removal, ArrayD<f32>),
    left: impl Fn(NodeId, usize) -> Option<&'a LeftOnAxis>,
) -> Result<ParamId, TrainError> {
    let name = format!("mask of {}", group.layers.join(", "));
    let param = network.add_param(&name, ParamKind::Mask, value);
    match removal {
        Removal::Drop => {
            for site in &group.sites {
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
        }
        Removal::Fold => {
            for (&node, channel_of) in group.nodes.iter().zip(&group.group.channel_of) {
                let mask = MaskSpec {
                    // [N, C, …] for Conv, [N, C] for Gemm and MatMul.
                    axis: 1,
                    filter_of: channel_of.iter().copied().map(Some).collect(),
                    param,
                };
                network.insert_output_mask(node, mask)?;
            }
        }
    }
    Ok(param)
}

/// What is left of the channels of a network's values.
fn left_in(
    network: &Network,
    graph: &Graph<'_>,
    remaining: &RemainingChannels,
) -> ChannelsOfValues {
    network.channels_of_values(|node| remaining.of(graph.output_of(node, 0)?).cloned())
}
