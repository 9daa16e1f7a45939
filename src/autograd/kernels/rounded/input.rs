//! The gradient with respect to a convolution's input.

use rayon::prelude::*;

use super::super::ConvGeometry;
use super::super::grid::Grid;
use super::round::{round, scales, seed};
use super::tile::{LANES, Operands, ROWS, Sums, VECTORS, Walk};
use super::{Rounded, images};
use crate::autograd::parallel::wide;

/// Bytes of a word: filters that a step sums over.
const BYTES: usize = 4;

/// What a task works with.
#[derive(Default)]
struct Scratch {
    /// Rounded gradients of some images, `[⌈O/4⌉, images, grid]`, four filters a word.
    words: Vec<u32>,
    /// Their sums over all filters, `[images, grid]`.
    sums: Vec<i32>,
    /// Rounded planes of four filters.
    planes: [Vec<i32>; BYTES],
    /// What each image's rounded gradients stand for.
    units: Vec<f32>,
    /// Sums over all filters and kernel positions, of each input pixel in the grid.
    windows: Vec<i32>,
    /// Results of some channels in the grid.
    lines: Vec<i32>,
}

/// The signs of a layer's weights plus one, `[C, ⌈O/4⌉, kH·kW, 4]`.
#[derive(Debug, Clone)]
pub struct SignBytes {
    data: Vec<u8>,
    sizes: [usize; 3],
}

impl SignBytes {
    /// Channels, filters and positions of the kernel.
    fn sizes(g: &ConvGeometry) -> [usize; 3] {
        [g.channels, g.filters, g.kernel[0] * g.kernel[1]]
    }

    /// Of `signs` `[O, C, kH, kW]`, each -1, 0 or +1.
    ///
    /// # Panics
    /// If there are not as many as the geometry says.
    pub fn new(g: &ConvGeometry, signs: &[f32]) -> Self {
        let sizes @ [channels, filters, taps] = Self::sizes(g);
        assert_eq!(signs.len(), sizes.iter().product::<usize>(), "signs");
        let row = filters.div_ceil(BYTES) * taps * BYTES;
        let mut data = vec![0; channels * row];
        data.par_chunks_mut(row.max(1))
            .enumerate()
            .for_each(|(c, bytes)| {
                for o in 0..filters {
                    let from = &signs[(o * channels + c) * taps..][..taps];
                    let to = &mut bytes[o / BYTES * taps * BYTES + o % BYTES..];
                    for (to, sign) in to.iter_mut().step_by(BYTES).zip(from) {
                        *to = (sign + 1.0) as u8;
                    }
                }
            });
        Self { data, sizes }
    }
}

