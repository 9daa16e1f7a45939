//! A tile of dot products without vector instructions: the definition of the others.

use super::{Dots, FILTERS, TABLES};
use crate::binary::codes::{PER_CODE, code};
use crate::binary::thresholds::{Block, CODES};

/// For each pixel (its codes start at `base`) and each of 32 filters the dot product over all
/// steps; step s reads the code at `base + offsets[s]` and 32 nibbles of `weights`.
pub(super) fn tile(act: &[u8], base: &[usize], offsets: &[u32], weights: &[u8], out: &mut Dots) {
    for (&base, out) in base.iter().zip(out.iter_mut()) {
        let mut sums = [0i16; FILTERS];
        for (&offset, nibbles) in offsets.iter().zip(weights.chunks_exact(FILTERS)) {
            let code = act[base + offset as usize];
            let table = &TABLES[usize::from(code) / 2];
            for (sum, &nibble) in sums.iter_mut().zip(nibbles) {
                *sum += i16::from(table[usize::from(nibble & 15)]);
            }
        }
        *out = sums;
    }
}

/// The codes of one pixel's 32 dot products.
pub(super) fn codes(dots: &[i16; FILTERS], block: &Block) -> [u8; CODES] {
    let mut digits = [0; FILTERS];
    for (i, digit) in digits.iter_mut().enumerate() {
        let u = dots[i].wrapping_mul(block.direction[i]);
        *digit = u8::from(u > block.below_zero[i]) + u8::from(u > block.below_one[i]);
    }
    let mut codes = [0; CODES];
    for (to, d) in codes.iter_mut().zip(digits.chunks_exact(PER_CODE)) {
        *to = code([d[0], d[1], d[2], d[3]]);
    }
    codes
}
