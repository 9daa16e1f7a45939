//! Tiles with AVX2: products in pairs of 16 bits, summed there as long as they cannot overflow.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

use super::tile::{LANES, ROWS, Sums};

/// Steps that a sum of 16 bits bears: each adds two products of at most 2 · 127.
const SHORT_STEPS: usize = 64;
/// Rows at a time: with two vectors each, twelve of sixteen registers.
const TOGETHER: usize = 6;

/// See [`super::tile::Instructions::add`]; LEFT: the left bytes are signed.
///
/// # Safety
/// The processor must have AVX2. Four bytes from every row plus every offset on must lie within
/// `left`, and `right` have a vector of 16 words for each offset.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tile<const LEFT: bool>(
    left: &[u8],
    rows: &[usize; ROWS],
    offsets: &[u32],
    right: &[u32],
    out: &mut Sums,
) {
    let ones = _mm256_set1_epi16(1);
    let rights = right.chunks(SHORT_STEPS * LANES);
    for (offsets, right) in offsets.chunks(SHORT_STEPS).zip(rights) {
        for (rows, out) in rows
            .chunks_exact(TOGETHER)
            .zip(out.chunks_exact_mut(TOGETHER))
        {
            // SAFETY: what is read lies within the operands, as the caller vouches for; `out` has 16
            // numbers, two vectors, for each row. Loads and stores are unaligned ones.
            unsafe {
                let mut from = [left.as_ptr(); TOGETHER];
                for (from, row) in from.iter_mut().zip(rows) {
                    *from = left.as_ptr().add(*row);
                }
                let mut right = right.as_ptr();
                let mut sums = [[_mm256_setzero_si256(); 2]; TOGETHER];
                for &offset in offsets {
                    let at = right.cast::<__m256i>();
                    let words = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
                    right = right.add(LANES);
                    for (sums, from) in sums.iter_mut().zip(from) {
                        let bytes = from.add(offset as usize).cast::<i32>().read_unaligned();
                        let bytes = _mm256_set1_epi32(bytes);
                        for (sum, words) in sums.iter_mut().zip(words) {
                            let pairs = match LEFT {
                                true => _mm256_maddubs_epi16(words, bytes),
                                false => _mm256_maddubs_epi16(bytes, words),
                            };
                            *sum = _mm256_add_epi16(*sum, pairs);
                        }
                    }
                }
                for (sums, out) in sums.into_iter().zip(out) {
                    let to = out.as_mut_ptr().cast::<__m256i>();
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
