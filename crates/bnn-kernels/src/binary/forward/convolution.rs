//! Convolutions over packed activations: what surrounds the tiles.

use rayon::prelude::*;

use super::{Dots, FILTERS, PIXELS, Steps};
use crate::ConvGeometry;
use crate::binary::codes::{Codes, PER_CODE, ZEROS};
use crate::binary::thresholds::{Block, CODES};
use crate::binary::{SignWeight, Thresholds};
use crate::simd::Instructions;

/// Most products a sum of 16 bits bears.
const MOST_PRODUCTS: usize = 32_000;
/// Pixels that a task computes at least, where there are so many.
const TASK_PIXELS: usize = 64;

/// Whether a convolution of this geometry can be computed on packed activations: sums fit in 16 bits (at
/// most 32,000 products each), groups begin with a whole code, and padding does not dwarf the input.
pub fn supports(g: &ConvGeometry) -> bool {
    if g.groups == 0 || g.out_plane() == 0 || g.height * g.width == 0 || g.filters == 0 {
        return false;
    }
    let channels = g.channels / g.groups;
    let products = channels.saturating_mul(g.kernel[0].saturating_mul(g.kernel[1]));
    let [height, width] = padded(g);
    // Padding that dwarfs what is padded is not worth a copy of it.
    let area = 16 * (g.height * g.width + g.out_plane()) + 4096;
    let limit = u32::MAX as usize / 2;
    (1..=MOST_PRODUCTS).contains(&products)
        && (g.groups == 1 || channels.is_multiple_of(PER_CODE))
        && height.saturating_mul(width) <= area
        && area.saturating_mul(g.channels) < limit
}

/// Size of the padded input that all windows lie in.
fn padded(g: &ConvGeometry) -> [usize; 2] {
    let (size, out) = ([g.height, g.width], [g.out_height, g.out_width]);
    [0, 1].map(|i| {
        let extent = (g.kernel[i] - 1).saturating_mul(g.dilation[i]);
        let windows = (out[i] - 1).saturating_mul(g.stride[i]);
        let needed = windows.saturating_add(extent).saturating_add(1);
        needed.max(g.pad[i].saturating_add(size[i]))
    })
}

/// A convolution, planned.
struct Plan<'a> {
    g: &'a ConvGeometry,
    weight: &'a SignWeight,
    instructions: Instructions,
    /// Codes of a pixel.
    codes: usize,
    /// Height and width of the padded input.
    padded: [usize; 2],
    steps: Steps,
}

/// What a task computes with.
#[derive(Default)]
struct Scratch {
    padded: Vec<u8>,
    bases: Vec<usize>,
}

impl<'a> Plan<'a> {
    fn new(g: &'a ConvGeometry, weight: &'a SignWeight, instructions: Instructions) -> Self {
        assert!(supports(g), "a geometry for packed activations");
        let codes = g.channels.div_ceil(PER_CODE);
        let per_group = (g.channels / g.groups).div_ceil(PER_CODE);
        let padded = padded(g);
        let mut offsets = Vec::with_capacity(g.kernel[0] * g.kernel[1] * per_group);
        for y in 0..g.kernel[0] {
            for x in 0..g.kernel[1] {
                let at = (y * g.dilation[0] * padded[1] + x * g.dilation[1]) * codes;
                offsets.extend((at..at + per_group).map(|o| o as u32));
            }
        }
        Self {
            g,
            weight,
            instructions,
            codes,
            padded,
            steps: Steps::new(offsets),
        }
    }

    /// Images of a task: a function of the sizes alone.
    fn images(&self) -> usize {
        TASK_PIXELS.div_ceil(self.g.out_plane())
    }

    fn is_padded(&self) -> bool {
        self.padded != [self.g.height, self.g.width]
    }

    /// Copies images into the middle of zeros.
    fn pad(&self, x: &[u8], to: &mut Vec<u8>) {
        let g = self.g;
        let ([height, width], row) = (self.padded, g.width * self.codes);
        let image = height * width * self.codes;
        to.clear();
        to.resize(x.len() / (g.height * row) * image, ZEROS);
        for (x, to) in x
            .chunks_exact(g.height * row)
            .zip(to.chunks_exact_mut(image))
        {
            for (y, x) in x.chunks_exact(row).enumerate() {
                let at = ((y + g.pad[0]) * width + g.pad[1]) * self.codes;
                to[at..at + row].copy_from_slice(x);
            }
        }
    }

