//! Tiles in plain Rust.

use super::tile::{LANES, Operands, Sums, Walk};

/// See [`super::tile::Instructions::tile`].
pub(super) fn tile(operands: Operands<'_>, walk: &Walk, vectors: usize, out: &mut Sums) {
    let Operands {
        left,
        rows,
        right,
        base,
    } = operands;
    *out = Default::default();
    for part in 0..walk.parts {
        for (j, &offset) in walk.offsets().iter().enumerate() {
            let at = base + part * walk.right_stride + offset as usize;
            let words = &right[at..at + vectors * LANES];
            for (row, out) in rows.iter().zip(&mut *out) {
                let at = row + part * walk.left_stride + 4 * j;
                let bytes = &left[at..at + 4];
                for (words, out) in words.chunks_exact(LANES).zip(out) {
                    for (word, out) in words.iter().zip(out) {
                        let pairs = bytes.iter().zip(word.to_le_bytes());
                        let products = pairs.map(|(&a, b)| i32::from(a) * i32::from(b as i8));
                        *out += products.sum::<i32>();
                    }
                }
            }
        }
    }
}
