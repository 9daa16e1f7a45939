//! What tables of sums hold.

use crate::buffers::Reusable;

/// A number of a table of sums: `f32` for gradients in single precision, `i16` for rounded ones.
pub trait TableEntry: Reusable + Default + Send + Sync + std::fmt::Debug {
    /// Numbers of two vectors of 32 bytes, which are looked up together.
    const LANES: usize;
    /// What so many sums of those that share a table add up to fits.
    const TERMS: usize;

    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    /// As a float.
    fn float(self) -> f32;
}

impl TableEntry for f32 {
    const LANES: usize = 16;
    const TERMS: usize = usize::MAX;

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }

    #[inline(always)]
    fn float(self) -> f32 {
        self
    }
}

/// Of numbers of at most 127.
impl TableEntry for i16 {
    const LANES: usize = 32;
    const TERMS: usize = i16::MAX as usize / (127 * super::FILTERS_PER_TABLE);

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
}
