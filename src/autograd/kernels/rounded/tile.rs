//! The inner loop: products of bytes, summed in 32 bits.

use super::super::panel::{self, Panel};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Rows of a tile.
pub(super) const ROWS: usize = 12;
/// Sums of a row.
pub(super) const LANES: usize = panel::LANES;
/// Sums of a tile.
pub(super) type Sums = panel::Sums<i32, ROWS>;

/// Which operand has signed bytes, from -127 on. Those of the other one are 0, 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    Left,
    Right,
}

/// Which instructions compute tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Instructions {
    pub fn detect() -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return Self::Avx512Vnni;
        }
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }

    /// All that this machine has.
    #[cfg(test)]
    #[allow(unused_mut)] // on other processors
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        if Self::detect() != Self::Portable {
            all.push(Self::Avx2);
        }
        if !all.contains(&Self::detect()) {
            all.push(Self::detect());
        }
        all
    }

    /// `out[r][l] += Σ over steps s, and the four bytes of each, of
    /// left[rows[r] + offsets[s] ..][..4] · right[s][l]`; `out` is `[rows, lanes rounded up to whole
    /// vectors]`, a word on the right has four bytes.
    ///
    /// # Panics
    /// If that reaches beyond an operand, or sizes do not fit.
    pub fn add(
        self,
        signed: Signed,
        (left, rows, offsets): (&[u8], &[usize], &[u32]),
        right: &Panel<u32>,
        out: &mut [i32],
    ) {
        let last = panel::last(rows, offsets).saturating_add(4);
        assert!(last <= left.len(), "left operand");
        let operands = (rows, offsets);
        panel::for_each_tile(operands, right, out, |rows, offsets, right, sums| {
            self.tile(signed, (left, rows, offsets), right, sums);
        });
    }

    /// One tile of some steps. Private: [`Instructions::add`] has checked that four bytes from every
    /// row with every offset on lie in `left`, and that `right` has a vector for each step.
    #[inline]
    fn tile(
        self,
        signed: Signed,
        (left, rows, offsets): (&[u8], &[usize; ROWS], &[u32]),
        right: &[u32],
        sums: &mut Sums,
    ) {
        debug_assert_eq!(right.len(), offsets.len() * LANES);
        let of_left = signed == Signed::Left;
        match self {
            // SAFETY: `detect` found AVX-512 F and VNNI; `add` checked the operands.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe {
                match of_left {
                    true => avx512::tile::<true>(left, rows, offsets, right, sums),
                    false => avx512::tile::<false>(left, rows, offsets, right, sums),
                }
            },
            // SAFETY: `detect` found AVX2; `add` checked the operands.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe {
                match of_left {
                    true => avx2::tile::<true>(left, rows, offsets, right, sums),
                    false => avx2::tile::<false>(left, rows, offsets, right, sums),
                }
            },
            Self::Portable => portable::tile(signed, (left, rows, offsets), right, sums),
        }
    }
}
