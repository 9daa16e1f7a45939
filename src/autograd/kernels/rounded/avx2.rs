//! Tiles with AVX2: products in pairs of 16 bits, which hold them as the left bytes are at most 2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::tile::{LANES, Operands, Sums, Walk};

/// Rows that are summed at a time, of one vector.
const TOGETHER: usize = 3;

/// See [`super::tile::Instructions::tile`]; bytes on the left must be at most 2.
///
/// # Safety
/// The processor must have AVX2. `left` must have [`Walk::left_len`] bytes from each row's start on,
/// `right` [`Walk::right_len`] words from `base` on, and `vectors` be at most
/// [`super::tile::VECTORS`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tile(operands: Operands<'_>, walk: &Walk, vectors: usize, out: &mut Sums) {
    let ones = _mm256_set1_epi16(1);
    for (rows, out) in operands
        .rows
        .chunks_exact(TOGETHER)
        .zip(out.chunks_exact_mut(TOGETHER))
    {
        for v in 0..vectors {
            // SAFETY: what is read lies within what the caller vouches for, by the definition of
            // the two lengths; all loads and stores are unaligned ones; a vector of `out` has 64
            // bytes, two registers.
            unsafe {
                let mut sums = [[_mm256_setzero_si256(); 2]; TOGETHER];
                for part in 0..walk.parts {
                    let right = operands.right.as_ptr();
                    let right = right.add(operands.base + part * walk.right_stride + v * LANES);
                    let left = operands.left.as_ptr().add(part * walk.left_stride);
                    for (j, &offset) in walk.offsets().iter().enumerate() {
                        let at = right.add(offset as usize).cast::<__m256i>();
                        let words = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
                        for (sums, row) in sums.iter_mut().zip(rows) {
                            let bytes = left.add(row + 4 * j).cast::<i32>().read_unaligned();
                            let bytes = _mm256_set1_epi32(bytes);
                            for (sum, words) in sums.iter_mut().zip(words) {
                                let pairs = _mm256_maddubs_epi16(bytes, words);
                                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                            }
                        }
                    }
                }
                for (sums, out) in sums.into_iter().zip(&mut *out) {
                    let to = out[v].as_mut_ptr().cast::<__m256i>();
                    _mm256_storeu_si256(to, sums[0]);
                    _mm256_storeu_si256(to.add(1), sums[1]);
                }
            }
        }
    }
}
