//! A tile of dot products without vector instructions: the definition of the others.

use super::{Dots, TABLES};

/// For each pixel (its codes start at `base`) and each of 32 filters the dot product over all
/// steps; step s reads the code at `base + offsets[s]` and 32 nibbles of `weights`.
pub(super) fn tile(act: &[u8], base: &[usize], offsets: &[u32], weights: &[u8], out: &mut Dots) {
    for (&base, out) in base.iter().zip(out.iter_mut()) {
        let mut sums = [0i16; super::FILTERS];
        for (&offset, nibbles) in offsets.iter().zip(weights.chunks_exact(super::FILTERS)) {
            let code = act[base + offset as usize];
            let table = &TABLES[usize::from(code) / 2];
            for (sum, &nibble) in sums.iter_mut().zip(nibbles) {
                *sum += i16::from(table[usize::from(nibble & 15)]);
            }
        }
        *out = sums;
    }
}
