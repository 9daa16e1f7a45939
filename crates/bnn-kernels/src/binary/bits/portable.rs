//! A tile in plain Rust: the definition of all others.

use super::tile::{Counts, LANES, Mask, Tile};

pub(super) fn differing(tile: &Tile<'_>, out: &mut Counts) {
    let words = tile.words;
    for (r, counts) in out.iter_mut().enumerate().take(tile.count) {
        *counts = [0; LANES];
        for k in 0..words {
            let row = tile.rows[r * words + k];
            let lanes = &tile.lanes[k * LANES..][..LANES];
            for (l, (count, lane)) in counts.iter_mut().zip(lanes).enumerate() {
                let mask = match tile.mask {
                    Mask::All => u32::MAX,
                    Mask::Rows(mask) => mask[r * words + k],
                    Mask::Lanes(mask) => mask[k * LANES + l],
                };
                *count += ((lane ^ row) & mask).count_ones() as i32;
            }
        }
    }
}
