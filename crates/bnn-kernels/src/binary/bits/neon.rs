//! A tile with NEON: `cnt` counts the bits of each byte.

use std::arch::aarch64::{
    uint32x4_t, vaddq_u8, vandq_u32, vcntq_u8, vdupq_n_u8, vdupq_n_u32, veorq_u32, vld1q_u32,
    vpadalq_u16, vpaddlq_u8, vreinterpretq_s32_u32, vreinterpretq_u8_u32, vst1q_s32,
};

use super::tile::{Counts, LANES, Mask, Tile};

/// Words that a sum of bytes bears: each adds at most 8, and 31 · 8 < 256.
const BYTE_STEPS: usize = 31;
/// Lanes of a register.
const QUARTER: usize = 4;
/// Registers of lanes.
const PARTS: usize = LANES / QUARTER;
/// Rows at a time: with four registers of lanes each, sixteen of 32 registers.
const TOGETHER: usize = 4;

/// What [`super::portable::differing`] computes.
///
/// # Safety
/// The processor must have NEON, and the tile's operands the sizes that it says.
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
unsafe fn some<const R: usize>(tile: &Tile<'_>, first: usize, out: &mut Counts) -> usize {
    let words = tile.words;
    let mut sums: [[uint32x4_t; PARTS]; R] = [[vdupq_n_u32(0); PARTS]; R];
    let mut from = 0;
    while from < words {
        let to = words.min(from + BYTE_STEPS);
        let mut bytes = [[vdupq_n_u8(0); PARTS]; R];
        for k in from..to {
            for (r, bytes) in bytes.iter_mut().enumerate() {
                let at = (first + r) * words + k;
                // SAFETY: word k of rows and lanes, and of their masks, is within what the caller promises.
                unsafe {
                    let row = vdupq_n_u32(tile.rows.as_ptr().add(at).read());
                    for (q, bytes) in bytes.iter_mut().enumerate() {
                        let place = k * LANES + q * QUARTER;
                        let lane = vld1q_u32(tile.lanes.as_ptr().add(place));
                        let mut word = veorq_u32(lane, row);
                        match tile.mask {
                            Mask::All => {}
                            Mask::Rows(m) => {
                                let mask = vdupq_n_u32(m.as_ptr().add(at).read());
                                word = vandq_u32(word, mask);
                            }
                            Mask::Lanes(m) => {
                                word = vandq_u32(word, vld1q_u32(m.as_ptr().add(place)));
                            }
                        }
                        *bytes = vaddq_u8(*bytes, vcntq_u8(vreinterpretq_u8_u32(word)));
                    }
                }
            }
        }
        for (sum, bytes) in sums.iter_mut().flatten().zip(bytes.iter().flatten()) {
            *sum = vpadalq_u16(*sum, vpaddlq_u8(*bytes));
        }
        from = to;
    }
    for (out, sums) in out.iter_mut().skip(first).zip(sums) {
        for (q, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row of `out` is four registers.
            unsafe {
                let to = out.as_mut_ptr().add(q * QUARTER);
                vst1q_s32(to, vreinterpretq_s32_u32(sum));
            }
        }
    }
    R
}
