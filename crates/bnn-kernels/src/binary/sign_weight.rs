//! Weights of ±1: the signs of 32 filters for four channels in 32 nibbles.

use rayon::prelude::*;

use super::codes::PER_CODE;
use super::forward::FILTERS;
use crate::ConvGeometry;

/// Where the weight of filter o, input channel c (of its group) and kernel position k lies in a slice:
/// `o · filter + c · channel + k`. Of `[O, C/g, kH, kW]` the strides are `C/g · kH · kW` and `kH · kW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightStrides {
    /// From one filter to the next.
    pub filter: usize,
    /// From one input channel to the next.
    pub channel: usize,
}

/// The signs of a layer's weights as [`forward_sums`](super::forward_sums) and its like read them: four
/// input channels' signs of one filter and kernel position are a nibble, 32 filters' nibbles lie side by side.
#[derive(Debug, Clone)]
pub struct SignWeight {
    /// `[group, ⌈O/g / 32⌉, step, 32]` with a step for each kernel position and four input channels.
    data: Vec<u8>,
    /// Steps of a filter.
    steps: usize,
    /// Blocks of 32 filters in a group.
    blocks: usize,
}

impl SignWeight {
    /// Packs the signs of `weight`, the weights of a convolution of that geometry. `None` if one is NaN, or
    /// 0 where `zero_is_one` is false; else 0 counts as +1.
    ///
    /// # Panics
    /// If a weight that the geometry needs lies beyond the slice.
    pub fn pack(
        weight: &[f32],
        strides: WeightStrides,
        g: &ConvGeometry,
        zero_is_one: bool,
    ) -> Option<Self> {
        let signed = |w: f32| (w > 0.0) | (w < 0.0) | (zero_is_one & (w == 0.0));
        if !weight.iter().fold(true, |all, &w| all & signed(w)) {
            return None;
        }
        let area = g.kernel[0] * g.kernel[1];
        let (channels, filters) = (g.channels / g.groups, g.filters / g.groups);
        let codes = channels.div_ceil(PER_CODE);
        let (steps, blocks) = (area * codes, filters.div_ceil(FILTERS));
        let mut data = vec![0; g.groups * blocks * steps * FILTERS];
        data.par_chunks_mut((steps * FILTERS).max(1))
            .enumerate()
            .for_each(|(i, to)| {
                let (group, block) = (i / blocks, i % blocks);
                for lane in 0..FILTERS.min(filters - block * FILTERS) {
                    let o = group * filters + block * FILTERS + lane;
                    for c in 0..channels {
                        let from = &weight[o * strides.filter + c * strides.channel..][..area];
                        let to = to[c / PER_CODE * FILTERS + lane..].iter_mut();
                        for (to, &w) in to.step_by(codes * FILTERS).zip(from) {
                            *to |= u8::from(w >= 0.0) << (c % PER_CODE);
                        }
                    }
                }
            });
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

    /// The nibbles of a block, 32 for each step; none if there is no such block.
    pub(super) fn block(&self, group: usize, block: usize) -> &[u8] {
        if block >= self.blocks {
            return &[];
        }
        let size = self.steps * FILTERS;
        let start = (group * self.blocks + block) * size;
        &self.data[start..start + size]
    }
}
