//! Unfolding images into columns and back.

use std::ops::Range;

use crate::ConvGeometry;
use crate::simd::wide;

/// Along one axis, the outputs for which a kernel position lies inside the image, and where.
struct Overlap {
    /// First output inside.
    first: usize,
    /// End of the outputs inside.
    end: usize,
    /// Input position of the first output.
    input: usize,
}

impl Overlap {
    /// Of the kernel position at `offset` along `axis` (0 vertical, 1 horizontal).
    fn new(g: &ConvGeometry, axis: usize, offset: usize) -> Self {
        let (out, size) = match axis {
            0 => (g.out_height, g.height),
            _ => (g.out_width, g.width),
        };
        let (stride, begin, offset) = (g.stride[axis], g.pad[axis], offset * g.dilation[axis]);
        let first = begin.saturating_sub(offset).div_ceil(stride);
        // Input position of output o is o·stride + offset - begin; it must be below `size`.
        let end = match (size + begin).checked_sub(offset + 1) {
            Some(last) => (last / stride + 1).min(out),
            None => 0,
        };
        match first < end {
            true => Self {
                first,
                end,
                input: first * stride + offset - begin,
            },
            false => Self {
                first: 0,
                end: 0,
                input: 0,
            },
        }
    }

    fn len(&self) -> usize {
        self.end - self.first
    }
}

/// What one row of the column matrix (a channel of a group at one kernel position) takes from the
/// images: every row of outputs inside is a row of the image, from a column on, by the stride.
struct Taps<'g> {
    g: &'g ConvGeometry,
    /// Channel, counted over all groups.
    channel: usize,
    rows: Overlap,
    columns: Overlap,
}

impl<'g> Taps<'g> {
    fn new(g: &'g ConvGeometry, group: usize, row: usize) -> Self {
        let (c, ky, kx) = g.kernel_position(row);
        Self {
            g,
            channel: group * g.channels_per_group() + c,
            rows: Overlap::new(g, 0, ky),
            columns: Overlap::new(g, 1, kx),
        }
    }

    /// For each row of outputs inside, of image `b`: its place in the plane of outputs, and the row
    /// of the image that it takes, from the first column inside on, as a place in the batch.
    fn lines(&self, b: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let g = self.g;
        let plane = (b * g.channels + self.channel) * g.height * g.width;
        // Without columns inside, no line has anything to take.
        let rows = match self.columns.len() {
            0 => 0..0,
            _ => self.rows.first..self.rows.end,
        };
        rows.enumerate().map(move |(i, oy)| {
            let line = plane + (self.rows.input + i * g.stride[0]) * g.width;
            let outputs =
                oy * g.out_width + self.columns.first..oy * g.out_width + self.columns.end;
            (outputs, line + self.columns.input..line + g.width)
        })
    }
}

/// Writes the patches of `count` images' group `group` to `col`, `[C/g·kH·kW, count·OH·OW]`.
pub(super) fn im2col(g: &ConvGeometry, x: &[f32], count: usize, group: usize, col: &mut [f32]) {
    let p = g.out_plane();
    for (row, line) in col.chunks_exact_mut(count * p).enumerate() {
        let taps = Taps::new(g, group, row);
        for (b, out) in line.chunks_exact_mut(p).enumerate() {
            // What lies between two lines is outside of the image.
            let mut done = 0;
            for (outputs, inputs) in taps.lines(b) {
                out[done..outputs.start].fill(0.0);
                done = outputs.end;
                let (out, taken) = (&mut out[outputs], &x[inputs]);
                if g.stride[1] == 1 {
                    out.copy_from_slice(&taken[..out.len()]);
                } else {
                    let taken = taken.iter().step_by(g.stride[1]);
                    out.iter_mut().zip(taken).for_each(|(o, s)| *o = *s);
                }
            }
            out[done..].fill(0.0);
        }
    }
}

/// Adds the columns back to the images they were taken from: the transpose of [`im2col`].
pub(super) fn col2im(g: &ConvGeometry, col: &[f32], count: usize, group: usize, x: &mut [f32]) {
    let p = g.out_plane();
    for (row, line) in col.chunks_exact(count * p).enumerate() {
        let taps = Taps::new(g, group, row);
        for (b, source) in line.chunks_exact(p).enumerate() {
            for (outputs, inputs) in taps.lines(b) {
                let (source, out) = (&source[outputs], &mut x[inputs]);
                if g.stride[1] == 1 {
                    wide(|| out.iter_mut().zip(source).for_each(|(o, s)| *o += *s));
                } else {
                    let out = out.iter_mut().step_by(g.stride[1]);
                    out.zip(source).for_each(|(o, s)| *o += *s);
                }
            }
        }
    }
}