    /// The dot products of some images, tile by tile: `sink([block, first filter, filters], first
    /// pixel, pixels, dots)`, pixels counted over all images. Blocks 0 and 1 take turns.
    fn run(
        &self,
        x: &[u8],
        scratch: &mut Scratch,
        mut sink: impl FnMut([usize; 3], usize, usize, &Dots),
    ) {
        let g = self.g;
        let count = x.len() / (g.height * g.width * self.codes);
        let Scratch { padded, bases } = scratch;
        let x = match self.is_padded() {
            true => {
                self.pad(x, padded);
                &padded[..]
            }
            false => x,
        };
        let [height, width] = self.padded;
        bases.clear();
        for image in 0..count {
            for y in 0..g.out_height {
                let row = (image * height + y * g.stride[0]) * width;
                bases.extend((0..g.out_width).map(|x| (row + x * g.stride[1]) * self.codes));
            }
        }
        let filters = g.filters / g.groups;
        let mut dots = [[[0; FILTERS]; PIXELS]; 2];
        for group in 0..g.groups {
            let first_code = group * (g.channels / g.groups) / PER_CODE;
            for block in (0..self.weight.blocks()).step_by(2) {
                let weights = [block, block + 1].map(|b| self.weight.block(group, b));
                for (t, tile) in bases.chunks(PIXELS).enumerate() {
                    // What is missing in the last tile is computed like its first pixel.
                    let mut base = [tile[0] + first_code; PIXELS];
                    for (b, &at) in base.iter_mut().zip(tile) {
                        *b = at + first_code;
                    }
                    self.instructions
                        .tiles(x, &base, &self.steps, weights, &mut dots);
                    for (b, dots) in (block..self.weight.blocks()).zip(&dots) {
                        let first = group * filters + b * FILTERS;
                        let some = (filters - b * FILTERS).min(FILTERS);
                        sink([b - block, first, some], t * PIXELS, tile.len(), dots);
                    }
                }
            }
        }
    }
}

/// The output of a binary layer in single precision: `y = scale · sum + bias`, with one scale and one bias
/// for each filter, y `[N, O, OH, OW]`; `x` `[N, C, H, W]`, zeros around it.
///
/// # Panics
/// If sizes do not fit the geometry, or [`supports`] declines it.
pub fn forward_scaled(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    scale: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    forward_scaled_with(g, x, weight, scale, bias, y, Instructions::detect());
}

pub(super) fn forward_scaled_with(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    scale: &[f32],
    bias: &[f32],
    y: &mut [f32],
    instructions: Instructions,
) {
    assert!(scale.len() == g.filters && bias.len() == g.filters);
    planes(g, x, weight, y, instructions, |f, sums, y| {
        let (s, b) = (scale[f], bias[f]);
        let pairs = y.iter_mut().zip(sums);
        pairs.for_each(|(y, &n)| *y = s * f32::from(n) + b);
    });
}

/// The sums of a binary layer: y `[N, O, OH, OW]`, the convolution of `x` `[N, C, H, W]`, zeros around it,
/// with weights of ±1.
///
/// # Panics
/// If sizes do not fit the geometry, or [`supports`] declines it.
pub fn forward_sums(g: &ConvGeometry, x: &Codes, weight: &SignWeight, y: &mut [i16]) {
    forward_sums_with(g, x, weight, y, Instructions::detect());
}

pub(super) fn forward_sums_with(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    y: &mut [i16],
    instructions: Instructions,
) {
    planes(g, x, weight, y, instructions, |_, sums, y| {
        y.copy_from_slice(sums);
    });
}

/// `write(filter, dot products, what is made of them)`, for some pixels at a time.
fn planes<T: Send>(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    y: &mut [T],
    instructions: Instructions,
    write: impl Fn(usize, &[i16], &mut [T]) + Sync,
) {
    check(g, x);
    assert_eq!(y.len(), g.batch * g.filters * g.out_plane());
    let plan = Plan::new(g, weight, instructions);
    let (images, plane) = (plan.images(), g.out_plane());
    y.par_chunks_mut(images * g.filters * plane)
        .zip(x.data().par_chunks(images * x.image()))
        .for_each_init(Scratch::default, |scratch, (y, x)| {
            let mut lines = [Lines::default(), Lines::default()];
            let mut flush = |lines: &mut Lines| {
                for (f, sums) in (lines.filter..).zip(&lines.sums[..lines.filters]) {
                    let mut done = 0;
                    while done < lines.pixels {
                        let pixel = lines.pixel + done;
                        let (image, at) = (pixel / plane, pixel % plane);
                        let count = (lines.pixels - done).min(plane - at);
                        let to = &mut y[(image * g.filters + f) * plane + at..][..count];
                        write(f, &sums[done..done + count], to);
                        done += count;
                    }
                }
                lines.pixels = 0;
            };
            plan.run(
                x,
                scratch,
                |[block, filter, filters], pixel, pixels, dots| {
                    let lines = &mut lines[block];
                    if lines.filter != filter || lines.pixel + lines.pixels != pixel {
                        flush(lines);
                    }
                    if lines.pixels == 0 {
                        (lines.filter, lines.filters, lines.pixel) = (filter, filters, pixel);
                    }
                    let turned = instructions.turned(dots);
                    for (line, dots) in lines.sums.iter_mut().zip(&turned[..filters]) {
                        line[lines.pixels..lines.pixels + PIXELS].copy_from_slice(dots);
                    }
                    lines.pixels += pixels;
                    if lines.pixels + PIXELS > LINE {
                        flush(lines);
                    }
                },
            );
            lines.iter_mut().for_each(flush);
        });
}

