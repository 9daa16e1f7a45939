//! What masks leave of each tensor's channels.

use std::collections::{BTreeMap, BTreeSet};

use super::classes::ChannelClass;
use super::{Analysis, FilterMasks};
use crate::graph::TensorId;
use crate::ops::LeftOnAxis;

/// For each tensor the channels that are left where masked filters are gone.
#[derive(Debug, Clone, Default)]
pub struct RemainingChannels {
    by_tensor: BTreeMap<TensorId, LeftOnAxis>,
}

impl RemainingChannels {
    /// The channels that are left of a tensor; `None`: all.
    pub fn of(&self, t: TensorId) -> Option<&LeftOnAxis> {
        self.by_tensor.get(&t)
    }
}

impl Analysis {
    /// The channels that are left when masked filters are dropped. A channel goes with the filters
    /// that write it, all of them being masked, and with every channel that it is tied to. What the
    /// elimination finds beside that (channels that are constant by their values) stays: training may
    /// change it.
    pub fn remaining_channels(&self, masks: &FilterMasks) -> RemainingChannels {
        // What is constant where a layer reads it is not masked there, and stays in the file as that
        // constant.
        let constant: BTreeSet<ChannelClass> = self.constants_read().collect();
        let mut gone = self.classes_masked(masks);
        gone.retain(|class| !constant.contains(class));
        self.without(&gone)
    }

    /// The channels that some filter still writes which is not masked, or cannot be dropped; all of a tensor
    /// whose channels no masked filter writes.
    pub(super) fn written_channels(&self, masks: &FilterMasks) -> RemainingChannels {
        self.without(&self.classes_masked(masks))
    }

    /// The classes all of whose writers are masked and can be dropped.
    fn classes_masked(&self, masks: &FilterMasks) -> BTreeSet<ChannelClass> {
        let classes = &self.classes;
        let (mut gone, mut stays) = (BTreeSet::new(), BTreeSet::new());
        for layer in &self.layers {
            let pruned = masks.layers.get(&layer.name).map_or(&[][..], |m| &m.pruned);
            let channels = self.tensors[layer.output.0].iter();
            for (filter, &class) in channels.flat_map(|c| &c.classes).enumerate() {
                let class = classes.find(class);
                let droppable = classes.why_undroppable(class).is_none();
                match droppable && pruned.contains(&filter) {
                    true => gone.insert(class),
                    false => stays.insert(class),
                };
            }
        }
        gone.retain(|class| !stays.contains(class));
        gone
    }

    fn without(&self, gone: &BTreeSet<ChannelClass>) -> RemainingChannels {
        let classes = &self.classes;
        let mut remaining = RemainingChannels::default();
        for (t, channels) in self.tensors.iter().enumerate() {
            let Some(channels) = channels else {
                continue;
            };
            let all = channels.classes.iter().enumerate();
            let kept = all.filter(|(_, class)| !gone.contains(&classes.find(**class)));
            let kept: Vec<usize> = kept.map(|(i, _)| i).collect();
            if kept.len() < channels.classes.len() {
                let axis = channels.axis;
                let left = LeftOnAxis { axis, kept };
                remaining.by_tensor.insert(TensorId(t), left);
            }
        }
        remaining
    }
}
