//! A tile: how many bits differ between some rows of words and sixteen lanes of words.

use super::level::Level;

/// Words side by side.
pub(super) const LANES: usize = 16;
/// Most rows of a tile.
pub(super) const ROWS: usize = 8;

/// Differing bits, `[row][lane]`.
pub(super) type Counts = [[i32; LANES]; ROWS];

/// The operands of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a> {
    /// `[word][lane]`.
    pub lanes: &'a [u32],
    /// `[row][word]`.
    pub rows: &'a [u32],
    /// Which bits count.
    pub mask: Mask<'a>,
    /// Words of a row.
    pub words: usize,
    /// How many rows, from 1 to [`ROWS`].
    pub count: usize,
}

/// Which bits of a tile count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mask<'a> {
    /// All.
    All,
    /// Those set here, laid out as the rows.
    Rows(&'a [u32]),
    /// Those set here, laid out as the lanes.
    Lanes(&'a [u32]),
}

impl Tile<'_> {
    /// Checks what the loops of all levels rely on.
    ///
    /// # Panics
    /// If the operands are smaller than they say.
    fn check(&self) {
        let (lanes, rows) = (self.words * LANES, self.words * self.count);
        assert!((1..=ROWS).contains(&self.count), "rows of a tile");
        assert!(
            self.lanes.len() >= lanes && self.rows.len() >= rows,
            "operands of a tile"
        );
        match self.mask {
            Mask::All => {}
            Mask::Rows(mask) => assert!(mask.len() >= rows, "mask of a tile"),
            Mask::Lanes(mask) => assert!(mask.len() >= lanes, "mask of a tile"),
        }
    }

    /// Counts the bits that differ; of rows beyond the count nothing is said.
    #[inline]
    pub fn differing(&self, level: Level, out: &mut Counts) {
        self.check();
        match level {
            // SAFETY: `Level::all` found the instructions; the operands were checked.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { super::avx512::differing(self, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { super::avx2::differing(self, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => unsafe { super::neon::differing(self, out) },
            Level::Portable => super::portable::differing(self, out),
        }
    }

    /// Bit l of row r: whether `whole[r] - 2 · differing bits` is at least `threshold[l]`.
    #[inline]
    pub fn signs(
        &self,
        level: Level,
        whole: &[i32; ROWS],
        threshold: &[i32; LANES],
    ) -> [u16; ROWS] {
        #[cfg(target_arch = "x86_64")]
        if level == Level::Avx512 {
            self.check();
            // SAFETY: `Level::all` found the instructions; the operands were checked.
            return unsafe { super::avx512::signs(self, whole, threshold) };
        }
        let mut counts = [[0; LANES]; ROWS];
        self.differing(level, &mut counts);
        let mut signs = [0; ROWS];
        for ((sign, counts), whole) in signs.iter_mut().zip(&counts).zip(whole).take(self.count) {
            for (l, (count, t)) in counts.iter().zip(threshold).enumerate() {
                *sign |= u16::from(whole - 2 * count >= *t) << l;
            }
        }
        signs
    }
}
