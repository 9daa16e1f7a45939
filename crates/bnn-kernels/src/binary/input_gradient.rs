//! The gradient with respect to a binary layer's input, from tables of sums (see `sum_tables`): there is a
//! table for each five filters, and what is looked up are vectors of pixels.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::sum_tables::aligned::Aligned;
use super::sum_tables::layout::{Layout, Tap};
use super::sum_tables::lookup::{Offsets, PlaneTerms, ROWS};
use super::sum_tables::{FILTERS_PER_TABLE, TableEntry, equal_parts, equal_parts_mut};
use crate::ConvGeometry;
use crate::parallel::map_vectors;
use crate::simd::Instructions;
use crate::simd::wide;

/// Fewer uses are not worth a table.
const LEAST_USES: usize = 24;
/// Sums of so many numbers with signs.
const SUMS: usize = 1 << FILTERS_PER_TABLE;

/// The output's gradient of some images, in groups of filters that share a table.
pub(super) trait InputGradientSource: Sync {
    /// What tables of it hold.
    type Entry: TableEntry;
    /// The images `first..first + count` on their own.
    type Block;

    /// The images themselves, by number.
    fn block(&self, images: Range<usize>) -> Self::Block;

    /// Writes the numbers of image `n` of the block from `start` on in the planes of the filters of
    /// `group`, with their scales. Those of filters that there are not stay as they are.
    fn read(
        &self,
        block: &Self::Block,
        n: usize,
        group: usize,
        start: usize,
        to: [&mut [Self::Entry]; FILTERS_PER_TABLE],
    );

    /// The gradient that a 1 of image `n` of the block stands for.
    fn unit(&self, block: &Self::Block, n: usize) -> f32;
}

/// Gradients of some images, which a task brings to the input.
struct Block<'a, G: InputGradientSource> {
    grad: &'a G,
    /// What the gradients have of these images.
    block: &'a G::Block,
    /// How many there are.
    images: usize,
}

/// The signs of a layer's weights as the gradient of its input reads them: with `E` = `f32` from gradients
/// in single precision, with `i16` from rounded ones ([`RoundedGradient`](super::RoundedGradient)).
///
/// They are made once for weights and geometry, and serve any number of batches of that size.
#[derive(Debug)]
pub struct InputSigns<E> {
    layout: Layout,
    /// For each block of filters and each phase `[⌈C/4⌉, terms, 4]`.
    offsets: Offsets,
    /// Where those of each block and phase lie.
    ranges: Vec<Range<usize>>,
    sizes: [usize; 2],
    instructions: Instructions,
    entry: PhantomData<E>,
}

impl<E: TableEntry> InputSigns<E> {
    /// The signs of `weight` `[O, C, kH, kW]`. `None` if one is 0 or NaN, or tables are not worth it for this
    /// geometry: then [`crate::float::conv_backward_input`] computes the gradient.
    ///
    /// # Panics
    /// If there are more or fewer weights than the geometry says.
    pub fn new(g: &ConvGeometry, weight: &[f32]) -> Option<Self> {
        let taps = g.kernel[0] * g.kernel[1];
        let worth = g.channels * taps >= LEAST_USES * g.stride[0] * g.stride[1];
        match worth
            && weight
                .iter()
                .fold(true, |all, &w| all & ((w > 0.0) | (w < 0.0)))
        {
            true => Self::of(g, weight),
            false => None,
        }
    }

    /// [`Self::new`], worth it or not.
    pub(super) fn of(g: &ConvGeometry, weight: &[f32]) -> Option<Self> {
        let layout = Layout::new::<E>(g)?;
        let (c, o, taps) = (g.channels, g.filters, g.kernel[0] * g.kernel[1]);
        assert_eq!(weight.len(), c * o * taps, "weights");
        let table = layout.table::<E>();
        u32::try_from(table).ok()?;
        let fours = c.div_ceil(ROWS);
        let groups = o.div_ceil(FILTERS_PER_TABLE);
        let (mut ranges, mut jobs, mut end) = (Vec::new(), Vec::new(), 0);
        for first in (0..groups).step_by(layout.groups) {
            let block = first..(first + layout.groups).min(groups);
            for phase in &layout.phases {
                let size = fours * block.len() * phase.taps.len() * ROWS;
                ranges.push(end..end + size);
                jobs.push((block.clone(), &phase.taps[..], size));
                end += size;
            }
        }
        let mut offsets = vec![0u32; end];
        let mut rest = &mut offsets[..];
        let mut tasks = Vec::with_capacity(jobs.len());
        for (block, taps, size) in jobs {
            let (part, others) = rest.split_at_mut(size);
            rest = others;
            tasks.push((block, taps, part));
        }
        let sizes = [o, c];
        tasks.into_par_iter().for_each(|(block, phase, to)| {
            fill(&layout, weight, sizes, taps, block, phase, to);
        });
        Some(Self {
            layout,
            offsets: Offsets::new(offsets),
            ranges,
            sizes,
            instructions: Instructions::detect(),
            entry: PhantomData,
        })
    }