/// Pixels of a filter that are written together: planes lie far apart, and often at the same place of
/// the cache.
const LINE: usize = 64;

/// Dot products of a block of filters, filter by filter.
struct Lines {
    filter: usize,
    filters: usize,
    pixel: usize,
    pixels: usize,
    sums: [[i16; LINE]; FILTERS],
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            filter: 0,
            filters: 0,
            pixel: 0,
            pixels: 0,
            sums: [[0; LINE]; FILTERS],
        }
    }
}

/// The windows of a pooling behind a layer: for each output row, and for each output column, the input
/// positions that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolWindows {
    /// For each output row the input rows.
    pub rows: Vec<Vec<usize>>,
    /// For each output column the input columns.
    pub columns: Vec<Vec<usize>>,
}

/// The activations of the next binary layer, `[N, O, OH, OW]`: the sums of a layer through thresholds. With
/// `windows`, the largest sum of each window is taken first, and the output has their size.
///
/// # Panics
/// If sizes do not fit the geometry, [`supports`] declines it, it has groups, or a window reads what is not
/// there.
pub fn forward_codes(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    windows: Option<&PoolWindows>,
    thresholds: &Thresholds,
) -> Codes {
    forward_codes_with(g, x, weight, windows, thresholds, Instructions::detect())
}

pub(super) fn forward_codes_with(
    g: &ConvGeometry,
    x: &Codes,
    weight: &SignWeight,
    windows: Option<&PoolWindows>,
    thresholds: &Thresholds,
    instructions: Instructions,
) -> Codes {
    check(g, x);
    assert_eq!(g.groups, 1, "groups of a binarised convolution");
    assert_eq!(thresholds.positive.len(), g.filters, "thresholds");
    let plan = Plan::new(g, weight, instructions);
    let blocks = thresholds.blocks();
    let [height, width] = match windows {
        Some(w) => [w.rows.len(), w.columns.len()],
        None => [g.out_height, g.out_width],
    };
    let mut out = Codes::zeros([g.batch, g.filters, height, width]);
    let (images, image) = (plan.images(), out.image());
    let codes = g.filters.div_ceil(PER_CODE);
    if image == 0 {
        return out;
    }
    let inputs = x.data().par_chunks(images * x.image());
    let outputs = out.data_mut().par_chunks_mut(images * image);
    outputs.zip(inputs).for_each_init(
        || (Scratch::default(), Vec::new()),
        |(scratch, sums), (out, x)| match windows {
            None => plan.run(x, scratch, |[_, filter, _], pixel, pixels, dots| {
                for (p, dots) in (pixel..).zip(&dots[..pixels]) {
                    let at = p * codes + filter / PER_CODE;
                    let block = &blocks[filter / FILTERS];
                    block.write(instructions, dots, &mut out[at..(p + 1) * codes]);
                }
            }),
            Some(windows) => {
                let width = blocks.len() * FILTERS;
                let plane = g.out_plane() * width;
                sums.resize(x.len() / (g.height * g.width * plan.codes) * plane, 0);
                plan.run(x, scratch, |[_, filter, _], pixel, pixels, dots| {
                    for (p, dots) in (pixel..).zip(&dots[..pixels]) {
                        sums[p * width + filter..][..FILTERS].copy_from_slice(dots);
                    }
                });
                for (sums, out) in sums.chunks_exact(plane).zip(out.chunks_exact_mut(image)) {
                    pool(g.out_width, sums, windows, &blocks, instructions, out);
                }
            }
        },
    );
    out
}

/// The largest sums of each window, of sums `[OH, OW, blocks, 32]`, binarised.
fn pool(
    width: usize,
    sums: &[i16],
    windows: &PoolWindows,
    blocks: &[Block],
    instructions: Instructions,
    out: &mut [u8],
) {
    let filters = blocks.len() * FILTERS;
    let positions = windows.rows.iter();
    let positions = positions.flat_map(|y| windows.columns.iter().map(move |x| (y, x)));
    let codes = out.len() / (windows.rows.len() * windows.columns.len()).max(1);
    for ((rows, columns), to) in positions.zip(out.chunks_exact_mut(codes)) {
        for (i, block) in blocks.iter().enumerate() {
            let mut most = [i16::MIN; FILTERS];
            for y in rows {
                for x in columns {
                    let sums = &sums[(y * width + x) * filters + i * FILTERS..];
                    if let Some(sums) = sums.first_chunk::<FILTERS>() {
                        most = std::array::from_fn(|l| most[l].max(sums[l]));
                    }
                }
            }
            block.write(instructions, &most, &mut to[i * CODES..]);
        }
    }
}

fn check(g: &ConvGeometry, x: &Codes) {
    let expected = [g.batch, g.channels, g.height, g.width];
    assert_eq!(x.shape(), expected, "packed activations of a convolution");
}
