//! Tiles with AVX-512: a row is one vector.

use std::arch::x86_64::{
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::tile::{LANES, ROWS, Sums};

/// See `add` in `tile`.
///
/// # Safety
/// The processor must have AVX-512 F. Every row plus every offset must lie within `left`, and
/// `right` have a vector of 16 for each offset.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile(
    left: &[f32],
    rows: &[usize; ROWS],
    offsets: &[u32],
    right: &[f32],
    out: &mut Sums,
) {
    // SAFETY: what is read lies within the operands, as the caller vouches for; `out` has 16
    // numbers, a vector, for each row. Loads and stores are unaligned ones.
    unsafe {
        let mut from = [left.as_ptr(); ROWS];
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for (r, out) in out.iter().enumerate() {
            from[r] = left.as_ptr().add(rows[r]);
            sums[r] = _mm512_loadu_ps(out.as_ptr());
        }
        let mut right = right.as_ptr();
        for &offset in offsets {
            let vector = _mm512_loadu_ps(right);
            right = right.add(LANES);
            for (sum, from) in sums.iter_mut().zip(from) {
                let factor = _mm512_set1_ps(*from.add(offset as usize));
                *sum = _mm512_fmadd_ps(factor, vector, *sum);
            }
        }
        for (sum, out) in sums.into_iter().zip(out) {
            _mm512_storeu_ps(out.as_mut_ptr(), sum);
        }
    }
}
