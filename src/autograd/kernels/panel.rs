//! The right operand of tiles.

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
