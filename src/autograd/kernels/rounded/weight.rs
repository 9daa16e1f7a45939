//! The gradient with respect to a convolution's weights.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::super::Activations;
use super::super::grid::Grid;
use super::round::{round, scales, seed, shifted};
use super::tile::{LANES, Operands, ROWS, Sums, VECTORS, Walk};
use super::{Rounded, images};
use crate::autograd::parallel::wide;

/// Bytes of a word: pixels that a step sums over.
const BYTES: usize = 4;

/// What a task adds to.
struct Total {
    /// `[C·kH·kW, filters]`, the number of filters rounded up to whole vectors.
    products: Vec<i32>,
    /// Of the rounded gradients of each filter.
    sums: Vec<i32>,
    /// Activations plus one of some images, `[C, images, grid]`.
    bytes: Vec<u8>,
    /// Their rounded gradients, `[images, steps, filters]`, four pixels a word.
    words: Vec<u32>,
    /// A rounded plane, and the same as rows of the grid.
    plane: Vec<i32>,
    rows: Vec<i32>,
    /// Those rows, four pixels a word.
    packed: Vec<u32>,
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
        let lanes = g.filters.next_multiple_of(LANES);
        let rows = g.channels * taps;
        let ternary = AtomicBool::new(true);
        let count = images(g);
        let empty = || Total {
            products: vec![0; rows * lanes],
            sums: vec![0; g.filters],
            bytes: Vec::new(),
            words: Vec::new(),
            plane: vec![0; g.out_plane()],
            rows: Vec::new(),
            packed: Vec::new(),
        };
        // Integers: in whatever order they are added up.
        let total = (0..g.batch.div_ceil(count))
            .into_par_iter()
            .fold(empty, |mut total, i| {
                let images = i * count..((i + 1) * count).min(g.batch);
                if ternary.load(Ordering::Relaxed) && !self.add(images, x, &factors, &mut total) {
                    ternary.store(false, Ordering::Relaxed);
                }
                total
            })
            .reduce_with(|mut a, b| {
                add(&mut a.products, &b.products);
                add(&mut a.sums, &b.sums);
                a
            });
        let (Some(total), true) = (total, ternary.into_inner()) else {
            return false;
        };
        let filters = out.par_chunks_exact_mut(rows).zip(&factors).enumerate();
        filters.for_each(|(o, (out, (_, unit)))| {
            let products = total.products[o..].iter().step_by(lanes);
            // Activations were one too large: each gradient was counted once too often.
            for (out, product) in out.iter_mut().zip(products) {
                *out = (product - total.sums[o]) as f32 * unit;
            }
        });
        true
    }

    /// Adds what some images give; false if their activations are others.
    fn add(
        &self,
        images: Range<usize>,
        x: Activations<'_>,
        factors: &[(f32, f32)],
        total: &mut Total,
    ) -> bool {
        let g = &self.g;
        let grid = Grid::of_input(g);
        let (first, count) = (images.start, images.len());
        let Some(slack) = self.activations(x, images, grid, &mut total.bytes) else {
            return false;
        };
        let steps = ((g.out_height - 1) * grid.width + g.out_width).div_ceil(BYTES);
        debug_assert!(steps * BYTES <= grid.area() + slack);
        let lanes = g.filters.next_multiple_of(LANES);
        self.gradients(first, count, (grid, steps, lanes), factors, total);
        let offsets = (0..steps).map(|j| (j * lanes) as u32).collect();
        let walk = Walk::new(offsets, count, [grid.area(), steps * lanes]);
        let plane = count * grid.area();
        let taps = grid.taps(g);
        let starts: Vec<usize> = (0..g.channels)
            .flat_map(|c| taps.iter().map(move |t| c * plane + t))
            .collect();
        let mut tile = Sums::default();
        for lane in (0..lanes).step_by(VECTORS * LANES) {
            let vectors = ((lanes - lane) / LANES).min(VECTORS);
            let products = total.products.chunks_mut(ROWS * lanes);
            for (starts, products) in starts.chunks(ROWS).zip(products) {
                // What is missing in the last tile is computed like its first row.
                let rows = std::array::from_fn(|r| *starts.get(r).unwrap_or(&starts[0]));
                let operands = Operands {
                    left: &total.bytes,
                    rows,
                    right: &total.words,
                    base: lane,
                };
                self.instructions.tile(operands, &walk, vectors, &mut tile);
                for (products, tile) in products.chunks_exact_mut(lanes).zip(&tile) {
                    let (to, _) = products[lane..].as_chunks_mut::<LANES>();
                    for (to, tile) in to.iter_mut().zip(&tile[..vectors]) {
                        to.iter_mut().zip(tile).for_each(|(to, t)| *to += *t);
                    }
                }
            }
        }
        true
    }

    /// Activations plus one in the grid, `[C, images, grid]`, with some bytes behind, how many; `None`
    /// if there are other values.
    fn activations(
        &self,
        x: Activations<'_>,
        images: Range<usize>,
        grid: Grid,
        to: &mut Vec<u8>,
    ) -> Option<usize> {
        let g = &self.g;
        const SLACK: usize = BYTES;
        let count = images.len();
        to.clear();
        to.resize(g.channels * count * grid.area() + SLACK, 1);
        let row = |n: usize, c: usize, y: usize| {
            (c * count + n) * grid.area() + (grid.top + y) * grid.width + grid.left
        };
        let mut ternary = true;
        match x {
            Activations::Codes(x) => {
                for (n, image) in images.enumerate() {
                    x.bytes(image, |c, y| row(n, c, y), to);
                }
            }
            Activations::Floats(x) => {
                let image = g.channels * g.height * g.width;
                let x = &x[images.start * image..images.end * image];
                for (i, plane) in x.chunks_exact(g.height * g.width).enumerate() {
                    let (n, c) = (i / g.channels, i % g.channels);
                    for (y, line) in plane.chunks_exact(g.width).enumerate() {
                        ternary &= shifted(line, &mut to[row(n, c, y)..][..g.width]);
                    }
                }
            }
        }
        ternary.then_some(SLACK)
    }

    /// Rounds the gradients of `count` images, each filter by its own factor.
    fn gradients(
        &self,
        first: usize,
        count: usize,
        (grid, steps, lanes): (Grid, usize, usize),
        factors: &[(f32, f32)],
        total: &mut Total,
    ) {
        let g = &self.g;
        let Total {
            sums,
            words,
            plane,
            rows,
            packed,
            ..
        } = total;
        words.clear();
        words.resize(count * steps * lanes, 0);
        rows.clear();
        rows.resize(steps * BYTES, 0);
        packed.resize(steps, 0);
        for (n, words) in words.chunks_exact_mut(steps * lanes).enumerate() {
            for (o, ((factor, _), sum)) in factors.iter().zip(&mut *sums).enumerate() {
                let seed = seed(first + n, o);
                round(self.plane(first + n, o), *factor, seed, plane);
                *sum += wide(|| plane.iter().sum::<i32>());
                for (y, line) in plane.chunks_exact(g.out_width).enumerate() {
                    rows[y * grid.width..][..g.out_width].copy_from_slice(line);
                }
                let (fours, _) = rows.as_chunks::<BYTES>();
                wide(|| {
                    for (word, four) in packed.iter_mut().zip(fours) {
                        *word = u32::from_le_bytes(four.map(|q| q as u8));
                    }
                });
                let to = words[o..].iter_mut().step_by(lanes);
                to.zip(&*packed).for_each(|(to, word)| *to = *word);
            }
        }
    }
}

fn add(a: &mut [i32], b: &[i32]) {
    wide(|| a.iter_mut().zip(b).for_each(|(a, b)| *a += *b));
}
