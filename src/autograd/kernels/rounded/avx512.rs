//! Tiles with the dot products of AVX-512 VNNI.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::tile::{LANES, Operands, ROWS, Sums, Walk};

/// See [`super::tile::Instructions::tile`]; V vectors.
///
/// # Safety
/// The processor must have AVX-512 F and VNNI. `left` must have [`Walk::left_len`] bytes from each
/// row's start on, `right` [`Walk::right_len`] words from `base` on, and V be at most
/// [`super::tile::VECTORS`].
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn tile<const V: usize>(operands: Operands<'_>, walk: &Walk, out: &mut Sums) {
    // SAFETY: what is read lies within what the caller vouches for, by the definition of the two
    // lengths; all loads and stores are unaligned ones; each vector of `out` has 64 bytes.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); V]; ROWS];
        for part in 0..walk.parts {
            let right = operands.right.as_ptr();
            let right = right.add(operands.base + part * walk.right_stride);
            let start = operands.left.as_ptr().add(part * walk.left_stride);
            let left = operands.rows.map(|row| start.add(row));
            for (j, &offset) in walk.offsets().iter().enumerate() {
                let mut words = [_mm512_setzero_si512(); V];
                for (v, words) in words.iter_mut().enumerate() {
                    let at = right.add(offset as usize + v * LANES);
                    *words = _mm512_loadu_si512(at.cast::<__m512i>());
                }
                for (sums, left) in sums.iter_mut().zip(left) {
                    let bytes = left.add(4 * j).cast::<i32>().read_unaligned();
                    let bytes = _mm512_set1_epi32(bytes);
                    for (sum, words) in sums.iter_mut().zip(words) {
                        *sum = _mm512_dpbusd_epi32(*sum, bytes, words);
                    }
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(out) {
            for (sum, out) in sums.into_iter().zip(out) {
                _mm512_storeu_si512(out.as_mut_ptr().cast::<__m512i>(), sum);
            }
        }
    }
}
