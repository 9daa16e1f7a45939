//! Weights of ±1: the signs of 32 filters for four channels in 32 nibbles.

use super::codes::PER_CODE;
use super::{ConvGeometry, FILTERS};

/// Where the weight of filter o, input channel c (of its group) and kernel position k lies:
/// `o · filter + c · channel + k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightStrides {
    /// From one filter to the next.
    pub filter: usize,
    /// From one input channel to the next.
    pub channel: usize,
}

/// The signs of a layer's weights, `[group, ⌈O/g / 32⌉, step, 32]` with a step for each kernel
/// position and four input channels.
#[derive(Debug, Clone)]
pub struct SignWeight {
    data: Vec<u8>,
    /// Steps of a filter.
    steps: usize,
    /// Blocks of 32 filters in a group.
    blocks: usize,
}

impl SignWeight {
    /// Packs the signs of `weight`; `None` if one of them is neither positive nor negative.
    ///
    /// # Panics
    /// If a weight that the geometry needs lies beyond the slice.
    pub fn pack(weight: &[f32], strides: WeightStrides, g: &ConvGeometry) -> Option<Self> {
        if !weight.iter().all(|&w| w > 0.0 || w < 0.0) {
            return None;
        }
        let area = g.kernel[0] * g.kernel[1];
        let (channels, filters) = (g.channels / g.groups, g.filters / g.groups);
        let codes = channels.div_ceil(PER_CODE);
        let (steps, blocks) = (area * codes, filters.div_ceil(FILTERS));
        let mut data = vec![0; g.groups * blocks * steps * FILTERS];
        for o in 0..g.filters {
            let (group, within) = (o / filters, o % filters);
            let block = group * blocks + within / FILTERS;
            let to = &mut data[block * steps * FILTERS..(block + 1) * steps * FILTERS];
            for c in 0..channels {
                let bit = 1 << (c % PER_CODE);
                let from = &weight[o * strides.filter + c * strides.channel..][..area];
                for (k, &w) in from.iter().enumerate() {
                    if w > 0.0 {
                        let step = k * codes + c / PER_CODE;
                        to[step * FILTERS + within % FILTERS] |= bit;
                    }
                }
            }
        }
        Some(Self {
            data,
            steps,
            blocks,
        })
    }

    /// Blocks of 32 filters in each group.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The nibbles of a block, 32 for each step.
    pub(super) fn block(&self, group: usize, block: usize) -> &[u8] {
        let size = self.steps * FILTERS;
        let start = (group * self.blocks + block) * size;
        &self.data[start..start + size]
    }
}
