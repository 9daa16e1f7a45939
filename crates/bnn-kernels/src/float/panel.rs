//! The right operand of tiles, and the walk over all tiles of a product.

/// Numbers of a vector.
pub(super) const LANES: usize = 16;

/// A matrix `[steps, lanes]`, in vectors: `[⌈lanes/16⌉, steps, 16]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Panel<T> {
    data: Vec<T>,
    steps: usize,
}

impl<T: Copy + Default> Panel<T> {
    /// Takes another size; what it holds is overwritten by the caller, all of it.
    pub fn resize(&mut self, steps: usize, lanes: usize) {
        self.steps = steps;
        self.data
            .resize(steps * lanes.next_multiple_of(LANES), T::default());
    }

    /// Vectors of a block of lanes.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The vectors of each block of lanes.
    pub fn blocks_mut(&mut self) -> std::slice::ChunksExactMut<'_, T> {
        self.data.chunks_exact_mut((self.steps * LANES).max(1))
    }

    /// The same, to be read.
    pub fn blocks(&self) -> std::slice::ChunksExact<'_, T> {
        self.data.chunks_exact((self.steps * LANES).max(1))
    }
}

/// Steps after which sums go back to memory, so that what the right gives stays in the first cache.
const STEPS: usize = 256;

/// Sums of a tile.
pub(super) type Sums<S, const ROWS: usize> = [[S; LANES]; ROWS];

/// The last place that rows read at those offsets; 0 if there are none.
pub(super) fn last(rows: &[usize], offsets: &[u32]) -> usize {
    let row = rows.iter().copied().max().unwrap_or(0);
    let offset = offsets.iter().map(|&o| o as usize).max();
    row.saturating_add(offset.unwrap_or(0))
}

/// Calls `tile(rows, offsets, vectors, sums)` for every tile of `out`, `[rows, lanes rounded up to
/// whole vectors]`, to add to: ROWS of the rows, some of the offsets, and a vector for each of them.
///
/// # Panics
/// If sizes do not fit.
pub(super) fn for_each_tile<T: Copy + Default, S: Copy + Default, const ROWS: usize>(
    rows: &[usize],
    offsets: &[u32],
    right: &Panel<T>,
    out: &mut [S],
    tile: impl Fn(&[usize; ROWS], &[u32], &[T], &mut Sums<S, ROWS>),
) {
    assert_eq!(right.steps(), offsets.len(), "right operand");
    let width = right.blocks().len() * LANES;
    assert_eq!(out.len(), rows.len() * width, "sums");
    let mut sums = [[S::default(); LANES]; ROWS];
    for (block, right) in right.blocks().enumerate() {
        let parts = offsets.chunks(STEPS).zip(right.chunks(STEPS * LANES));
        for (offsets, right) in parts {
            let tiles = rows.chunks(ROWS).zip(out.chunks_mut(ROWS * width));
            for (rows, out) in tiles {
                // What is missing in the last tile is computed like its first row.
                let bases = std::array::from_fn(|r| *rows.get(r).unwrap_or(&rows[0]));
                let lanes = block * LANES..(block + 1) * LANES;
                for (sums, out) in sums.iter_mut().zip(out.chunks_exact(width)) {
                    sums.copy_from_slice(&out[lanes.clone()]);
                }
                tile(&bases, offsets, right, &mut sums);
                for (sums, out) in sums.iter().zip(out.chunks_exact_mut(width)) {
                    out[lanes.clone()].copy_from_slice(sums);
                }
            }
        }
    }
}
