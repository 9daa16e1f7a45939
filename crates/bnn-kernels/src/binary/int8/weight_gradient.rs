//! For the gradient with respect to a convolution's weights.

use std::ops::Range;

use super::rounding::{Plane, round_four, scales, seed};
use super::{RoundedGradient, byte};
use crate::binary::sum_tables::{IMAGES_PER_TABLE, TableEntry};
use crate::binary::weight_gradient::WeightGradientSource;
use crate::simd::wide;
use crate::transpose::transpose_words;

/// Gradients of each filter by one unit.
pub(super) struct RoundedByFilter<'a> {
    all: &'a RoundedGradient<'a>,
    /// For each filter what its gradients are multiplied with before they are rounded, and what rounded
    /// ones stand for.
    factors: Vec<(f32, f32)>,
}

impl<'a> RoundedByFilter<'a> {
    pub fn new(all: &'a RoundedGradient<'a>) -> Self {
        let g = &all.g;
        let largest = |o: usize| (0..g.batch).map(|n| all.largest(n, o)).fold(0.0, f32::max);
        Self {
            all,
            factors: (0..g.filters).map(|o| scales(largest(o))).collect(),
        }
    }
}

impl WeightGradientSource for RoundedByFilter<'_> {
    type Entry = i16;
    /// `[plane, LANES]`, four images a word.
    type Block = Vec<u32>;

    fn block(&self, four: usize, filters: Range<usize>) -> Vec<u32> {
        let g = &self.all.g;
        let (plane, lanes) = (g.out_plane(), <i16 as TableEntry>::LANES);
        let mut words = vec![0; filters.len() * plane];
        for (o, words) in filters.clone().zip(words.chunks_exact_mut(plane.max(1))) {
            let planes = std::array::from_fn(|i| {
                let n = four * IMAGES_PER_TABLE + i;
                (n < g.batch).then(|| Plane {
                    x: self.all.plane(n, o),
                    factor: self.factors[o].0,
                    seed: seed(n, o),
                })
            });
            round_four(planes, words);
        }
        let mut turned = vec![0; plane * lanes];
        transpose_words(
            [filters.len(), plane],
            (&words, plane),
            (&mut turned, lanes),
        );
        turned
    }

    fn read(&self, block: &Vec<u32>, pixels: Range<usize>, to: [&mut [i16]; IMAGES_PER_TABLE]) {
        let lanes = <i16 as TableEntry>::LANES;
        let words = block[pixels.start * lanes..pixels.end * lanes]
            .as_chunks::<8>()
            .0;
        wide(
            #[inline(always)]
            || {
                for (to, i) in to.into_iter().zip(0..) {
                    for (to, words) in to.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                        *to = words.map(|word| byte(word, i));
                    }
                }
            },
        );
    }

    fn unit(&self, filter: usize) -> f32 {
        self.factors[filter].1
    }
}
