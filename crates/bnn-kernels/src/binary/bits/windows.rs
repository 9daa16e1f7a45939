//! What a convolution's windows read, as rows of words.

use std::ops::Range;

use super::convolution::{BitConv, BitGeometry};
use super::tile::ROWS;
use super::{Bits, bytes_of};

/// Bytes that are copied at once where a run is short: as many are written behind it.
const SHORT: usize = 16;
/// Longer runs are copied as a whole.
const LONG: usize = 128;

/// Which of a kernel's positions along an axis lie in the image, for one position of the output.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The first, and one behind the last.
    inside: (usize, usize),
    /// Where the first lies in the image.
    at: usize,
}

/// The spans of an axis.
fn spans(out: usize, size: usize, g: &BitGeometry, axis: usize) -> Vec<Span> {
    let (kernel, dilation) = (g.kernel[axis], g.dilation[axis]);
    let spans = (0..out).map(|o| {
        let places = (0..kernel).map(|k| o * g.stride[axis] + k * dilation);
        let inside = |at: &usize| (g.pads[axis]..g.pads[axis] + size).contains(at);
        let before = places.clone().take_while(|at| *at < g.pads[axis]).count();
        let count = places.filter(inside).count();
        Span {
            inside: (before, before + count),
            at: (o * g.stride[axis] + before * dilation).saturating_sub(g.pads[axis]),
        }
    });
    spans.collect()
}

/// Where the windows of a convolution lie.
#[derive(Debug)]
pub(super) struct Places {
    rows: Vec<Span>,
    columns: Vec<Span>,
    kernel: [usize; 2],
    /// The first column whose windows lie in the image from left to right, and one behind the last.
    whole_columns: (usize, usize),
    /// Whether a row of a window is one run of bytes.
    is_run: bool,
}

impl Places {
    pub fn new(g: &BitGeometry, x: &Bits<'_>, [height, width]: [usize; 2]) -> Self {
        let columns = spans(width, x.width, g, 1);
        let whole = |span: &Span| span.inside == (0, g.kernel[1]);
        let first = columns.iter().position(whole).unwrap_or(width);
        let count = columns[first..]
            .iter()
            .take_while(|&span| whole(span))
            .count();
        Self {
            rows: spans(height, x.height, g, 0),
            columns,
            kernel: g.kernel,
            whole_columns: (first, first + count),
            is_run: g.dilation[1] == 1 || g.kernel[1] == 1,
        }
    }

    fn plane(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Whether windows of a row lie in the image from top to bottom, and are copied as they are.
    fn is_whole(&self, x: &Bits<'_>, row: usize) -> bool {
        x.planes == 1 && self.is_run && self.rows[row].inside == (0, self.kernel[0])
    }

    /// How many windows from `column` on, `most` at most, lie in the image from left to right.
    fn whole_columns(&self, column: usize, most: usize) -> usize {
        let (from, to) = self.whole_columns;
        match column >= from {
            true => to.saturating_sub(column).min(most),
            false => 0,
        }
    }
}

/// Some windows.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// `[pixel][word]`, and [`SHORT`] bytes.
    pub rows: Vec<u32>,
    /// Which bits count, laid out as the rows; only of tiles that are not whole.
    pub mask: Vec<u32>,
    /// How many bits count.
    pub whole: Vec<i32>,
    /// Of each [`ROWS`] windows whether all bits of all of them count.
    pub all: Vec<bool>,
}

/// Words as bytes.
fn bytes(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: any bytes are words and words any bytes, which need no alignment.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 4 * words.len()) }
}

impl Windows {
    /// The windows of some pixels, counted over all images; a multiple of [`ROWS`] of them, those that are too many
    /// being of no use.
    pub fn fill(&mut self, conv: &BitConv, x: &Bits<'_>, places: &Places, pixels: Range<usize>) {
        let count = pixels.len().next_multiple_of(ROWS);
        let room = count * conv.words + SHORT / 4;
        // What was there is written over: all that is read of it.
        self.rows.resize(room, 0);
        self.whole.clear();
        self.all.clear();
        let (columns, plane) = (places.columns.len(), places.plane());
        let mut image = pixels.start / plane;
        let mut row = pixels.start % plane / columns;
        let mut column = pixels.start % columns;
        // Windows from here on have masks.
        let mut masked: Option<usize> = None;
        let mut i = 0;
        while i < pixels.len() {
            let left = (pixels.len() - i).min(columns - column);
            let run = match places.is_whole(x, row) {
                true => places.whole_columns(column, left),
                false => 0,
            };
            if run > 0 {
                self.run(conv, x, image, [row, column], run, i);
                (i, column) = (i + run, column + run);
            } else {
                if masked.is_none() {
                    // Those before it, in its tile too.
                    self.mask.clear();
                    self.mask.resize(room, u32::MAX);
                    masked = Some(i);
                }
                let spans = [places.rows[row], places.columns[column]];
                let is_whole = self.window(conv, x, image, spans, i);
                self.note(i, is_whole);
                (i, column) = (i + 1, column + 1);
            }
            if column == columns {
                (column, row) = (0, row + 1);
                if row == places.rows.len() {
                    (row, image) = (0, image + 1);
                }
            }
        }
        self.all.resize(count / ROWS, true);
        self.whole.resize(count, 0);
    }