impl Rounded<'_> {
    /// The gradient of the input, `[N, C, H, W]`, for a layer with weights `scale · sign`; `scale`
    /// `[O]`.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says, or the signs are of another one.
    pub fn input(&self, signs: &SignBytes, scale: &[f32], out: &mut [f32]) {
        let g = &self.g;
        assert_eq!(signs.sizes, SignBytes::sizes(g), "signs");
        assert_eq!(scale.len(), g.filters, "scales");
        let image = g.channels * g.height * g.width;
        assert_eq!(out.len(), g.batch * image, "gradient of the input");
        if image == 0 {
            return;
        }
        let count = images(g);
        out.par_chunks_mut(count * image)
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (i, out)| {
                self.images(i * count, scale, &signs.data, scratch, out)
            });
    }

    /// The images from `first` on that `out` has room for.
    fn images(
        &self,
        first: usize,
        scale: &[f32],
        weights: &[u8],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let g = &self.g;
        let grid = Grid::of_output(g);
        let image = g.channels * g.height * g.width;
        let count = out.len() / image;
        self.fill(first, count, scale, grid, scratch);
        let sources = grid.sources(g);
        let row = count * grid.area();
        let groups = g.filters.div_ceil(BYTES);
        let offsets = (0..groups).flat_map(|o| sources.iter().map(move |s| (o * row + s) as u32));
        let walk = Walk::new(offsets.collect(), 1, [0, 0]);
        // From the first pixel of the first image to the last of the last one.
        let len = row - grid.area() + (g.height - 1) * grid.width + g.width;
        let Scratch {
            words,
            sums,
            units,
            windows,
            lines,
            ..
        } = scratch;
        windows.clear();
        windows.resize(len, 0);
        for &s in &sources {
            let pairs = windows.iter_mut().zip(&sums[s..s + len]);
            wide(|| pairs.for_each(|(w, s)| *w += *s));
        }
        let line = len.next_multiple_of(LANES);
        lines.resize(ROWS * line, 0);
        let bytes = walk.left_len();
        let mut tile = Sums::default();
        for c in (0..g.channels).step_by(ROWS) {
            // What is missing in the last block is computed like its first channel.
            let channels = (g.channels - c).min(ROWS);
            let rows: [usize; ROWS] =
                std::array::from_fn(|r| (c + if r < channels { r } else { 0 }) * bytes);
            for base in (0..line).step_by(VECTORS * LANES) {
                let vectors = ((line - base) / LANES).min(VECTORS);
                let operands = Operands {
                    left: weights,
                    rows,
                    right: words,
                    base,
                };
                self.instructions.tile(operands, &walk, vectors, &mut tile);
                for (line, tile) in lines.chunks_exact_mut(line).zip(&tile).take(channels) {
                    let (to, _) = line[base..].as_chunks_mut::<LANES>();
                    to.iter_mut()
                        .zip(&tile[..vectors])
                        .for_each(|(to, tile)| *to = *tile);
                }
            }
            for (n, (out, unit)) in out.chunks_exact_mut(image).zip(&*units).enumerate() {
                let planes = out[c * g.height * g.width..].chunks_exact_mut(g.height * g.width);
                for (line, plane) in lines.chunks_exact(line).zip(planes).take(channels) {
                    for (y, out) in plane.chunks_exact_mut(g.width).enumerate() {
                        let at = n * grid.area() + y * grid.width;
                        let found = line[at..].iter().zip(&windows[at..]);
                        // Weights were one too large: each gradient was counted once too often.
                        let pairs = out.iter_mut().zip(found);
                        wide(|| {
                            pairs.for_each(|(out, (sum, window))| {
                                *out = (sum - window) as f32 * unit
                            });
                        });
                    }
                }
            }
        }
    }

    /// Rounds the gradients of `count` images into the grid, their filters' scales included.
    fn fill(&self, first: usize, count: usize, scale: &[f32], grid: Grid, scratch: &mut Scratch) {
        let g = &self.g;
        let row = count * grid.area();
        let Scratch {
            words,
            sums,
            planes,
            units,
            ..
        } = scratch;
        words.clear();
        words.resize(g.filters.div_ceil(BYTES) * row + VECTORS * LANES, 0);
        sums.clear();
        sums.resize(row, 0);
        units.clear();
        for n in 0..count {
            let filters = 0..g.filters;
            let sizes = filters.map(|o| self.largest(first + n, o) * scale[o].abs());
            let (factor, unit) = scales(sizes.fold(0.0, f32::max));
            units.push(unit);
            for group in 0..g.filters.div_ceil(BYTES) {
                for (i, plane) in planes.iter_mut().enumerate() {
                    let o = group * BYTES + i;
                    plane.clear();
                    plane.resize(g.out_plane(), 0);
                    if o < g.filters {
                        let grad = self.plane(first + n, o);
                        round(grad, factor * scale[o], seed(first + n, o), plane);
                    }
                }
                let at = n * grid.area() + grid.top * grid.width + grid.left;
                for y in 0..g.out_height {
                    let at = at + y * grid.width;
                    let words = &mut words[group * row + at..][..g.out_width];
                    let sums = &mut sums[at..][..g.out_width];
                    let [a, b, c, d] = &planes;
                    let line = y * g.out_width..(y + 1) * g.out_width;
                    let four = a[line.clone()].iter().zip(&b[line.clone()]);
                    let four = four.zip(&c[line.clone()]).zip(&d[line]);
                    let pairs = words.iter_mut().zip(sums).zip(four);
                    wide(|| {
                        for ((word, sum), (((a, b), c), d)) in pairs {
                            let byte = |q: &i32| (*q as u32) & 0xff;
                            *word = byte(a) | byte(b) << 8 | byte(c) << 16 | byte(d) << 24;
                            *sum += a + b + c + d;
                        }
                    });
                }
            }
        }
    }
}
