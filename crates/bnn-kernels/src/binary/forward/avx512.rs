//! What `avx2.rs` does for one block of filters, with AVX-512 for two.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm512_add_epi8,
    _mm512_add_epi16, _mm512_broadcast_i32x4, _mm512_castsi256_si512, _mm512_castsi512_si256,
    _mm512_cvtepi8_epi16, _mm512_extracti64x4_epi64, _mm512_inserti64x4, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_storeu_si512,
};

use super::avx2::BYTE_STEPS;
use super::{Dots, FILTERS, PIXELS, Steps, TABLES};

/// What [`super::portable::tile`] computes, for two blocks.
///
/// # Panics
/// If a code or a weight that it needs lies beyond the slices.
///
/// # Safety
/// The processor must have AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn tiles(
    act: &[u8],
    base: &[usize; PIXELS],
    steps: &Steps,
    weights: [&[u8]; 2],
    out: [&mut Dots; 2],
) {
    let offsets = steps.offsets();
    assert!(steps.last(base) < act.len(), "activations");
    assert!(weights.iter().all(|w| w.len() >= offsets.len() * FILTERS));
    let tables = TABLES.as_ptr().cast::<u8>();
    let [first, second] = out;
    // SAFETY: as in `avx2::tiles`: reads of `act` were checked, tables end within TABLES, each of
    // `weights` holds 32 bytes for each offset, each of `out` 32 numbers of two bytes (one register)
    // for each pixel. Loads and stores are unaligned ones.
    unsafe {
        let pixels = base.map(|b| act.as_ptr().add(b));
        let mut wide = [[_mm512_setzero_si512(); 2]; PIXELS];
        let mut weight = weights.map(<[u8]>::as_ptr);
        for offsets in offsets.chunks(BYTE_STEPS) {
            let mut sums = [_mm512_setzero_si512(); PIXELS];
            for &offset in offsets {
                let [a, b] = weight.map(|w| _mm256_loadu_si256(w.cast::<__m256i>()));
                let nibbles = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
                weight = weight.map(|w| w.add(FILTERS));
                for (sum, pixel) in sums.iter_mut().zip(pixels) {
                    let code = usize::from(*pixel.add(offset as usize));
                    let table = _mm_loadu_si128(tables.add(code * 8).cast::<__m128i>());
                    let table = _mm512_broadcast_i32x4(table);
                    *sum = _mm512_add_epi8(*sum, _mm512_shuffle_epi8(table, nibbles));
                }
            }
            for (wide, sum) in wide.iter_mut().zip(sums) {
                let a = _mm512_cvtepi8_epi16(_mm512_castsi512_si256(sum));
                let b = _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64::<1>(sum));
                wide[0] = _mm512_add_epi16(wide[0], a);
                wide[1] = _mm512_add_epi16(wide[1], b);
            }
        }
        for ((a, b), wide) in first.iter_mut().zip(second.iter_mut()).zip(wide) {
            _mm512_storeu_si512(a.as_mut_ptr().cast::<__m512i>(), wide[0]);
            _mm512_storeu_si512(b.as_mut_ptr().cast::<__m512i>(), wide[1]);
        }
    }
}