    /// Says of a tile whether it is whole.
    fn note(&mut self, i: usize, is_whole: bool) {
        self.all.resize(self.all.len().max(i / ROWS + 1), true);
        self.all[i / ROWS] &= is_whole;
    }

    /// Windows that lie in the image, next to each other, of one plane.
    fn run(
        &mut self,
        conv: &BitConv,
        x: &Bits<'_>,
        image: usize,
        [row, column]: [usize; 2],
        count: usize,
        i: usize,
    ) {
        let &BitConv { ref g, words, .. } = conv;
        let side = bytes_of(g.channels);
        let image = &x.bytes[image * x.image()..][..x.image()];
        let [kh, kw] = g.kernel;
        let at = |axis: usize, o: usize| o * g.stride[axis] - g.pads[axis];
        let start = (at(0, row) * x.width + at(1, column)) * side;
        let (across, down) = (g.stride[1] * side, g.dilation[0] * x.width * side);
        let run = kw * side;
        let rest = 4 * words - kh * run;
        let to = &mut bytes(&mut self.rows)[4 * i * words..];
        for p in 0..count {
            let to = &mut to[4 * p * words..];
            for ky in 0..kh {
                copy(
                    &image[start + p * across + ky * down..],
                    &mut to[ky * run..],
                    run,
                );
            }
            for b in &mut to[kh * run..][..rest] {
                *b = 0;
            }
        }
        let whole = (g.channels * kh * kw) as i32;
        self.whole.resize(i + count, whole);
    }

    /// One window; whether all its bits count.
    fn window(
        &mut self,
        conv: &BitConv,
        x: &Bits<'_>,
        image: usize,
        [rows, columns]: [Span; 2],
        i: usize,
    ) -> bool {
        let &BitConv { ref g, words, .. } = conv;
        let (side, pixel) = (bytes_of(g.channels), x.pixel());
        let image = &x.bytes[image * x.image()..][..x.image()];
        let [kh, kw] = g.kernel;
        let is_whole = x.planes == 1 && rows.inside == (0, kh) && columns.inside == (0, kw);
        let to = &mut bytes(&mut self.rows)[4 * i * words..];
        let start = (rows.at * x.width + columns.at) * pixel;
        let down = g.dilation[0] * x.width * pixel;
        let to = &mut to[..4 * words];
        let mask = &mut bytes(&mut self.mask)[4 * i * words..][..4 * words];
        to.fill(0);
        mask.fill(0);
        let (left, right) = columns.inside;
        // Beside the image there is nothing to copy from.
        let down_to = if left == right {
            rows.inside.0
        } else {
            rows.inside.1
        };
        for (step, ky) in (rows.inside.0..down_to).enumerate() {
            let from = start + step * down;
            let first = (ky * kw + left) * side;
            if x.planes == 1 && g.dilation[1] == 1 {
                let run = (right - left) * side;
                to[first..first + run].copy_from_slice(&image[from..from + run]);
                mask[first..first + run].fill(u8::MAX);
                continue;
            }
            for k in 0..right - left {
                let (from, at) = (from + k * g.dilation[1] * pixel, first + k * side);
                to[at..at + side].copy_from_slice(&image[from..from + side]);
                match x.planes {
                    1 => mask[at..at + side].fill(u8::MAX),
                    _ => mask[at..at + side].copy_from_slice(&image[from + side..from + 2 * side]),
                }
            }
        }
        self.whole.push(match x.planes {
            1 => (g.channels * (rows.inside.1 - rows.inside.0) * (right - left)) as i32,
            _ => {
                let (eights, rest) = mask.as_chunks::<8>();
                let ones = eights.iter().map(|b| u64::from_ne_bytes(*b).count_ones());
                let rest = rest.iter().map(|b| b.count_ones());
                ones.chain(rest).sum::<u32>() as i32
            }
        });
        is_whole
    }
}

/// Copies a run; what follows it in `to` may be written over.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8], run: usize) {
    let room = run.next_multiple_of(SHORT);
    if run > LONG || from.len() < room || to.len() < room {
        to[..run].copy_from_slice(&from[..run]);
        return;
    }
    let chunks = to[..room].as_chunks_mut::<SHORT>().0.iter_mut();
    for (to, from) in chunks.zip(from[..room].as_chunks::<SHORT>().0) {
        *to = *from;
    }
}
