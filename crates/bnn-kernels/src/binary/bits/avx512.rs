//! A tile with AVX-512: sixteen words a register, counted by one instruction.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_cmpge_epi32_mask, _mm512_loadu_si512, _mm512_popcnt_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
    _mm512_sub_epi32, _mm512_ternarylogic_epi32, _mm512_xor_si512,
};

use super::tile::{Counts, LANES, Mask, ROWS, Tile};

/// No mask, one of the rows, one of the lanes.
const ALL: u8 = 0;
const OF_ROWS: u8 = 1;
const OF_LANES: u8 = 2;

/// (a ^ b) & c.
const DIFFERING: i32 = 0x28;

/// The counts of R rows.
///
/// # Safety
/// The processor must have the instructions; `lanes` (and its mask) must have `words` · 16 words, `rows` (and its
/// mask) R · `words`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
unsafe fn accumulate<const R: usize, const MASK: u8>(
    lanes: *const u32,
    rows: *const u32,
    mask: *const u32,
    words: usize,
) -> [__m512i; R] {
    let mut counts = [_mm512_setzero_si512(); R];
    for k in 0..words {
        // SAFETY: word k of each row and each lane is within what the caller promises.
        unsafe {
            let lane = _mm512_loadu_si512(lanes.add(k * LANES).cast());
            let lane_mask = match MASK {
                OF_LANES => _mm512_loadu_si512(mask.add(k * LANES).cast()),
                _ => lane,
            };
            for (r, count) in counts.iter_mut().enumerate() {
                let row = _mm512_set1_epi32(rows.add(r * words + k).read().cast_signed());
                let differing = match MASK {
                    ALL => _mm512_xor_si512(lane, row),
                    OF_LANES => _mm512_ternarylogic_epi32::<DIFFERING>(lane, row, lane_mask),
                    _ => {
                        let mask = mask.add(r * words + k).read().cast_signed();
                        _mm512_ternarylogic_epi32::<DIFFERING>(lane, row, _mm512_set1_epi32(mask))
                    }
                };
                *count = _mm512_add_epi32(*count, _mm512_popcnt_epi32(differing));
            }
        }
    }
    counts
}

/// Calls a function of the number of rows and the kind of mask with constants for both.
macro_rules! specialised {
    ($tile:expr, $f:ident, $($argument:expr),*) => {{
        let tile: &Tile<'_> = $tile;
        let none = std::ptr::null();
        macro_rules! masked {
            ($rows:literal) => {
                match tile.mask {
                    Mask::All => $f::<$rows, ALL>(tile, none, $($argument),*),
                    Mask::Rows(m) => $f::<$rows, OF_ROWS>(tile, m.as_ptr(), $($argument),*),
                    Mask::Lanes(m) => $f::<$rows, OF_LANES>(tile, m.as_ptr(), $($argument),*),
                }
            };
        }
        match tile.count {
            8 => masked!(8),
            7 => masked!(7),
            6 => masked!(6),
            5 => masked!(5),
            4 => masked!(4),
            3 => masked!(3),
            2 => masked!(2),
            _ => masked!(1),
        }
    }};
}

/// What [`super::portable::differing`] computes.
///
/// # Safety
/// The processor must have the instructions, and the tile's operands the sizes that it says.
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
pub(super) unsafe fn differing(tile: &Tile<'_>, out: &mut Counts) {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
    unsafe fn store<const R: usize, const MASK: u8>(
        tile: &Tile<'_>,
        mask: *const u32,
        out: &mut Counts,
    ) {
        let (lanes, rows) = (tile.lanes.as_ptr(), tile.rows.as_ptr());
        // SAFETY: the caller checked the sizes; a row of `out` is one register.
        unsafe {
            let counts = accumulate::<R, MASK>(lanes, rows, mask, tile.words);
            for (out, count) in out.iter_mut().zip(counts) {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), count);
            }
        }
    }
    // SAFETY: what this function asks of its caller.
    unsafe { specialised!(tile, store, out) }
}

/// What [`Tile::signs`] says.
///
/// # Safety
/// As for [`differing`].
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
pub(super) unsafe fn signs(
    tile: &Tile<'_>,
    whole: &[i32; ROWS],
    threshold: &[i32; LANES],
) -> [u16; ROWS] {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
    unsafe fn compare<const R: usize, const MASK: u8>(
        tile: &Tile<'_>,
        mask: *const u32,
        whole: &[i32; ROWS],
        threshold: &[i32; LANES],
    ) -> [u16; ROWS] {
        let (lanes, rows) = (tile.lanes.as_ptr(), tile.rows.as_ptr());
        let mut signs = [0; ROWS];
        // SAFETY: the caller checked the sizes; the thresholds are one register.
        unsafe {
            let threshold = _mm512_loadu_si512(threshold.as_ptr().cast());
            let counts = accumulate::<R, MASK>(lanes, rows, mask, tile.words);
            for ((sign, count), whole) in signs.iter_mut().zip(counts).zip(whole) {
                let twice = _mm512_slli_epi32::<1>(count);
                let sum = _mm512_sub_epi32(_mm512_set1_epi32(*whole), twice);
                *sign = _mm512_cmpge_epi32_mask(sum, threshold);
            }
        }
        signs
    }
    // SAFETY: what this function asks of its caller.
    unsafe { specialised!(tile, compare, whole, threshold) }
}
