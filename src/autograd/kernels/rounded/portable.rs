//! A tile without vector instructions: the definition of the others.

use super::tile::{LANES, ROWS, Signed, Sums};

/// See [`super::tile::Instructions::add`].
pub(super) fn tile(
    signed: Signed,
    (left, rows, offsets): (&[u8], &[usize; ROWS], &[u32]),
    right: &[u32],
    sums: &mut Sums,
) {
    let product = |a: u8, b: u8| match signed {
        Signed::Left => i32::from(a as i8) * i32::from(b),
        Signed::Right => i32::from(a) * i32::from(b as i8),
    };
    for (&offset, right) in offsets.iter().zip(right.chunks_exact(LANES)) {
        for (&row, sums) in rows.iter().zip(sums.iter_mut()) {
            let bytes = &left[row + offset as usize..][..4];
            for (sum, word) in sums.iter_mut().zip(right) {
                let pairs = bytes.iter().zip(word.to_le_bytes());
                *sum += pairs.map(|(&a, b)| product(a, b)).sum::<i32>();
            }
        }
    }
}
