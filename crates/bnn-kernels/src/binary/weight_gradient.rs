//! The gradient with respect to a binary layer's weights, from tables of sums (see `sum_tables`): there is a
//! table for each pixel of four images, and what is looked up are vectors of filters.

use std::ops::Range;

use rayon::prelude::*;

use super::sum_tables::aligned::Aligned;
use super::sum_tables::image_signs::{ImageSigns, SUMS};
use super::sum_tables::lookup::{Offsets, ROWS, RowTerms};
use super::sum_tables::{IMAGES_PER_TABLE, TableEntry, equal_parts, equal_parts_mut};
use crate::ConvGeometry;
use crate::binary::Codes;
use crate::float::direct::{self, places};
use crate::padded_grid::PaddedGrid;
use crate::simd::Instructions;
use crate::transpose::transpose;

/// Pixels of four images whose tables are made together: they stay in the first cache.
const TERMS: usize = 24;
/// Tasks that are worth a buffer of the weights of their filters each.
const TASKS: usize = 16;
/// Fewer uses of a table are not worth it.
const LEAST_USES: usize = 24;

/// The output's gradient, in fours of images.
pub(super) trait WeightGradientSource: Sync {
    /// What tables of it hold.
    type Entry: TableEntry;
    /// What is known of four images and a vector of filters.
    type Block;

    /// Of images `4 · four..4 · four + 4`, and at most a vector of filters.
    fn block(&self, four: usize, filters: Range<usize>) -> Self::Block;

    /// Writes the gradients of some pixels of the output, `[pixels, LANES]` for each image; what is
    /// missing is 0.
    fn read(
        &self,
        block: &Self::Block,
        pixels: Range<usize>,
        to: [&mut [Self::Entry]; IMAGES_PER_TABLE],
    );

    /// The gradient that a 1 of that filter stands for.
    fn unit(&self, filter: usize) -> f32;
}

/// The gradient of the weights `[O, C, kH, kW]` of a layer with activations `x`; false, and nothing
/// done, if tables are not worth it.
///
/// # Panics
/// If a size is not what the geometry says.
pub(super) fn gradient_of<G: WeightGradientSource>(
    g: &ConvGeometry,
    x: &Codes,
    grad: &G,
    out: &mut [f32],
) -> bool {
    let taps = g.kernel[0] * g.kernel[1];
    g.channels * taps >= LEAST_USES
        && 2 * g.filters >= G::Entry::LANES
        && gradient_with(g, x, grad, out, Instructions::detect())
}

/// [`gradient_of`], worth it or not.
pub(super) fn gradient_with<G: WeightGradientSource>(
    g: &ConvGeometry,
    x: &Codes,
    grad: &G,
    out: &mut [f32],
    instructions: Instructions,
) -> bool {
    let grid = PaddedGrid::of_input(g);
    let taps = grid.taps(g);
    let (fours, plane) = (g.batch.div_ceil(IMAGES_PER_TABLE), g.out_plane());
    let line = g.channels.next_multiple_of(ROWS);
    let size = grid
        .height
        .checked_mul(grid.width)
        .and_then(|area| area.checked_mul(line));
    let all = size.and_then(|s| s.checked_mul(fours));
    let Some(size) = size.filter(|_| all.is_some_and(|all| all < u32::MAX as usize)) else {
        return false;
    };
    if g.groups != 1 || g.filters * plane == 0 || g.channels * g.height * g.width == 0 {
        return false;
    }
    assert_eq!(x.shape(), [g.batch, g.channels, g.height, g.width], "input");
    assert_eq!(out.len(), g.filters * g.channels * taps.len(), "weights");
    let signs = ImageSigns::new(x, grid);
    let lanes = G::Entry::LANES;
    let blocks = g.filters.div_ceil(lanes);
    let part = fours.div_ceil(TASKS.div_ceil(blocks)).max(1);
    let slices = fours.div_ceil(part).max(1);
    let task = Task {
        g,
        grad,
        signs: &signs,
        rows: Offsets::new(
            (taps.iter())
                .flat_map(|tap| {
                    (0..line)
                        .step_by(ROWS)
                        .map(move |c| (tap * line + c) as u32)
                })
                .collect(),
        ),
        places: places(1, [g.out_height, g.out_width], g.stride, grid, line),
        size,
        instructions,
    };
    let found: Vec<Aligned<f32>> = (0..blocks * slices)
        .into_par_iter()
        .map(|i| {
            let filters = i / slices * lanes..(i / slices * lanes + lanes).min(g.filters);
            let first = i % slices * part;
            task.run(first..(first + part).min(fours), filters)
        })
        .collect();
    let share = 1.0 / signs.readings().len() as f32;
    out.par_chunks_exact_mut(g.channels * taps.len())
        .enumerate()
        .for_each(|(o, out)| {
            let unit = grad.unit(o) * share;
            let found = &found[o / lanes * slices..][..slices];
            for (k, found) in found.iter().enumerate() {
                for t in 0..taps.len() {
                    let sums = found.slice()[t * line * lanes + o % lanes..]
                        .iter()
                        .step_by(lanes);
                    for (to, sum) in out[t..].iter_mut().step_by(taps.len()).zip(sums) {
                        *to = if k == 0 { *sum } else { *to + sum };
                    }
                }
            }
            out.iter_mut().for_each(|to| *to *= unit);
        });
    true
}

