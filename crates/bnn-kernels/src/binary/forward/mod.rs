//! Convolutions of activations in {-1, 0, +1} with weights of ±1, on integers.
//!
//! Four activations of a pixel are one code, the signs of four weights of a filter one nibble. A
//! code selects a table of the sixteen possible sums, the nibble an entry of it; looked up for 32
//! filters at once. Zeros (padding, ties, masked channels) are digits of the code like any other,
//! so all sums are exact.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convolution;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use crate::simd::Instructions;

use super::codes;
use super::thresholds;

pub use convolution::{PoolWindows, forward_codes, forward_scaled, forward_sums, supports};

/// Filters of a block.
pub(super) const FILTERS: usize = 32;
/// Pixels of a tile.
const PIXELS: usize = 8;

/// Dot products of a tile.
type Dots = [[i16; FILTERS]; PIXELS];

/// For each code (halved) and each nibble of signs the sum of four products.
static TABLES: [[i8; 16]; 81] = {
    let mut tables = [[0; 16]; 81];
    let mut code = 0;
    while code < 81 {
        let activations = codes::activations(2 * code);
        let mut nibble = 0;
        while nibble < 16 {
            let (mut sum, mut i) = (0, 0);
            while i < codes::PER_CODE {
                sum += match nibble >> i & 1 {
                    1 => activations[i],
                    _ => -activations[i],
                };
                i += 1;
            }
            tables[code][nibble] = sum;
            nibble += 1;
        }
        code += 1;
    }
    tables
};

/// Where a window's codes lie, from its first one on.
#[derive(Debug)]
struct Steps {
    offsets: Vec<u32>,
    furthest: usize,
}

impl Steps {
    fn new(offsets: Vec<u32>) -> Self {
        Self {
            furthest: offsets.iter().max().map_or(0, |&o| o as usize),
            offsets,
        }
    }

    fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The last code that windows from `base` on read.
    #[inline(always)]
    fn last(&self, base: &[usize; PIXELS]) -> usize {
        let last = base.iter().fold(0, |last, &b| last.max(b));
        last.saturating_add(self.furthest)
    }
}

impl Instructions {
    /// The dot products of a tile with one or two blocks of weights.
    #[inline]
    fn tiles(
        self,
        act: &[u8],
        base: &[usize; PIXELS],
        steps: &Steps,
        weights: [&[u8]; 2],
        out: &mut [Dots; 2],
    ) {
        let [first, second] = out;
        match self {
            // SAFETY: `detect` found AVX-512 F and BW.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if !weights[1].is_empty() => unsafe {
                avx512::tiles(act, base, steps, weights, [first, second]);
            },
            // SAFETY: `detect` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe {
                match weights[1].is_empty() {
                    true => avx2::tiles(act, base, steps, [weights[0]], [first]),
                    false => avx2::tiles(act, base, steps, weights, [first, second]),
                }
            },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => {
                for (weights, out) in weights.into_iter().zip([first, second]) {
                    if !weights.is_empty() {
                        // SAFETY: `detect` found NEON.
                        unsafe { neon::tile(act, base, steps.offsets(), weights, out) }
                    }
                }
            }
            Self::Portable => {
                for (weights, out) in weights.into_iter().zip([first, second]) {
                    if !weights.is_empty() {
                        portable::tile(act, base, steps.offsets(), weights, out);
                    }
                }
            }
        }
    }

    /// The dot products of a tile filter by filter.
    #[inline]
    fn turned(self, dots: &Dots) -> [[i16; PIXELS]; FILTERS] {
        match self {
            // SAFETY: `detect` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::turned(dots) },
            _ => std::array::from_fn(|f| std::array::from_fn(|p| dots[p][f])),
        }
    }

    /// The codes of one pixel's dot products.
    #[inline]
    pub(in crate::binary) fn codes(
        self,
        dots: &[i16; FILTERS],
        block: &thresholds::Block,
    ) -> [u8; thresholds::CODES] {
        match self {
            // SAFETY: `detect` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::codes(dots, block) },
            // SAFETY: `detect` found NEON.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { neon::codes(dots, block) },
            Self::Portable => portable::codes(dots, block),
        }
    }
}
