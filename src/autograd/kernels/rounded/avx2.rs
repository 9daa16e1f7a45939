//! Tiles with AVX2: products in pairs of 16 bits, summed there as long as they cannot overflow.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

use super::tile::{LANES, Operands, ROWS, Sums, Walk};

/// Steps that a sum of 16 bits bears: each adds two products of at most 2 · 127.
const SHORT_STEPS: usize = 64;

/// See [`super::tile::Instructions::tile`]; bytes on the left must be at most 2, those on the right
/// at least -127.
///
/// # Safety
/// The processor must have AVX2. `left` must have [`Walk::left_len`] bytes from each row's start on,
/// `right` [`Walk::right_len`] words from `base` on, and `vectors` be at most
/// [`super::tile::VECTORS`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tile(operands: Operands<'_>, walk: &Walk, vectors: usize, out: &mut Sums) {
    let ones = _mm256_set1_epi16(1);
    for v in 0..vectors {
        for row in out.iter_mut() {
            row[v] = [0; LANES];
        }
        for part in 0..walk.parts {
            // SAFETY: the caller vouches for what lies behind these.
            let (left, right) = unsafe {
                (
                    operands.left.as_ptr().add(part * walk.left_stride),
                    operands
                        .right
                        .as_ptr()
                        .add(operands.base + part * walk.right_stride + v * LANES),
                )
            };
            for (i, offsets) in walk.offsets().chunks(SHORT_STEPS).enumerate() {
                // SAFETY: what is read lies within what the caller vouches for, by the definition of
                // the two lengths; all loads and stores are unaligned ones; a vector of `out` has 64
                // bytes, two registers.
                unsafe {
                    let left = left.add(4 * SHORT_STEPS * i);
                    let rows = operands.rows.map(|row| left.add(row));
                    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
                    for (j, &offset) in offsets.iter().enumerate() {
                        let at = right.add(offset as usize).cast::<__m256i>();
                        let words = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
                        for (sums, row) in sums.iter_mut().zip(rows) {
                            let bytes = row.add(4 * j).cast::<i32>().read_unaligned();
                            let bytes = _mm256_set1_epi32(bytes);
                            for (sum, words) in sums.iter_mut().zip(words) {
                                let pairs = _mm256_maddubs_epi16(bytes, words);
                                *sum = _mm256_add_epi16(*sum, pairs);
                            }
                        }
                    }
                    for (sums, out) in sums.into_iter().zip(&mut *out) {
                        let to = out[v].as_mut_ptr().cast::<__m256i>();
                        for (half, sum) in sums.into_iter().enumerate() {
                            let fours = _mm256_madd_epi16(sum, ones);
                            let so_far = _mm256_loadu_si256(to.add(half));
                            _mm256_storeu_si256(to.add(half), _mm256_add_epi32(so_far, fours));
                        }
                    }
                }
            }
        }
    }
}
