//! The gradient with respect to a convolution's weights: a row for each channel and position of the
//! kernel, a lane for each filter. Four images are a word, so that neither rows nor strides matter.

use std::ops::Range;

use rayon::prelude::*;

use super::super::direct::{parts, places};
use super::super::grid::Grid;
use super::super::panel::Panel;
use super::super::transpose::transpose_words;
use super::super::{Activations, ConvGeometry};
use super::Rounded;
use super::round::{Plane, round_four, scales, seed};
use super::tile::{LANES, Signed};

/// Bytes of a word: images that a step sums over.
const BYTES: usize = 4;
/// Rows of a task: their sums stay in the second cache.
const ROWS: usize = 96;
/// Pixels that are summed at a time.
const PIXELS: usize = 1024;

/// What a task works with.
#[derive(Default)]
struct Scratch {
    /// Activations plus one of some images, `[C, grid, images]`.
    left: Vec<u8>,
    /// Rounded gradients of four images, `[16 filters, plane]`.
    words: Vec<u32>,
    panel: Panel<u32>,
}

impl Rounded<'_> {
    /// The gradient of the weights, `[O, C, kH, kW]`, from the activations `x`; false if there are
    /// others than -1, 0 and +1.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says.
    pub fn weight(&self, x: Activations<'_>, out: &mut [f32]) -> bool {
        let g = &self.g;
        let (image, taps) = (g.channels * g.height * g.width, g.kernel[0] * g.kernel[1]);
        match x {
            Activations::Floats(x) => assert_eq!(x.len(), g.batch * image, "input"),
            Activations::Codes(x) => {
                assert_eq!(x.shape(), [g.batch, g.channels, g.height, g.width], "input");
            }
        }
        assert_eq!(out.len(), g.filters * g.channels * taps, "weights");
        if image == 0 {
            out.fill(0.0);
            return true;
        }
        let factors: Vec<(f32, f32)> = (0..g.filters)
            .map(|o| scales((0..g.batch).map(|n| self.largest(n, o)).fold(0.0, f32::max)))
            .collect();
        let (parts, plane) = (parts(g), g.out_plane());
        let part = g.batch.div_ceil(parts).next_multiple_of(BYTES);
        let count = (PIXELS / plane / BYTES * BYTES).clamp(BYTES, part);
        let found: Option<Vec<_>> = (0..g.batch.div_ceil(part))
            .into_par_iter()
            .map(|i| {
                let images = i * part..((i + 1) * part).min(g.batch);
                self.part(images, count, x, &factors)
            })
            .collect();
        let Some(found) = found else {
            return false;
        };
        let width = g.filters.next_multiple_of(LANES);
        let filters = out.par_chunks_exact_mut(g.channels * taps).zip(&factors);
        filters.enumerate().for_each(|(o, (out, (_, unit)))| {
            for (row, out) in out.iter_mut().enumerate() {
                // Activations were one too large: each gradient was counted once too often.
                let each = found
                    .iter()
                    .map(|(products, sums)| products[row * width + o] - sums[o]);
                *out = each.sum::<i32>() as f32 * unit;
            }
        });
        true
    }

    /// What some images give: products `[C·kH·kW, filters]`, the number of filters rounded up to whole
    /// vectors, and the sums of the rounded gradients of each filter. `None` if their activations are
    /// others.
    fn part(
        &self,
        images: Range<usize>,
        count: usize,
        x: Activations<'_>,
        factors: &[(f32, f32)],
    ) -> Option<(Vec<i32>, Vec<i32>)> {
        let g = &self.g;
        let grid = Grid::of_input(g);
        let (plane, width) = (g.out_plane(), g.filters.next_multiple_of(LANES));
        let taps = grid.taps(g);
        let pixels = places(1, [g.out_height, g.out_width], g.stride, grid, 1);
        let mut products = vec![0; g.channels * taps.len() * width];
        let mut sums = vec![0; g.filters];
        let mut scratch = Scratch::default();
        for start in images.clone().step_by(count) {
            let some = start..(start + count).min(images.end);
            let fours = some.len().div_ceil(BYTES);
            let n = fours * BYTES;
            if !activations(g, x, some.clone(), (grid, n), &mut scratch.left) {
                return None;
            }
            self.gradients(some, factors, &mut scratch, &mut sums);
            let offsets: Vec<u32> = (0..fours)
                .flat_map(|q| pixels.iter().map(move |p| (p * n + q * BYTES) as u32))
                .collect();
            debug_assert_eq!(offsets.len(), fours * plane);
            let rows: Vec<usize> = (0..g.channels)
                .flat_map(|c| taps.iter().map(move |t| (c * grid.area() + t) * n))
                .collect();
            let Scratch { left, panel, .. } = &scratch;
            products
                .par_chunks_mut(ROWS * width)
                .zip(rows.par_chunks(ROWS))
                .for_each(|(products, rows)| {
                    let left = (&left[..], rows, &offsets[..]);
                    self.instructions.add(Signed::Right, left, panel, products);
                });
        }
        Some((products, sums))
    }

    /// Rounds the gradients of some images, each filter by its own factor, and sums them.
    fn gradients(
        &self,
        images: Range<usize>,
        factors: &[(f32, f32)],
        Scratch { words, panel, .. }: &mut Scratch,
        sums: &mut [i32],
    ) {
        let g = &self.g;
        let plane = g.out_plane();
        let fours = images.len().div_ceil(BYTES);
        panel.resize(fours * plane, g.filters);
        words.resize(LANES * plane, 0);
        let sums = sums.chunks_mut(LANES).zip(factors.chunks(LANES));
        for (block, (to, (sums, factors))) in panel.blocks_mut().zip(sums).enumerate() {
            for (four, to) in to.chunks_exact_mut(plane * LANES).enumerate() {
                let lines = words.chunks_exact_mut(plane);
                for (lane, (words, (factor, _))) in lines.zip(factors).enumerate() {
                    let o = block * LANES + lane;
                    let planes = std::array::from_fn(|i| {
                        let n = images.start + four * BYTES + i;
                        (n < images.end).then(|| Plane {
                            x: self.plane(n, o),
                            factor: *factor,
                            seed: seed(n, o),
                        })
                    });
                    sums[lane] += round_four(planes, words, None);
                }
                words[factors.len() * plane..].fill(0);
                transpose_words([LANES, plane], (words, plane), (to, LANES));
            }
        }
    }
}

