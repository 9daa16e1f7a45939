//! For the gradient with respect to a convolution's input.

use std::ops::Range;

use super::rounding::{Plane, round_four, scales, seed};
use super::{RoundedGradient, byte};
use crate::binary::input_gradient::InputGradientSource;
use crate::binary::sum_tables::FILTERS_PER_TABLE;
use crate::parallel::map_vectors;

/// Gradients times the scales of their filters, those of each image by one unit.
pub(super) struct RoundedByImage<'a> {
    pub all: &'a RoundedGradient<'a>,
    pub scale: &'a [f32],
}

/// Filters whose rounded gradients share a word.
const WORD: usize = 4;

/// Some images' rounded gradients.
pub(super) struct Images {
    /// `[images, ⌈O/4⌉, plane]`, four filters a word.
    words: Vec<u32>,
    units: Vec<f32>,
}

impl InputGradientSource for RoundedByImage<'_> {
    type Entry = i16;
    type Block = Images;

    fn block(&self, images: Range<usize>) -> Images {
        let g = &self.all.g;
        let (plane, groups) = (g.out_plane(), g.filters.div_ceil(WORD));
        let mut words = vec![0; images.len() * groups * plane];
        let mut units = Vec::with_capacity(images.len());
        let lines = words.chunks_exact_mut((groups * plane).max(1));
        for (n, words) in images.zip(lines) {
            let sizes = (0..g.filters).map(|o| self.all.largest(n, o) * self.scale[o].abs());
            let (factor, unit) = scales(sizes.fold(0.0, f32::max));
            units.push(unit);
            for (group, words) in words.chunks_exact_mut(plane).enumerate() {
                let four = std::array::from_fn(|i| {
                    let o = group * WORD + i;
                    (o < g.filters).then(|| Plane {
                        x: self.all.plane(n, o),
                        // Not finite where all gradients of a large scale are 0.
                        factor: Some(factor * self.scale[o])
                            .filter(|f| f.is_finite())
                            .unwrap_or(0.0),
                        seed: seed(n, o),
                    })
                });
                round_four(four, words);
            }
        }
        Images { words, units }
    }

    #[inline(always)]
    fn read(
        &self,
        block: &Images,
        n: usize,
        group: usize,
        start: usize,
        to: [&mut [i16]; FILTERS_PER_TABLE],
    ) {
        let g = &self.all.g;
        let words = g.filters.div_ceil(WORD);
        for (to, o) in to.into_iter().zip(group * FILTERS_PER_TABLE..g.filters) {
            let at = (n * words + o / WORD) * g.out_plane() + start;
            let words = &block.words[at..][..to.len()];
            map_vectors(words, to, |word| byte(word, (o % WORD) as u32));
        }
    }

    fn unit(&self, block: &Images, n: usize) -> f32 {
        block.units[n]
    }
}
