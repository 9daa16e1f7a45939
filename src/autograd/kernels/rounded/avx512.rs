//! Tiles with the dot products of AVX-512 VNNI: a row is one vector.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::tile::{LANES, ROWS, Sums};

/// See [`super::tile::Instructions::add`]; LEFT: the left bytes are signed.
///
/// # Safety
/// The processor must have AVX-512 F and VNNI. Four bytes from every row plus every offset on must
/// lie within `left`, and `right` have a vector of 16 words for each offset.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn tile<const LEFT: bool>(
    left: &[u8],
    rows: &[usize; ROWS],
    offsets: &[u32],
    right: &[u32],
    out: &mut Sums,
) {
    // SAFETY: what is read lies within the operands, as the caller vouches for; `out` has 16
    // numbers, a vector, for each row. Loads and stores are unaligned ones.
    unsafe {
        let mut from = [left.as_ptr(); ROWS];
        let mut sums = [_mm512_setzero_si512(); ROWS];
        for (r, out) in out.iter().enumerate() {
            from[r] = left.as_ptr().add(rows[r]);
            sums[r] = _mm512_loadu_si512(out.as_ptr().cast::<__m512i>());
        }
        let mut right = right.as_ptr();
        for &offset in offsets {
            let words = _mm512_loadu_si512(right.cast::<__m512i>());
            right = right.add(LANES);
            for (sum, from) in sums.iter_mut().zip(from) {
                let bytes = from.add(offset as usize).cast::<i32>().read_unaligned();
                let bytes = _mm512_set1_epi32(bytes);
                *sum = match LEFT {
                    true => _mm512_dpbusd_epi32(*sum, words, bytes),
                    false => _mm512_dpbusd_epi32(*sum, bytes, words),
                };
            }
        }
        for (sum, out) in sums.into_iter().zip(out) {
            _mm512_storeu_si512(out.as_mut_ptr().cast::<__m512i>(), sum);
        }
    }
}
