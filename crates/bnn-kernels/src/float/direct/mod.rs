//! Convolutions in single precision without columns of patches: channels lie last, and a position
//! of the kernel is an offset into the padded image.
//!
//! The output, the gradient of the input and that of the weights are one sum with other operands:
//! `out[row][lane] += Σ left[row's place + offset] · right[offset][lane]`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod output;
#[cfg(test)]
mod tests;
mod tile;
mod weight_gradient;

use rayon::prelude::*;

use crate::ConvGeometry;
use crate::binary::Codes;
use crate::float::panel::{LANES, Panel};
use crate::padded_grid::PaddedGrid;
use crate::simd::Instructions;
use crate::transpose::transpose;
use output::planes_of;
pub use output::{FloatThresholds, OutputWeights};
pub(super) use weight_gradient::backward_weight;
pub(crate) use weight_gradient::binary_weight;

/// The input of a layer, `[N, C, H, W]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activations<'a> {
    /// As floats.
    Floats(&'a [f32]),
    /// As codes.
    Codes(&'a Codes),
}

/// Pixels that a task takes at a time, if an image has fewer: then several images.
const TASK_PIXELS: usize = 256;

/// Whether a convolution of this geometry is computed here, but for gradients of inputs where there
/// are strides.
pub(super) fn usable(g: &ConvGeometry) -> bool {
    if g.groups != 1 || g.batch * g.out_plane() * g.filters == 0 {
        return false;
    }
    let area = |grid: PaddedGrid| grid.height.saturating_mul(grid.width);
    let most = area(PaddedGrid::of_input(g)).max(area(PaddedGrid::of_output(g)));
    let images = TASK_PIXELS.div_ceil(g.out_plane()).max(1);
    let numbers = most
        .saturating_mul(images)
        .saturating_mul(g.channels.max(g.filters));
    g.channels * g.height * g.width > 0
        && numbers < u32::MAX as usize / 2
        // Padding that dwarfs what is padded is not worth a copy of it.
        && most <= 16 * (g.height * g.width + g.out_plane()) + 4096
}

/// Whether the gradient of the input has the form of a convolution.
fn has_no_strides(g: &ConvGeometry) -> bool {
    g.stride == [1, 1]
}

/// Images of a task: a function of the sizes alone.
fn images(plane: usize) -> usize {
    TASK_PIXELS.div_ceil(plane.max(1))
}

/// Images `[N, C, H, W]`, their planes of that size, padded and with channels last.
fn channels_last(
    x: &[f32],
    channels: usize,
    [height, width]: [usize; 2],
    grid: PaddedGrid,
    to: &mut Vec<f32>,
) {
    let (plane, area) = (height * width, grid.area());
    to.clear();
    to.resize(x.len() / (channels * plane) * area * channels, 0.0);
    for (x, to) in x
        .chunks_exact(channels * plane)
        .zip(to.chunks_exact_mut(area * channels))
    {
        if grid.width == width {
            let at = grid.top * width * channels;
            transpose([channels, plane], (x, plane), (&mut to[at..], channels));
            continue;
        }
        for y in 0..height {
            let at = ((y + grid.top) * grid.width + grid.left) * channels;
            let from = &x[y * width..];
            transpose([channels, width], (from, plane), (&mut to[at..], channels));
        }
    }
}

/// Where the pixels of some images' windows begin, channels last.
pub(crate) fn places(
    count: usize,
    [height, width]: [usize; 2],
    stride: [usize; 2],
    grid: PaddedGrid,
    channels: usize,
) -> Vec<usize> {
    let mut places = Vec::with_capacity(count * height * width);
    for n in 0..count {
        for y in 0..height {
            let row = n * grid.area() + y * stride[0] * grid.width;
            places.extend((0..width).map(|x| (row + x * stride[1]) * channels));
        }
    }
    places
}

/// What a task works with.
#[derive(Default)]
struct Scratch {
    left: Vec<f32>,
    sums: Vec<f32>,
}

/// A layer's weights as the gradient of its input reads them; for layers without strides and groups.
#[derive(Debug)]
pub struct InputWeights {
    panel: Panel<f32>,
    sizes: [usize; 4],
}

impl InputWeights {
    /// Of `weight` `[O, C, kH, kW]`; `None` if there is no path for the geometry: then
    /// [`conv_backward_input`](crate::float::conv_backward_input) computes the gradient.
    ///
    /// # Panics
    /// If it has another size than the geometry says.
    pub fn new(g: &ConvGeometry, weight: &[f32]) -> Option<Self> {
        if !usable(g) || !has_no_strides(g) {
            return None;
        }
        let (c, o, taps) = (g.channels, g.filters, g.kernel[0] * g.kernel[1]);
        assert_eq!(weight.len(), c * o * taps, "weight size");
        let panel = weight_panel(weight, [taps * o, c], |step, c_| {
            (step % o * c + c_) * taps + step / o
        });
        Some(Self {
            panel,
            sizes: [c, o, g.kernel[0], g.kernel[1]],
        })
    }

    /// Writes the gradient of the input, `[N, C, H, W]`, from that of the output, `[N, O, OH, OW]`. The batch
    /// may be another one than when the weights were prepared.
    ///
    /// # Panics
    /// If a size is not what the geometry says, or the weights are of another one.
    pub fn gradient(&self, g: &ConvGeometry, grad: &[f32], grad_x: &mut [f32]) {
        self.gradient_with(g, grad, grad_x, Instructions::detect());
    }

    fn gradient_with(
        &self,
        g: &ConvGeometry,
        grad: &[f32],
        grad_x: &mut [f32],
        instructions: Instructions,
    ) {
        let (c, o, plane) = (g.channels, g.filters, g.height * g.width);
        assert!(usable(g) && has_no_strides(g), "geometry");
        assert_eq!(self.sizes, [c, o, g.kernel[0], g.kernel[1]], "weights");
        assert_eq!(grad.len(), g.batch * o * g.out_plane(), "output size");
        assert_eq!(grad_x.len(), g.batch * c * plane, "input size");
        let grid = PaddedGrid::of_output(g);
        let offsets: Vec<u32> = (grid.sources(g).iter())
            .flat_map(|s| (0..o).map(move |o_| (s * o + o_) as u32))
            .collect();
        let count = images(plane);
        let places = places(count, [g.height, g.width], [1, 1], grid, o);
        grad_x
            .par_chunks_mut(count * c * plane)
            .zip(grad.par_chunks(count * o * g.out_plane()))
            .for_each_init(Scratch::default, |scratch, (grad_x, grad)| {
                let Scratch { left, sums } = scratch;
                channels_last(grad, o, [g.out_height, g.out_width], grid, left);
                let rows = &places[..grad_x.len() / c];
                let width = c.next_multiple_of(LANES);
                sums.clear();
                sums.resize(rows.len() * width, 0.0);
                instructions.add(left, rows, &offsets, &self.panel, sums);
                planes_of(sums, width, c, plane, grad_x);
            });
    }
}

/// A weight as a panel `[steps, lanes]`; `place(step, lane)` says where in it each number lies.
fn weight_panel(
    weight: &[f32],
    [steps, lanes]: [usize; 2],
    place: impl Fn(usize, usize) -> usize + Sync,
) -> Panel<f32> {
    let mut panel = Panel::default();
    panel.resize(steps, lanes);
    let blocks: Vec<&mut [f32]> = panel.blocks_mut().collect();
    blocks.into_par_iter().enumerate().for_each(|(b, to)| {
        for (step, to) in to.chunks_exact_mut(LANES).enumerate() {
            for (lane, to) in (b * LANES..lanes).zip(to) {
                *to = weight[place(step, lane)];
            }
        }
    });
    panel
}
