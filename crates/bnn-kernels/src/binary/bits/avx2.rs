//! A tile with AVX2: bits are counted by looking up both halves of each byte.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::tile::{Counts, LANES, Mask, Tile};

/// Words that a sum of bytes bears: each adds at most 8, and 31 · 8 < 256.
const BYTE_STEPS: usize = 31;
/// Lanes of a register.
const HALF: usize = LANES / 2;
/// Rows at a time: with two registers of lanes each, eight of sixteen registers with what is counted.
const TOGETHER: usize = 4;

/// What [`super::portable::differing`] computes.
///
/// # Safety
/// The processor must have AVX2, and the tile's operands the sizes that it says.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn differing(tile: &Tile<'_>, out: &mut Counts) {
    let mut first = 0;
    while first < tile.count {
        // SAFETY: what this function asks of its caller; rows from `first` on are within the count.
        unsafe {
            first += match tile.count - first {
                TOGETHER.. => some::<TOGETHER>(tile, first, out),
                2.. => some::<2>(tile, first, out),
                _ => some::<1>(tile, first, out),
            };
        }
    }
}

/// Rows `first` and following, R of them; gives R.
///
/// # Safety
/// As for [`differing`]; the tile has rows up to `first` + R.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn some<const R: usize>(tile: &Tile<'_>, first: usize, out: &mut Counts) -> usize {
    let low = _mm256_set1_epi8(15);
    let bits = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3,
        3, 4,
    );
    let words = tile.words;
    let lanes = tile.lanes.as_ptr();
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    let mut from = 0;
    while from < words {
        let to = words.min(from + BYTE_STEPS);
        let mut bytes = [[_mm256_setzero_si256(); 2]; R];
        for k in from..to {
            for (r, bytes) in bytes.iter_mut().enumerate() {
                let at = (first + r) * words + k;
                // SAFETY: word k of rows and lanes, and of their masks, is within what the caller promises.
                unsafe {
                    let row = _mm256_set1_epi32(tile.rows.as_ptr().add(at).read().cast_signed());
                    for (h, bytes) in bytes.iter_mut().enumerate() {
                        let place = k * LANES + h * HALF;
                        let lane = _mm256_loadu_si256(lanes.add(place).cast::<__m256i>());
                        let mut word = _mm256_xor_si256(lane, row);
                        match tile.mask {
                            Mask::All => {}
                            Mask::Rows(m) => {
                                let mask = m.as_ptr().add(at).read().cast_signed();
                                word = _mm256_and_si256(word, _mm256_set1_epi32(mask));
                            }
                            Mask::Lanes(m) => {
                                let mask = m.as_ptr().add(place).cast::<__m256i>();
                                word = _mm256_and_si256(word, _mm256_loadu_si256(mask));
                            }
                        }
                        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(word), low);
                        let a = _mm256_shuffle_epi8(bits, _mm256_and_si256(word, low));
                        let b = _mm256_shuffle_epi8(bits, high);
                        *bytes = _mm256_add_epi8(*bytes, _mm256_add_epi8(a, b));
                    }
                }
            }
        }
        for (sum, bytes) in sums.iter_mut().flatten().zip(bytes.iter().flatten()) {
            let pairs = _mm256_maddubs_epi16(*bytes, _mm256_set1_epi8(1));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
        from = to;
    }
    for (out, sums) in out.iter_mut().skip(first).zip(sums) {
        for (h, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row of `out` is two registers.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(h * HALF).cast(), sum) };
        }
    }
    R
}
