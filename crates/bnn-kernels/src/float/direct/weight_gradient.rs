//! The gradient with respect to a convolution's weights.

use std::ops::Range;

use rayon::prelude::*;

use super::Activations;
use super::{channels_last, images, places, usable};
use crate::ConvGeometry;
use crate::binary::Codes;
use crate::float::panel::{LANES, Panel};
use crate::padded_grid::PaddedGrid;
use crate::simd::Instructions;
use crate::transpose::transpose;

/// Parts of the batch that are summed separately, at most: each costs a buffer of the weight's size.
const MOST_PARTS: usize = 16;
/// Pixels that are worth a part of their own.
const PART_PIXELS: usize = 4096;
/// Rows of a task: their sums stay in the second cache.
const ROWS: usize = 96;

/// See [`crate::float::conv_backward_weight`]; the sizes are checked there.
pub(in crate::float) fn backward_weight(
    g: &ConvGeometry,
    x: &[f32],
    grad: &[f32],
    grad_weight: &mut [f32],
) {
    let x = Activations::Floats(x);
    backward_weight_with(g, x, grad, grad_weight, Instructions::detect());
}

/// The gradient of a binary layer's weights, `[O, C, kH, kW]`, from its activations and the gradient
/// of its output; false, and nothing done, if the geometry has another path.
///
/// # Panics
/// If a size is not what the geometry says.
pub(crate) fn binary_weight(
    g: &ConvGeometry,
    x: &Codes,
    grad: &[f32],
    grad_weight: &mut [f32],
) -> bool {
    if !usable(g) {
        return false;
    }
    assert_eq!(x.shape(), [g.batch, g.channels, g.height, g.width], "input");
    assert_eq!(grad.len(), g.batch * g.filters * g.out_plane(), "output");
    let x = Activations::Codes(x);
    backward_weight_with(g, x, grad, grad_weight, Instructions::detect());
    true
}

pub(super) fn backward_weight_with(
    g: &ConvGeometry,
    x: Activations<'_>,
    grad: &[f32],
    grad_weight: &mut [f32],
    instructions: Instructions,
) {
    let grid = PaddedGrid::of_input(g);
    let (c, o, out) = (g.channels, g.filters, g.out_plane());
    let taps = grid.taps(g);
    // A row for each position of the kernel and each channel.
    let rows: Vec<usize> = (taps.iter())
        .flat_map(|tap| (0..c).map(move |c_| tap * c + c_))
        .collect();
    let width = o.next_multiple_of(LANES);
    let part = g.batch.div_ceil(parts(g));
    let count = images(out).min(part);
    let places = places(count, [g.out_height, g.out_width], g.stride, grid, c);
    let offsets: Vec<u32> = places.iter().map(|&p| p as u32).collect();
    let sums: Vec<Vec<f32>> = grad
        .par_chunks(part * o * out)
        .enumerate()
        .map(|(i, grad)| {
            let mut sums = vec![0.0; rows.len() * width];
            let (mut left, mut panel) = (Vec::new(), Panel::default());
            for (k, grad) in grad.chunks(count * o * out).enumerate() {
                let steps = grad.len() / o;
                let first = i * part + k * count;
                inputs(g, x, first..first + steps / out, grid, &mut left);
                panel.resize(steps, o);
                fill(&mut panel, grad, o, out);
                sums.par_chunks_mut(ROWS * width)
                    .zip(rows.par_chunks(ROWS))
                    .for_each(|(sums, rows)| {
                        instructions.add(&left, rows, &offsets[..steps], &panel, sums);
                    });
            }
            sums
        })
        .collect();
    let area = taps.len();
    grad_weight
        .par_chunks_exact_mut(c * area)
        .enumerate()
        .for_each(|(o, to)| {
            to.fill(0.0);
            for sums in &sums {
                for (row, sum) in sums[o..].iter().step_by(width).enumerate() {
                    to[row % c * area + row / c] += sum;
                }
            }
        });
}

/// In how many parts of the batch weight gradients are summed: a function of the sizes alone.
fn parts(g: &ConvGeometry) -> usize {
    (g.batch * g.out_plane() / PART_PIXELS).clamp(1, MOST_PARTS)
}

/// The inputs of some images, padded and with channels last.
fn inputs(
    g: &ConvGeometry,
    x: Activations<'_>,
    images: Range<usize>,
    grid: PaddedGrid,
    to: &mut Vec<f32>,
) {
    let c = g.channels;
    match x {
        Activations::Floats(x) => {
            let image = c * g.height * g.width;
            let x = &x[images.start * image..images.end * image];
            channels_last(x, c, [g.height, g.width], grid, to);
        }
        Activations::Codes(x) => {
            to.clear();
            to.resize(images.len() * grid.area() * c, 0.0);
            let row = |n: usize, y: usize| {
                (n * grid.area() + (grid.top + y) * grid.width + grid.left) * c
            };
            x.channels_last(images, row, to);
        }
    }
}

/// Gradients `[images, O, plane]` as `[pixels, O]`.
fn fill(panel: &mut Panel<f32>, grad: &[f32], filters: usize, plane: usize) {
    let blocks: Vec<&mut [f32]> = panel.blocks_mut().collect();
    blocks.into_par_iter().enumerate().for_each(|(b, to)| {
        let first = b * LANES;
        let lanes = (filters - first).min(LANES);
        let images = grad.chunks_exact(filters * plane);
        for (grad, to) in images.zip(to.chunks_exact_mut(plane * LANES)) {
            let from = &grad[first * plane..];
            transpose([lanes, plane], (from, plane), (to, LANES));
            if lanes < LANES {
                // What an earlier use of the memory has left there.
                let rows = to.chunks_exact_mut(LANES);
                rows.for_each(|row| row[lanes..].fill(0.0));
            }
        }
    });
}
