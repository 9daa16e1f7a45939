//! The gradient with respect to a convolution's input: a row for each pixel, a lane for each channel.

use rayon::prelude::*;

use super::super::ConvGeometry;
use super::super::direct::{places, planes_of};
use super::super::grid::Grid;
use super::super::panel::Panel;
use super::super::transpose::transpose_words;
use super::round::{Plane, round_four, scales, seed};
use super::tile::{LANES, Signed};
use super::{Rounded, images};
use crate::autograd::parallel::wide;

/// Bytes of a word: filters that a step sums over.
const BYTES: usize = 4;

/// What a task works with.
#[derive(Default)]
struct Scratch {
    /// Rounded gradients of an image, `[⌈O/4⌉, plane]`, four filters a word.
    words: Vec<u32>,
    /// Those of some images in the grid, `[images, grid, ⌈O/4⌉]`.
    left: Vec<u32>,
    /// Their sums over all filters: of an image, and in the grid.
    sums: Vec<i32>,
    grid_sums: Vec<i32>,
    /// What each image's rounded gradients stand for.
    units: Vec<f32>,
    /// Sums over all filters and kernel positions, of each pixel of the input.
    windows: Vec<i32>,
    /// Results, `[pixels, channels]`.
    products: Vec<i32>,
    floats: Vec<f32>,
}

/// The signs of a layer's weights as the gradient of its input reads them.
#[derive(Debug, Clone)]
pub struct SignBytes {
    /// Plus one, `[kH·kW · ⌈O/4⌉, C]`, four filters a word.
    panel: Panel<u32>,
    sizes: [usize; 4],
}

impl SignBytes {
    fn sizes(g: &ConvGeometry) -> [usize; 4] {
        [g.channels, g.filters, g.kernel[0], g.kernel[1]]
    }

    /// Of `signs` `[O, C, kH, kW]`, each -1, 0 or +1.
    ///
    /// # Panics
    /// If there are not as many as the geometry says.
    pub fn new(g: &ConvGeometry, signs: &[f32]) -> Self {
        let sizes @ [channels, filters, kh, kw] = Self::sizes(g);
        let (taps, groups) = (kh * kw, filters.div_ceil(BYTES));
        assert_eq!(signs.len(), channels * filters * taps, "signs");
        let mut panel = Panel::default();
        panel.resize(taps * groups, channels);
        let blocks: Vec<&mut [u32]> = panel.blocks_mut().collect();
        blocks.into_par_iter().enumerate().for_each(|(b, words)| {
            words.fill(0);
            for (lane, c) in (b * LANES..channels).take(LANES).enumerate() {
                for o in 0..filters {
                    let from = &signs[(o * channels + c) * taps..][..taps];
                    let to = words[o / BYTES * LANES + lane..].iter_mut();
                    for (word, sign) in to.step_by(groups * LANES).zip(from) {
                        *word |= ((sign + 1.0) as u32) << (8 * (o % BYTES));
                    }
                }
            }
        });
        Self { panel, sizes }
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
        let plane = g.height * g.width;
        let image = g.channels * plane;
        assert_eq!(out.len(), g.batch * image, "gradient of the input");
        if image == 0 {
            return;
        }
        let grid = Grid::of_output(g);
        let groups = g.filters.div_ceil(BYTES);
        let sources = grid.sources(g);
        let offsets: Vec<u32> = (sources.iter())
            .flat_map(|s| (0..groups).map(move |o| ((s * groups + o) * BYTES) as u32))
            .collect();
        let count = images(plane);
        let places = places(count, [g.height, g.width], [1, 1], grid, groups * BYTES);
        out.par_chunks_mut(count * image).enumerate().for_each_init(
            Scratch::default,
            |scratch, (i, out)| {
                let images = out.len() / image;
                self.fill(i * count, images, scale, grid, scratch);
                windows(g, images, (grid, &sources), scratch);
                let Scratch {
                    left,
                    units,
                    windows,
                    products,
                    floats,
                    ..
                } = scratch;
                let width = g.channels.next_multiple_of(LANES);
                let rows = &places[..images * plane];
                products.clear();
                products.resize(rows.len() * width, 0);
                let left = (bytes(left), rows, &offsets[..]);
                self.instructions
                    .add(Signed::Left, left, &signs.panel, products);
                floats.resize(products.len(), 0.0);
                let rows = floats.chunks_exact_mut(width);
                let found = products.chunks_exact(width).zip(&*windows);
                for (p, (row, (sums, &window))) in rows.zip(found).enumerate() {
                    let unit = units[p / plane];
                    // Weights were one too large: each gradient was counted once too often.
                    let pairs = row.iter_mut().zip(sums);
                    wide(move || pairs.for_each(|(to, sum)| *to = (sum - window) as f32 * unit));
                }
                planes_of(floats, width, g.channels, plane, out);
            },
        );
    }

    /// Rounds the gradients of `count` images into the grid, their filters' scales included.
    fn fill(&self, first: usize, count: usize, scale: &[f32], grid: Grid, scratch: &mut Scratch) {
        let g = &self.g;
        let (plane, groups) = (g.out_plane(), g.filters.div_ceil(BYTES));
        let Scratch {
            words,
            left,
            sums,
            grid_sums,
            units,
            ..
        } = scratch;
        left.clear();
        left.resize(count * grid.area() * groups, 0);
        grid_sums.clear();
        grid_sums.resize(count * grid.area(), 0);
        words.resize(groups * plane, 0);
        units.clear();
        for n in 0..count {
            let filters = 0..g.filters;
            let sizes = filters.map(|o| self.largest(first + n, o) * scale[o].abs());
            let (factor, unit) = scales(sizes.fold(0.0, f32::max));
            units.push(unit);
            sums.clear();
            sums.resize(plane, 0);
            for (group, words) in words.chunks_exact_mut(plane).enumerate() {
                let four = std::array::from_fn(|i| {
                    let o = group * BYTES + i;
                    (o < g.filters).then(|| Plane {
                        x: self.plane(first + n, o),
                        // Not finite where all gradients of a large scale are 0.
                        factor: Some(factor * scale[o])
                            .filter(|f| f.is_finite())
                            .unwrap_or(0.0),
                        seed: seed(first + n, o),
                    })
                });
                round_four(four, words, Some(sums));
            }
            let start = n * grid.area() + grid.top * grid.width + grid.left;
            for y in 0..g.out_height {
                let (at, line) = (start + y * grid.width, y * g.out_width);
                let from = (&words[line..], plane);
                let to = (&mut left[at * groups..], groups);
                transpose_words([groups, g.out_width], from, to);
                grid_sums[at..at + g.out_width].copy_from_slice(&sums[line..][..g.out_width]);
            }
        }
    }
}

/// Sums over all filters and kernel positions.
fn windows(
    g: &ConvGeometry,
    count: usize,
    (grid, sources): (Grid, &[usize]),
    Scratch {
        grid_sums, windows, ..
    }: &mut Scratch,
) {
    windows.clear();
    windows.resize(count * g.height * g.width, 0);
    for (i, line) in windows.chunks_exact_mut(g.width).enumerate() {
        let at = i / g.height * grid.area() + i % g.height * grid.width;
        for s in sources {
            let pairs = line.iter_mut().zip(&grid_sums[at + s..]);
            pairs.for_each(|(to, sum)| *to += sum);
        }
    }
}

/// Words as their bytes, the lowest first.
fn bytes(words: &[u32]) -> &[u8] {
    const { assert!(cfg!(target_endian = "little")) };
    // SAFETY: every four bytes of a word are four initialised bytes, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), words.len() * BYTES) }
}
