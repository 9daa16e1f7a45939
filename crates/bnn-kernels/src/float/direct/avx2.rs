//! Tiles with AVX2 and FMA: six rows at a time, of two vectors each.

use std::arch::x86_64::{
    _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::tile::{LANES, ROWS, Sums};

/// Rows at a time: with two vectors each, twelve of sixteen registers.
const TOGETHER: usize = 6;

/// See `add` in `tile`.
///
/// # Safety
/// The processor must have AVX2 and FMA. Every row plus every offset must lie within `left`, and
/// `right` have a vector of 16 for each offset.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile(
    left: &[f32],
    rows: &[usize; ROWS],
    offsets: &[u32],
    right: &[f32],
    sums: &mut Sums,
) {
    for (rows, out) in rows
        .chunks_exact(TOGETHER)
        .zip(sums.chunks_exact_mut(TOGETHER))
    {
        // SAFETY: what is read lies within the operands, as the caller vouches for; `out` has 16
        // numbers, two vectors, for each row. Loads and stores are unaligned ones.
        unsafe {
            let mut from = [left.as_ptr(); TOGETHER];
            let mut sums = [[_mm256_setzero_ps(); 2]; TOGETHER];
            for (r, out) in out.iter().enumerate() {
                from[r] = left.as_ptr().add(rows[r]);
                sums[r] = [
                    _mm256_loadu_ps(out.as_ptr()),
                    _mm256_loadu_ps(out.as_ptr().add(8)),
                ];
            }
            let mut right = right.as_ptr();
            for &offset in offsets {
                let vectors = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
                right = right.add(LANES);
                for (sums, from) in sums.iter_mut().zip(from) {
                    let factor = _mm256_broadcast_ss(&*from.add(offset as usize));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm256_fmadd_ps(factor, vector, *sum);
                    }
                }
            }
            for (sums, out) in sums.into_iter().zip(out) {
                _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[1]);
            }
        }
    }
}
