//! The inner loop: products of single numbers with vectors, summed in vectors.

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::float::panel::{self, Panel};
use crate::simd::Instructions;

/// Rows of a tile.
pub(super) const ROWS: usize = 12;
/// Sums of a row.
pub(super) const LANES: usize = panel::LANES;
/// Sums of a tile.
pub(super) type Sums = panel::Sums<f32, ROWS>;

impl Instructions {
    /// `out[r][l] += Σ over steps s of left[rows[r] + offsets[s]] · right[s][l]`; `out` is
    /// `[rows, lanes rounded up to whole vectors]`.
    ///
    /// # Panics
    /// If that reaches beyond an operand, or sizes do not fit.
    pub(in crate::float) fn add(
        self,
        left: &[f32],
        rows: &[usize],
        offsets: &[u32],
        right: &Panel<f32>,
        out: &mut [f32],
    ) {
        assert!(panel::last(rows, offsets) < left.len(), "left operand");
        panel::for_each_tile(rows, offsets, right, out, |rows, offsets, right, sums| {
            self.tile(left, rows, offsets, right, sums);
        });
    }

    /// One tile of some steps. Private: [`Instructions::add`] has checked that every row with every
    /// offset lies in `left`, and that `right` has a vector for each step.
    #[inline]
    fn tile(
        self,
        left: &[f32],
        rows: &[usize; ROWS],
        offsets: &[u32],
        right: &[f32],
        sums: &mut Sums,
    ) {
        debug_assert_eq!(right.len(), offsets.len() * LANES);
        match self {
            // SAFETY: `detect` found AVX-512; `add` checked the operands.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::tile(left, rows, offsets, right, sums) },
            // SAFETY: `detect` found AVX2 and FMA; `add` checked the operands.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::tile(left, rows, offsets, right, sums) },
            _ => portable(left, rows, offsets, right, sums),
        }
    }
}

/// The definition of the others, but for rounding: they do not round products.
fn portable(left: &[f32], rows: &[usize; ROWS], offsets: &[u32], right: &[f32], sums: &mut Sums) {
    for (&offset, right) in offsets.iter().zip(right.chunks_exact(LANES)) {
        for (&row, sums) in rows.iter().zip(sums.iter_mut()) {
            let factor = left[row + offset as usize];
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum += factor * right;
            }
        }
    }
}