    #[cfg(test)]
    pub(super) fn with(mut self, instructions: Instructions) -> Self {
        self.instructions = instructions;
        self
    }

    /// The gradient of the input, `[N, C, H, W]`.
    ///
    /// # Panics
    /// If it has another size than the geometry says, or the signs are of another one.
    pub(super) fn gradient_of<G: InputGradientSource<Entry = E>>(
        &self,
        g: &ConvGeometry,
        grad: &G,
        out: &mut [f32],
    ) {
        let image = g.channels * g.height * g.width;
        assert_eq!(self.sizes, [g.filters, g.channels], "signs");
        assert_eq!(out.len(), g.batch * image, "gradient of the input");
        let images = self.layout.images;
        out.par_chunks_mut(images * image)
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (i, out)| {
                let count = out.len() / image;
                let block = Block {
                    grad,
                    block: &grad.block(i * images..i * images + count),
                    images: count,
                };
                let [height, width] = self.layout.size;
                for y in (0..height).step_by(self.layout.tile[0]) {
                    for x in (0..width).step_by(self.layout.tile[1]) {
                        self.tile(&block, [y, x], scratch, out);
                    }
                }
            });
    }

    fn tile<G: InputGradientSource<Entry = E>>(
        &self,
        block: &Block<'_, G>,
        at: [usize; 2],
        scratch: &mut Scratch<E>,
        out: &mut [f32],
    ) {
        let layout = &self.layout;
        let [filters, channels] = self.sizes;
        let groups = filters.div_ceil(FILTERS_PER_TABLE);
        let pixels = layout.starts.len() * E::LANES / 2;
        let size = channels.next_multiple_of(ROWS) * pixels;
        scratch.sums.resize(layout.phases.len() * size, 0.0);
        scratch.table.resize(layout.table::<E>(), E::default());
        scratch
            .planes
            .resize(FILTERS_PER_TABLE * layout.plane(), E::default());
        let mut ranges = self.ranges.iter();
        for first in (0..groups).step_by(layout.groups) {
            let some = first..(first + layout.groups).min(groups);
            wide(
                #[inline(always)]
                || self.tables(block, at, some.clone(), scratch),
            );
            let sums = scratch.sums.slice_mut().chunks_exact_mut(size);
            for ((phase, sums), part) in layout.phases.iter().zip(sums).zip(&mut ranges) {
                let terms = PlaneTerms {
                    offsets: &self.offsets,
                    part: part.clone(),
                    terms: some.len() * phase.taps.len(),
                    starts: &layout.starts,
                };
                self.instructions
                    .planes(scratch.table.slice(), &terms, first == 0, sums);
            }
        }
        let unit = |n| block.grad.unit(block.block, n);
        let units: Vec<f32> = (0..block.images).map(unit).collect();
        wide(
            #[inline(always)]
            || self.write(scratch.sums.slice(), pixels, at, &units, out),
        );
    }

    /// The tables of some groups of filters.
    #[inline(always)]
    fn tables<G: InputGradientSource<Entry = E>>(
        &self,
        block: &Block<'_, G>,
        at: [usize; 2],
        groups: Range<usize>,
        Scratch { table, planes, .. }: &mut Scratch<E>,
    ) {
        let layout = &self.layout;
        let plane = layout.plane();
        let planes = planes.slice_mut();
        let mut tables = table.slice_mut().chunks_exact_mut(SUMS * plane);
        for group in groups {
            for &copy in &layout.copies {
                let Some(table) = tables.next() else {
                    return;
                };
                planes.fill(E::default());
                let some = equal_parts_mut(planes);
                read_planes(layout, block, at, group, copy, some);
                self.instructions
                    .combine(equal_parts::<FILTERS_PER_TABLE, _>(planes), table);
            }
        }
    }

    /// Brings a tile's sums to where they belong.
    #[inline(always)]
    fn write(
        &self,
        sums: &[f32],
        pixels: usize,
        [y0, x0]: [usize; 2],
        units: &[f32],
        out: &mut [f32],
    ) {
        let layout = &self.layout;
        let ([height, width], [sy, sx]) = (layout.to, layout.stride);
        let plane = height * width;
        let size = sums.len() / layout.phases.len();
        for (phase, sums) in layout.phases.iter().zip(sums.chunks_exact(size)) {
            let [y, x] = phase.at;
            let rows = layout.tile[0].min(height.saturating_sub(y).div_ceil(sy).saturating_sub(y0));
            let columns =
                layout.tile[1].min(width.saturating_sub(x).div_ceil(sx).saturating_sub(x0));
            for (n, &unit) in units.iter().enumerate() {
                for c in 0..self.sizes[1] {
                    let out = &mut out[(n * self.sizes[1] + c) * plane..][..plane];
                    let sums = &sums[c * pixels + n * layout.pitch[1]..];
                    for r in 0..rows {
                        let from = &sums[r * layout.pitch[0]..][..columns];
                        let to = &mut out[((y0 + r) * sy + y) * width + x0 * sx + x..];
                        if sx == 1 {
                            to.iter_mut().zip(from).for_each(|(to, v)| *to = v * unit);
                        } else {
                            let to = to.iter_mut().step_by(sx);
                            to.zip(from).for_each(|(to, v)| *to = v * unit);
                        }
                    }
                }
            }
        }
    }
}