/// Activations plus one of some images in the grid, `[C, grid, n]`; false if there are others than
/// -1, 0 and +1.
fn activations(
    g: &ConvGeometry,
    x: Activations<'_>,
    images: Range<usize>,
    (grid, n): (Grid, usize),
    to: &mut Vec<u8>,
) -> bool {
    to.clear();
    to.resize(g.channels * grid.area() * n, 1);
    let at = |c: usize, y: usize| (c * grid.area() + (grid.top + y) * grid.width + grid.left) * n;
    match x {
        Activations::Codes(x) => {
            x.bytes_of_images(images, n, at, to);
            true
        }
        Activations::Floats(x) => {
            let mut ternary = true;
            let plane = g.height * g.width;
            let image = g.channels * plane;
            let x = &x[images.start * image..images.end * image];
            for (i, x) in x.chunks_exact(plane).enumerate() {
                let (image, c) = (i / g.channels, i % g.channels);
                for (y, x) in x.chunks_exact(g.width).enumerate() {
                    let to = to[at(c, y) + image..].iter_mut().step_by(n);
                    for (to, &v) in to.zip(x) {
                        ternary &= (v == 0.0) | (v.abs() == 1.0);
                        *to = (v + 1.0) as u8;
                    }
                }
            }
            ternary
        }
    }
}
