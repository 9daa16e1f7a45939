//! A tile of dot products with AVX2: a code of four activations selects a table of sixteen sums,
//! and one `pshufb` looks up those of 32 filters.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi8, _mm256_add_epi16,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cmpgt_epi16, _mm256_cvtepi8_epi16,
    _mm256_extract_epi32, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_packs_epi16, _mm256_packus_epi16, _mm256_packus_epi32,
    _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sign_epi16, _mm256_storeu_si256, _mm256_sub_epi16,
    _mm256_unpackhi_epi16, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi16,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::{Dots, FILTERS, PIXELS, Steps, TABLES};
use crate::binary::thresholds::{Block, CODES};

/// Steps that a sum of bytes bears: each adds at most 4, and 31 · 4 < 128.
pub(super) const BYTE_STEPS: usize = 31;

/// Pixels at a time: with two blocks of filters each, eight of sixteen registers.
const TOGETHER: usize = 4;

/// What [`super::portable::tile`] computes, for B blocks of filters.
///
/// # Panics
/// If a code or a weight that it needs lies beyond the slices.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tiles<const B: usize>(
    act: &[u8],
    base: &[usize; PIXELS],
    steps: &Steps,
    weights: [&[u8]; B],
    mut out: [&mut Dots; B],
) {
    let offsets = steps.offsets();
    assert!(steps.last(base) < act.len(), "activations");
    assert!(weights.iter().all(|w| w.len() >= offsets.len() * FILTERS));
    let tables = TABLES.as_ptr().cast::<u8>();
    for out in &mut out {
        **out = [[0; FILTERS]; PIXELS];
    }
    for (i, offsets) in offsets.chunks(BYTE_STEPS).enumerate() {
        for half in (0..PIXELS).step_by(TOGETHER) {
            // SAFETY: every base plus every offset was checked to lie within `act`. Codes are made by
            // this module's parent alone and are at most 160, so that a table ends at most 160 · 8 +
            // 16 = 81 · 16 bytes behind the first one's start. Each of `weights` holds 32 bytes for
            // each offset, each of `out` 32 numbers of two bytes for each pixel. Loads and stores are
            // unaligned ones.
            unsafe {
                let mut pixels = [act.as_ptr(); TOGETHER];
                for (pixel, base) in pixels.iter_mut().zip(&base[half..]) {
                    *pixel = act.as_ptr().add(*base);
                }
                let mut weight = weights.map(|w| w.as_ptr().add(i * BYTE_STEPS * FILTERS));
                let mut sums = [[_mm256_setzero_si256(); B]; TOGETHER];
                for &offset in offsets {
                    let nibbles = weight.map(|w| _mm256_loadu_si256(w.cast::<__m256i>()));
                    weight = weight.map(|w| w.add(FILTERS));
                    for (sums, pixel) in sums.iter_mut().zip(pixels) {
                        let code = usize::from(*pixel.add(offset as usize));
                        let table = _mm_loadu_si128(tables.add(code * 8).cast::<__m128i>());
                        let table = _mm256_broadcastsi128_si256(table);
                        for (sum, nibbles) in sums.iter_mut().zip(nibbles) {
                            *sum = _mm256_add_epi8(*sum, _mm256_shuffle_epi8(table, nibbles));
                        }
                    }
                }
                for (p, sums) in sums.into_iter().enumerate() {
                    for (out, sum) in out.iter_mut().zip(sums) {
                        let to = out[half + p].as_mut_ptr().cast::<__m256i>();
                        let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(sum));
                        let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(sum));
                        for (k, part) in [low, high].into_iter().enumerate() {
                            let so_far = _mm256_loadu_si256(to.add(k));
                            _mm256_storeu_si256(to.add(k), _mm256_add_epi16(so_far, part));
                        }
                    }
                }
            }
        }
    }
}

/// The dot products of a tile filter by filter: `[pixel][filter]` to `[filter][pixel]`.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn turned(dots: &Dots) -> [[i16; PIXELS]; FILTERS] {
    let mut out = [[0; PIXELS]; FILTERS];
    for half in 0..FILTERS / 16 {
        // SAFETY: each row holds 32 numbers of two bytes, two registers; loads and stores are
        // unaligned ones, and each of the 32 rows of `out` takes eight numbers.
        unsafe {
            let row = |p: usize| _mm256_loadu_si256(dots[p].as_ptr().add(16 * half).cast());
            let pair = |p: usize| {
                let (a, b) = (row(p), row(p + 1));
                [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
            };
            let pairs = [pair(0), pair(2), pair(4), pair(6)];
            for (i, filter) in [0, 4].into_iter().enumerate() {
                let four = |p: usize| {
                    let (a, b) = (pairs[p][i], pairs[p + 1][i]);
                    [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)]
                };
                let (first, second) = (four(0), four(2));
                for (k, (a, b)) in first.into_iter().zip(second).enumerate() {
                    let two = [_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)];
                    for (l, rows) in two.into_iter().enumerate() {
                        // The lower half belongs to filters 0 to 7 of these sixteen, the upper one to
                        // those from 8 on.
                        let f = 16 * half + filter + 2 * k + l;
                        _mm_storeu_si128(out[f].as_mut_ptr().cast(), _mm256_castsi256_si128(rows));
                        let upper = _mm256_extracti128_si256::<1>(rows);
                        _mm_storeu_si128(out[f + 8].as_mut_ptr().cast(), upper);
                    }
                }
            }
        }
    }
    out
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