/// What a task works with.
#[derive(Default)]
struct Scratch<E: TableEntry> {
    table: Aligned<E>,
    planes: Aligned<E>,
    sums: Aligned<f32>,
}

/// The gradients of a group of filters as the tile at that place reads them; what there is none of
/// stays as it is.
#[inline(always)]
fn read_planes<G: InputGradientSource>(
    layout: &Layout,
    block: &Block<'_, G>,
    [y0, x0]: [usize; 2],
    group: usize,
    copy: isize,
    mut to: [&mut [G::Entry]; FILTERS_PER_TABLE],
) {
    let [height, width] = layout.from;
    let left = x0 as isize + copy;
    let skip = left.min(0).unsigned_abs();
    let columns = (width as isize - left).clamp(0, layout.cell as isize) as usize;
    if skip >= columns {
        return;
    }
    for r in 0..layout.table_rows {
        let y = (y0 + r) as isize + layout.top;
        if y < 0 || y >= height as isize {
            continue;
        }
        let start = (y * width as isize + left + skip as isize) as usize;
        for n in 0..block.images {
            let at = r * layout.row + n * layout.cell;
            let range = at + skip..at + columns;
            let to = to.each_mut().map(|to| &mut to[range.clone()]);
            block.grad.read(block.block, n, group, start, to);
        }
    }
}

/// The offsets of some filters and a phase, `[⌈C/4⌉, filters/4 · taps, 4]`.
fn fill(
    layout: &Layout,
    weight: &[f32],
    [filters, channels]: [usize; 2],
    taps: usize,
    groups: Range<usize>,
    phase: &[Tap],
    to: &mut [u32],
) {
    let (plane, terms) = (layout.plane(), groups.len() * phase.len());
    for (i, group) in groups.enumerate() {
        let joined: [&[f32]; FILTERS_PER_TABLE] = std::array::from_fn(|k| {
            let o = (group * FILTERS_PER_TABLE + k).min(filters - 1);
            &weight[o * channels * taps..][..channels * taps]
        });
        for (t, tap) in phase.iter().enumerate() {
            let table = (i * layout.copies.len() + tap.copy) * SUMS;
            for c in 0..channels {
                let at = c * taps + tap.position;
                let bits = joined.iter().enumerate();
                let sum = bits.fold(0, |sum, (k, w)| sum | usize::from(w[at] >= 0.0) << k);
                let offset = (table + sum) * plane + tap.offset;
                to[(c / ROWS * terms + i * phase.len() + t) * ROWS + c % ROWS] = offset as u32;
            }
        }
    }
}

impl InputSigns<f32> {
    /// Writes the gradient of the input, `[N, C, H, W]`, from that of the output, `[N, O, OH, OW]`, for a
    /// layer with weights `scale · sign`; `scale` `[O]`.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says, or the signs are of another one.
    pub fn gradient(&self, g: &ConvGeometry, grad: &[f32], scale: &[f32], grad_x: &mut [f32]) {
        self.gradient_of(g, &ScaledGradient::new(g, grad, scale), grad_x);
    }
}

/// Gradients in single precision, each filter's times its scale.
#[derive(Debug)]
struct ScaledGradient<'a> {
    g: ConvGeometry,
    grad: &'a [f32],
    scale: &'a [f32],
}

impl<'a> ScaledGradient<'a> {
    /// Of `grad` `[N, O, OH, OW]` and `scale` `[O]`.
    ///
    /// # Panics
    /// If one has another size than the geometry says.
    fn new(g: &ConvGeometry, grad: &'a [f32], scale: &'a [f32]) -> Self {
        assert_eq!(
            grad.len(),
            g.batch * g.filters * g.out_plane(),
            "gradient of the output"
        );
        assert_eq!(scale.len(), g.filters, "scales");
        Self { g: *g, grad, scale }
    }
}

impl InputGradientSource for ScaledGradient<'_> {
    type Entry = f32;
    type Block = usize;

    fn block(&self, images: Range<usize>) -> usize {
        images.start
    }

    #[inline(always)]
    fn read(
        &self,
        first: &usize,
        n: usize,
        group: usize,
        start: usize,
        to: [&mut [f32]; FILTERS_PER_TABLE],
    ) {
        let plane = self.g.out_plane();
        let filters = group * FILTERS_PER_TABLE..self.g.filters;
        for (o, to) in filters.zip(to) {
            let from = &self.grad[((first + n) * self.g.filters + o) * plane + start..][..to.len()];
            let scale = self.scale[o];
            map_vectors(from, to, |x| x * scale);
        }
    }

    fn unit(&self, _: &usize, _: usize) -> f32 {
        1.0
    }
}
