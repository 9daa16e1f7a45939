//! A tile of dot products with NEON: a code of four activations selects a table of sixteen sums,
//! and one `tbl` looks up those of 16 filters.

use std::arch::aarch64::{
    int16x8_t, uint8x16_t, vaddq_s8, vaddq_u16, vaddw_high_s8, vaddw_s8, vcgtq_s16, vcombine_u8,
    vdupq_n_s8, vdupq_n_s16, vdupq_n_u32, vget_low_s8, vget_low_u8, vld1q_s8, vld1q_s16, vld1q_u8,
    vmovn_u16, vmulq_s16, vmulq_u8, vpaddq_u8, vqtbl1q_s8, vreinterpretq_u8_u32,
    vreinterpretq_u16_s16, vst1_u8, vst1q_s16, vsubq_u16,
};

use super::{Dots, FILTERS, PIXELS, TABLES};
use crate::binary::codes::DIGITS;
use crate::binary::thresholds::{Block, CODES};

/// Steps that a sum of bytes bears: each adds at most 4, and 31 · 4 < 128.
const BYTE_STEPS: usize = 31;
/// Bytes of a register.
const BYTES: usize = 16;
/// Numbers of 16 bits in a register.
const WORDS: usize = 8;

/// What [`super::portable::tile`] computes.
///
/// # Panics
/// If a code or a weight that it needs lies beyond the slices.
///
/// # Safety
/// The processor must have NEON.
#[target_feature(enable = "neon")]
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
    let tables = TABLES.as_ptr().cast::<i8>();
    // SAFETY: every base plus every offset was checked to lie within `act`. Codes are made by this
    // module's parent alone and are at most 160, so that a table ends at most 160 · 8 + 16 = 81 · 16
    // bytes behind the first one's start. `weights` holds 32 bytes, two registers, for each offset,
    // `out` 32 numbers of two bytes, four registers, for each pixel. Loads and stores need no more
    // alignment than an element has.
    unsafe {
        let pixels = base.map(|b| act.as_ptr().add(b));
        let mut wide = [[vdupq_n_s16(0); FILTERS / WORDS]; PIXELS];
        let mut weight = weights.as_ptr();
        for offsets in offsets.chunks(BYTE_STEPS) {
            let mut sums = [[vdupq_n_s8(0); FILTERS / BYTES]; PIXELS];
            for &offset in offsets {
                let nibbles = [vld1q_u8(weight), vld1q_u8(weight.add(BYTES))];
                weight = weight.add(FILTERS);
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    let code = usize::from(*pixel.add(offset as usize));
                    let table = vld1q_s8(tables.add(code * 8));
                    sums[0] = vaddq_s8(sums[0], vqtbl1q_s8(table, nibbles[0]));
                    sums[1] = vaddq_s8(sums[1], vqtbl1q_s8(table, nibbles[1]));
                }
            }
            for (wide, [a, b]) in wide.iter_mut().zip(sums) {
                wide[0] = vaddw_s8(wide[0], vget_low_s8(a));
                wide[1] = vaddw_high_s8(wide[1], a);
                wide[2] = vaddw_s8(wide[2], vget_low_s8(b));
                wide[3] = vaddw_high_s8(wide[3], b);
            }
        }
        for (out, wide) in out.iter_mut().zip(wide) {
            for (i, wide) in wide.into_iter().enumerate() {
                vst1q_s16(out.as_mut_ptr().add(WORDS * i), wide);
            }
        }
    }
}

/// What [`super::portable::codes`] computes.
///
/// # Safety
/// The processor must have NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn codes(dots: &[i16; FILTERS], block: &Block) -> [u8; CODES] {
    // SAFETY: each of the four arrays holds 32 numbers of two bytes, four registers; the loads need
    // no more alignment than an element has.
    let load = |v: &[i16; FILTERS], quarter: usize| -> int16x8_t {
        unsafe { vld1q_s16(v.as_ptr().add(WORDS * quarter)) }
    };
    // Of each lane how many of the two thresholds are reached: comparison gives -1.
    let digits = |quarter: usize| {
        let u = vmulq_s16(load(dots, quarter), load(&block.direction, quarter));
        let zero = vcgtq_s16(u, load(&block.below_zero, quarter));
        let one = vcgtq_s16(u, load(&block.below_one, quarter));
        let none = vreinterpretq_u16_s16(vdupq_n_s16(0));
        vmovn_u16(vsubq_u16(none, vaddq_u16(zero, one)))
    };
    let weights = vreinterpretq_u8_u32(vdupq_n_u32(u32::from_ne_bytes(DIGITS)));
    let weighted = |half: usize| -> uint8x16_t {
        let bytes = vcombine_u8(digits(2 * half), digits(2 * half + 1));
        vmulq_u8(bytes, weights)
    };
    // Each four, summed.
    let pairs = vpaddq_u8(weighted(0), weighted(1));
    let sums = vpaddq_u8(pairs, pairs);
    let mut codes = [0; CODES];
    // SAFETY: `codes` has eight bytes, half a register.
    unsafe { vst1_u8(codes.as_mut_ptr(), vget_low_u8(sums)) };
    codes
}
