//! The inner loop: products of bytes, summed in 32 bits.

use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Rows of a tile.
pub(super) const ROWS: usize = 6;
/// Sums of a vector.
pub(super) const LANES: usize = 16;
/// Vectors of a row, at most.
pub(super) const VECTORS: usize = 4;

/// Sums of a tile.
pub(super) type Sums = [[[i32; LANES]; VECTORS]; ROWS];

/// What a sum runs over: for each of `parts`, one step for each of `offsets`.
#[derive(Debug)]
pub(super) struct Walk {
    pub parts: usize,
    /// Bytes from one part to the next on the left.
    pub left_stride: usize,
    /// Words from one part to the next on the right.
    pub right_stride: usize,
    /// Of each step: words on the right.
    offsets: Vec<u32>,
    furthest: usize,
}

impl Walk {
    pub fn new(offsets: Vec<u32>, parts: usize, [left, right]: [usize; 2]) -> Self {
        Self {
            parts,
            left_stride: left,
            right_stride: right,
            furthest: offsets.iter().max().map_or(0, |&o| o as usize),
            offsets,
        }
    }

    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Bytes that a row needs on the left, from its start on.
    pub fn left_len(&self) -> usize {
        self.parts.saturating_sub(1) * self.left_stride + 4 * self.offsets.len()
    }

    /// Words that some vectors need on the right, from the base on.
    pub fn right_len(&self, vectors: usize) -> usize {
        self.parts.saturating_sub(1) * self.right_stride + self.furthest + vectors * LANES
    }
}

/// The two operands of a tile. A word on the right is four signed bytes; `rows` say where in `left`,
/// unsigned bytes, each row starts; `base` where in `right`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands<'a> {
    pub left: &'a [u8],
    pub rows: [usize; ROWS],
    pub right: &'a [u32],
    pub base: usize,
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
        // Miri interprets few vector instructions.
        if cfg!(miri) {
            return Self::Portable;
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return Self::Avx512Vnni;
        }
        #[cfg(target_arch = "x86_64")]
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
            all.extend([Self::Avx2, Self::detect()]);
        }
        all
    }

    /// `out[r][v][l] = Σ over parts p and steps j of
    /// left[rows[r] + p·left_stride + 4j ..][..4] · right[base + p·right_stride + offsets[j] + 16v + l]`.
    ///
    /// # Panics
    /// If that reaches beyond an operand, or more than [`VECTORS`] are asked for.
    #[inline]
    pub fn tile(self, operands: Operands<'_>, walk: &Walk, vectors: usize, out: &mut Sums) {
        let Operands {
            left,
            rows,
            right,
            base,
        } = operands;
        let last = rows.iter().max().map_or(0, |&r| r);
        assert!(last + walk.left_len() <= left.len(), "left operand");
        assert!(
            base + walk.right_len(vectors) <= right.len(),
            "right operand"
        );
        assert!(vectors <= VECTORS, "vectors of a tile");
        match self {
            // SAFETY: `detect` found AVX-512 F and VNNI; the operands are as large as just checked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe {
                match vectors {
                    1 => avx512::tile::<1>(operands, walk, out),
                    2 => avx512::tile::<2>(operands, walk, out),
                    3 => avx512::tile::<3>(operands, walk, out),
                    _ => avx512::tile::<4>(operands, walk, out),
                }
            },
            // SAFETY: `detect` found AVX2; the operands are as large as just checked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::tile(operands, walk, vectors, out) },
            Self::Portable => portable::tile(operands, walk, vectors, out),
        }
    }
}
