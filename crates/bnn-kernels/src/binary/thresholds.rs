//! What becomes of dot products in front of a binariser.

use super::codes::PER_CODE;
use super::forward::FILTERS;
use crate::simd::Instructions;

/// Codes of a block of filters.
pub(super) const CODES: usize = FILTERS / PER_CODE;

/// What becomes of a sum n of each filter, with u = direction · n: +1 from `positive` on, 0 from
/// `not_negative` on, else -1. All three vectors have a number for each filter.
///
/// A layer's scale and bias, a normalisation and a sign behind it are such thresholds, as all of them are
/// monotone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// 1 where the output grows with the sum, -1 where it falls.
    pub direction: Vec<i16>,
    /// The least u that gives 0 or +1.
    pub not_negative: Vec<i16>,
    /// The least u that gives +1.
    pub positive: Vec<i16>,
}

/// Those of 32 filters; of what is missing, all sums give 0.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub direction: [i16; FILTERS],
    /// The largest u that gives -1.
    pub below_zero: [i16; FILTERS],
    /// The largest u that gives -1 or 0.
    pub below_one: [i16; FILTERS],
}

impl Thresholds {
    /// By blocks of filters.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let count = self.positive.len().div_ceil(FILTERS);
        let lane = |v: &[i16], i: usize| v.get(i).copied();
        let block = |b: usize| Block {
            direction: std::array::from_fn(|i| lane(&self.direction, b * FILTERS + i).unwrap_or(1)),
            below_zero: std::array::from_fn(|i| {
                let least = lane(&self.not_negative, b * FILTERS + i);
                least.map_or(i16::MIN, |v| v.saturating_sub(1))
            }),
            below_one: std::array::from_fn(|i| {
                let least = lane(&self.positive, b * FILTERS + i);
                least.map_or(i16::MAX, |v| v.saturating_sub(1))
            }),
        };
        (0..count).map(block).collect()
    }
}

impl Block {
    /// Writes the codes of one pixel's dot products, as many as there is room for.
    #[inline]
    pub(super) fn write(&self, instructions: Instructions, dots: &[i16; FILTERS], to: &mut [u8]) {
        let codes = instructions.codes(dots, self);
        let count = to.len().min(CODES);
        to[..count].copy_from_slice(&codes[..count]);
    }
}
