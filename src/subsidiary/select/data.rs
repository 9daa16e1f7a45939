//! What rules that look at data see: the channels of a group where their consumers read them.

use std::borrow::Cow;

use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::{RuleContext, TrainError};
use crate::engine::Inference;
use crate::network::{Input, StepId, ValueId};
use crate::ops::Role;
use crate::subsidiary::sanity::spread;
use crate::subsidiary::span::TrainingImages;

/// Images at a time: few enough that their activations as floats need little room.
const BATCH: usize = 32;

/// A place where a consumer reads channels of the group.
#[derive(Debug)]
pub(super) struct Reading {
    /// The consumer.
    pub consumer: StepId,
    /// What it reads.
    value: ValueId,
    /// The axis along which the channels lie.
    axis: usize,
    /// For each index along it the channel of the group, if it is one.
    pub filter_of: Vec<Option<usize>>,
}

/// What one reading gives for some images.
pub(super) struct Seen<'a> {
    /// Which reading.
    pub reading: usize,
    /// The place of the first image among those looked at.
    pub first: usize,
    /// Images.
    pub images: usize,
    /// The values, `[N, …]`.
    pub x: &'a ArrayD<f32>,
    /// Around the axis of the channels, per image: `outer` rows of `channels` planes of `inner`.
    pub planes: Planes,
}

impl Reading {
    /// For each channel of the group its indices along the axis.
    pub fn indices(&self, filters: usize) -> Vec<Vec<usize>> {
        let mut indices = vec![Vec::new(); filters];
        for (i, filter) in self.filter_of.iter().enumerate() {
            if let Some(slot) = filter.and_then(|f| indices.get_mut(f)) {
                slot.push(i);
            }
        }
        indices
    }
}

/// At most `count` of `total` places, evenly spread, beginning where `turn` says.
pub(super) fn places(total: usize, count: usize, turn: u64) -> impl Iterator<Item = usize> {
    let count = count.min(total);
    let first = (turn % total.max(1) as u64) as usize;
    (0..count).map(move |i| (first + i * total / count) % total)
}

impl RuleContext<'_, '_> {
    /// A number for an image, the same for the same seed: where in it samples are taken.
    pub(super) fn turn(&self, image: usize) -> u64 {
        let mixed = (self.seed ^ image as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }

    /// The places where consumers read the group, in the order of execution.
    pub(super) fn readings(&self) -> Vec<Reading> {
        let network = &*self.trainer.network;
        let reading = |site: &crate::rewrite::MaskSite| {
            let consumer = network.step_of(site.consumer)?;
            let place = network.place_of(consumer, site.input);
            let Input::Value(value) = *network.step(consumer).inputs.get(place)? else {
                return None;
            };
            // The mask in front of the consumer knows which channels earlier stages have left.
            let mask = network.writer(value).map(|at| network.step(at));
            let mask = mask.filter(|s| s.inputs.get(1) == Some(&Input::Param(self.m)));
            let (axis, filter_of) = match mask.map(|s| s.op.traits(&[]).role) {
                Some(Role::Mask(mask)) => (mask.axis, &mask.filter_of),
                _ => (site.axis, &site.filter_of),
            };
            Some(Reading {
                consumer,
                value,
                axis,
                filter_of: filter_of.clone(),
            })
        };
        let mut readings: Vec<Reading> = self.group.sites.iter().filter_map(reading).collect();
        readings.sort_by_key(|r| r.consumer);
        readings
    }

    /// Calls `visit` with what each reading gives for at most `count` training images, varied as in
    /// training, a batch after the other.
    pub(super) fn look(
        &self,
        readings: &[Reading],
        count: usize,
        mut visit: impl FnMut(&Seen<'_>),
    ) -> Result<(), TrainError> {
        let trainer = &*self.trainer;
        let mut from = self.span.from;
        let mut stretches = Vec::new();
        for reading in readings {
            let network = Cow::Borrowed(&*trainer.network);
            stretches.push(
                (reading.consumer > from).then(|| Inference::new(network, from..reading.consumer)),
            );
            from = from.max(reading.consumer);
        }
        let chosen = spread(&self.span.images, count);
        for (batch, indices) in chosen.chunks(BATCH).enumerate() {
            trainer.check_cancelled()?;
            let mut at = trainer.boundary(self.span, indices, TrainingImages::Augmented)?;
            for (i, (reading, stretch)) in readings.iter().zip(&stretches).enumerate() {
                if let Some(stretch) = stretch {
                    at = stretch.run(&at)?;
                }
                let Some((_, value)) = at.values.iter().find(|(v, _)| *v == reading.value) else {
                    continue;
                };
                let x = value.float();
                if x.shape().get(reading.axis) != Some(&reading.filter_of.len()) {
                    continue;
                }
                let images = indices.len();
                let mut planes = Planes::around(x.shape(), reading.axis);
                planes.outer /= images.max(1);
                visit(&Seen {
                    reading: i,
                    first: batch * BATCH,
                    images,
                    x,
                    planes,
                });
            }
        }
        Ok(())
    }
}