struct Task<'a, G> {
    g: &'a ConvGeometry,
    grad: &'a G,
    signs: &'a ImageSigns,
    /// For each kernel position and four channels where the indices lie.
    rows: Offsets,
    /// How far those of each pixel of the output lie behind.
    places: Vec<usize>,
    /// Indices of four images.
    size: usize,
    instructions: Instructions,
}

impl<G: WeightGradientSource> Task<'_, G> {
    /// The sums over some fours of images for a vector of filters, `[kH·kW, C rounded up, LANES]`.
    fn run(&self, fours: Range<usize>, filters: Range<usize>) -> Aligned<f32> {
        let (plane, lanes) = (self.g.out_plane(), G::Entry::LANES);
        let mut out = Aligned::new(self.rows.all().len() * ROWS * lanes, 0.0);
        let mut gradients = Aligned::new(IMAGES_PER_TABLE * TERMS * lanes, G::Entry::default());
        let mut tables = Aligned::new(TERMS * (SUMS + 1) * lanes, G::Entry::default());
        let mut places = Vec::with_capacity(TERMS);
        for four in fours {
            let block = self.grad.block(four, filters.clone());
            let mut start = 0;
            while start < plane {
                let pixels = start..(start + TERMS - places.len()).min(plane);
                let at = places.len() * lanes..(places.len() + pixels.len()) * lanes;
                let planes = equal_parts_mut::<IMAGES_PER_TABLE, _>(gradients.slice_mut());
                let some = planes.map(|x| &mut x[at.clone()]);
                self.grad.read(&block, pixels.clone(), some);
                let some = &self.places[pixels.clone()];
                places.extend(some.iter().map(|p| (four * self.size + p) as u32));
                start = pixels.end;
                if places.len() == TERMS {
                    self.add(
                        gradients.slice(),
                        tables.slice_mut(),
                        &places,
                        out.slice_mut(),
                    );
                    places.clear();
                }
            }
        }
        if !places.is_empty() {
            self.add(
                gradients.slice(),
                tables.slice_mut(),
                &places,
                out.slice_mut(),
            );
        }
        out
    }

    /// Adds the terms at those places.
    fn add(
        &self,
        gradients: &[G::Entry],
        tables: &mut [G::Entry],
        places: &[u32],
        out: &mut [f32],
    ) {
        let lanes = G::Entry::LANES;
        let tables = &mut tables[..places.len() * (SUMS + 1) * lanes];
        for (t, table) in tables.chunks_exact_mut((SUMS + 1) * lanes).enumerate() {
            let four =
                equal_parts::<IMAGES_PER_TABLE, _>(gradients).map(|x| &x[t * lanes..][..lanes]);
            self.instructions.combine(four, &mut table[..SUMS * lanes]);
        }
        for indices in self.signs.readings() {
            let terms = RowTerms {
                indices,
                rows: &self.rows,
                places,
            };
            self.instructions.rows(tables, &terms, out);
        }
    }
}

/// Writes the gradient of a binary layer's weights, `[O, C, kH, kW]`, from its activations `x` `[N, C, H, W]`
/// and the gradient of its output, `[N, O, OH, OW]`. False, and nothing written, if there is no path for the
/// geometry: then [`crate::float::conv_backward_weight`] computes it.
///
/// # Panics
/// If a size is not what the geometry says.
pub fn weight_gradient(g: &ConvGeometry, x: &Codes, grad: &[f32], grad_weight: &mut [f32]) -> bool {
    gradient_of(g, x, &UnscaledGradient::new(g, grad), grad_weight)
        || direct::binary_weight(g, x, grad, grad_weight)
}

/// Gradients in single precision.
#[derive(Debug)]
pub(super) struct UnscaledGradient<'a> {
    g: ConvGeometry,
    grad: &'a [f32],
}

impl<'a> UnscaledGradient<'a> {
    /// Of `grad` `[N, O, OH, OW]`.
    ///
    /// # Panics
    /// If it has another size than the geometry says.
    pub fn new(g: &ConvGeometry, grad: &'a [f32]) -> Self {
        assert_eq!(
            grad.len(),
            g.batch * g.filters * g.out_plane(),
            "gradient of the output"
        );
        Self { g: *g, grad }
    }
}

impl WeightGradientSource for UnscaledGradient<'_> {
    type Entry = f32;
    type Block = (usize, Range<usize>);

    fn block(&self, four: usize, filters: Range<usize>) -> Self::Block {
        (four, filters)
    }

    fn read(
        &self,
        (four, filters): &Self::Block,
        pixels: Range<usize>,
        to: [&mut [f32]; IMAGES_PER_TABLE],
    ) {
        let (plane, lanes) = (self.g.out_plane(), <f32 as TableEntry>::LANES);
        for (i, to) in to.into_iter().enumerate() {
            let n = four * IMAGES_PER_TABLE + i;
            if n >= self.g.batch || filters.len() < lanes {
                to.fill(0.0);
            }
            if n < self.g.batch {
                let from =
                    &self.grad[(n * self.g.filters + filters.start) * plane + pixels.start..];
                transpose([filters.len(), pixels.len()], (from, plane), (to, lanes));
            }
        }
    }

    fn unit(&self, _: usize) -> f32 {
        1.0
    }
}
