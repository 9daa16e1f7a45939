//! A tile of dot products with AVX2: a code of four activations selects a table of sixteen sums,
//! and one `pshufb` looks up those of 32 filters.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_add_epi16,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cmpgt_epi16, _mm256_cvtepi8_epi16,
    _mm256_extract_epi32, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_packs_epi16, _mm256_packus_epi16, _mm256_packus_epi32,
    _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sign_epi16, _mm256_storeu_si256, _mm256_sub_epi16,
};

use super::thresholds::{Block, CODES};
use super::{Dots, FILTERS, PIXELS, TABLES};

/// Steps that a sum of bytes bears: each adds at most 4, and 31 · 4 < 128.
pub(super) const BYTE_STEPS: usize = 31;

/// What [`super::portable::tile`] computes.
///
/// # Panics
/// If a code or a weight that it needs lies beyond the slices.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tile(
    act: &[u8],
    base: &[usize; PIXELS],
    offsets: &[u32],
    weights: &[u8],
    out: &mut Dots,
) {
    let last = offsets.iter().max().map_or(0, |&o| o as usize);
    let furthest = base.iter().max().map_or(0, |&b| b);
    assert!(furthest.checked_add(last).is_some_and(|i| i < act.len()));
    assert!(weights.len() >= offsets.len() * FILTERS);
    let tables = TABLES.as_ptr().cast::<u8>();
    // SAFETY: every base plus every offset was checked to lie within `act`. Codes are made by this
    // module's parent alone and are at most 160, so that a table ends at most 160 · 8 + 16 = 81 · 16
    // bytes behind the first one's start. `weights` holds 32 bytes for each offset, `out` 32 numbers
    // of two bytes for each pixel. Loads and stores are unaligned ones.
    unsafe {
        let pixels = base.map(|b| act.as_ptr().add(b));
        let mut wide = [[_mm256_setzero_si256(); 2]; PIXELS];
        let mut weight = weights.as_ptr();
        for offsets in offsets.chunks(BYTE_STEPS) {
            let mut sums = [_mm256_setzero_si256(); PIXELS];
            for &offset in offsets {
                let nibbles = _mm256_loadu_si256(weight.cast::<__m256i>());
                weight = weight.add(FILTERS);
                for (sum, pixel) in sums.iter_mut().zip(pixels) {
                    let code = usize::from(*pixel.add(offset as usize));
                    let table = _mm_loadu_si128(tables.add(code * 8).cast::<__m128i>());
                    let table = _mm256_broadcastsi128_si256(table);
                    *sum = _mm256_add_epi8(*sum, _mm256_shuffle_epi8(table, nibbles));
                }
            }
            for (wide, sum) in wide.iter_mut().zip(sums) {
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(sum));
                let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(sum));
                wide[0] = _mm256_add_epi16(wide[0], low);
                wide[1] = _mm256_add_epi16(wide[1], high);
            }
        }
        for (out, wide) in out.iter_mut().zip(wide) {
            let to = out.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, wide[0]);
            _mm256_storeu_si256(to.add(1), wide[1]);
        }
    }
}

/// What [`super::portable::codes`] computes.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn codes(dots: &[i16; FILTERS], block: &Block) -> [u8; CODES] {
    // SAFETY: each of the four arrays holds 32 numbers of two bytes, two registers; the loads are
    // unaligned ones.
    let load = |v: &[i16; FILTERS], half: usize| unsafe {
        _mm256_loadu_si256(v.as_ptr().add(16 * half).cast::<__m256i>())
    };
    // Of each lane how many of the two thresholds are reached: comparison gives -1.
    let digits = |half: usize| {
        let u = _mm256_sign_epi16(load(dots, half), load(&block.direction, half));
        let zero = _mm256_cmpgt_epi16(u, load(&block.below_zero, half));
        let one = _mm256_cmpgt_epi16(u, load(&block.below_one, half));
        _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_add_epi16(zero, one))
    };
    let bytes = _mm256_packs_epi16(digits(0), digits(1));
    let bytes = _mm256_permute4x64_epi64::<0b1101_1000>(bytes);
    // 2, 6, 18 and 54 of each four, summed.
    let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi32(0x3612_0602));
    let sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let sums = _mm256_packus_epi32(sums, sums);
    let sums = _mm256_packus_epi16(sums, sums);
    let (low, high) = (
        _mm256_extract_epi32::<0>(sums),
        _mm256_extract_epi32::<4>(sums),
    );
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, g, h] = high.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}
