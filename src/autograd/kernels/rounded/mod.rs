//! Gradients of convolutions with weights of ±1 and activations in {-1, 0, +1}, from output
//! gradients rounded to 8 bits.
//!
//! Gradients of each image (for the input) or of each filter (for the weights) share a scale, and
//! are rounded to either neighbour so that they are right on average. Sums of them are exact, so
//! they may be added up in any order. No columns are unfolded: a position of the kernel is an offset
//! into the padded image.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod input;
mod portable;
mod round;
#[cfg(test)]
mod tests;
mod tile;
mod weight;

use rayon::prelude::*;

use super::ConvGeometry;
use super::grid::Grid;
pub use input::SignBytes;
use round::largest;
use tile::Instructions;

/// Largest rounded gradient.
const MOST: f32 = 127.0;
/// Pixels that a task takes at a time, if an image has fewer: then several images.
const TASK_PIXELS: usize = 256;

/// The gradient of a convolution's output, `[N, O, OH, OW]`, to be rounded.
#[derive(Debug, Clone)]
pub struct Rounded<'a> {
    g: ConvGeometry,
    grad: &'a [f32],
    /// Largest absolute value of each plane.
    largest: Vec<f32>,
    instructions: Instructions,
}

/// Whether gradients of a convolution of this geometry can be computed here.
pub fn usable(g: &ConvGeometry) -> bool {
    if g.stride != [1, 1] || g.groups != 1 || g.batch == 0 || g.out_plane() == 0 {
        return false;
    }
    let taps = g.kernel[0].saturating_mul(g.kernel[1]);
    let grids = [Grid::of_input(g), Grid::of_output(g)];
    let area = |grid: &Grid| grid.height.saturating_mul(grid.width);
    let most = grids.iter().map(area).max().unwrap_or(0);
    // Each product is at most 2 · 127.
    let terms = [
        taps.saturating_mul(g.filters),
        g.batch.saturating_mul(g.out_plane()),
    ];
    let bytes = most
        .saturating_mul(g.filters.max(g.channels))
        .saturating_mul(images(g.out_plane()).max(images(g.height * g.width)))
        .saturating_mul(4);
    terms.iter().all(|&t| t < i32::MAX as usize / 256)
        && taps.saturating_mul(g.channels) > 0
        && bytes < u32::MAX as usize / 2
        // Padding that dwarfs what is padded is not worth a copy of it.
        && most <= 16 * (g.height * g.width + g.out_plane()) + 4096
}

/// Images of a task: a function of the sizes alone.
fn images(plane: usize) -> usize {
    TASK_PIXELS.div_ceil(plane.max(1)).max(4)
}

impl<'a> Rounded<'a> {
    /// `None` if the geometry is not [`usable`] or a gradient is not finite.
    ///
    /// # Panics
    /// If `grad` has another size than the geometry says.
    pub fn new(g: &ConvGeometry, grad: &'a [f32]) -> Option<Self> {
        if !usable(g) {
            return None;
        }
        assert_eq!(grad.len(), g.batch * g.filters * g.out_plane());
        let planes = grad.par_chunks(g.out_plane());
        let largest: Vec<f32> = planes.with_min_len(16).map(largest).collect();
        largest.iter().all(|l| l.is_finite()).then(|| Self {
            g: *g,
            grad,
            largest,
            instructions: Instructions::detect(),
        })
    }

    /// The gradients of image `n`, filter `o`.
    fn plane(&self, n: usize, o: usize) -> &[f32] {
        let p = self.g.out_plane();
        &self.grad[(n * self.g.filters + o) * p..][..p]
    }

    /// Their largest absolute value.
    fn largest(&self, n: usize, o: usize) -> f32 {
        self.largest[n * self.g.filters + o]
    }
}
