//! Where the windows of a pooling lie, and the largest element of each.

use std::ops::Range;

use crate::autograd::parallel::wide;

/// Window positions along one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub size: usize,
    pub out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub begin: usize,
    pub end: usize,
}

impl Axis {
    /// An axis of one element, for one-dimensional pooling.
    pub const UNIT: Self = Self {
        size: 1,
        out: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        begin: 0,
        end: 0,
    };

    /// The input positions of each output's window that lie inside the input.
    pub fn spans(self) -> Vec<Span> {
        let span = |o: usize| {
            let start = o * self.stride;
            let skipped = self.begin.saturating_sub(start).div_ceil(self.dilation);
            let end = match (self.size + self.begin).checked_sub(start) {
                Some(room) => room.div_ceil(self.dilation).min(self.kernel),
                None => 0,
            };
            Span {
                first: (start + skipped * self.dilation).saturating_sub(self.begin),
                count: end.saturating_sub(skipped),
                step: self.dilation,
            }
        };
        (0..self.out).map(span).collect()
    }

    /// Window positions of output `o` inside the padded input: in ceil mode the last window may
    /// reach beyond it.
    fn counted(self, o: usize) -> usize {
        let room = (self.size + self.begin + self.end).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }
}

/// Positions `first`, `first + step`, … , `count` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    first: usize,
    count: usize,
    step: usize,
}

impl Span {
    pub fn positions(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |k| self.first + k * self.step)
    }
}

/// The windows of a plane.
pub(super) struct Windows {
    rows: Vec<Span>,
    columns: Vec<Span>,
    width: usize,
    /// The columns whose windows lie inside the plane altogether, and how far apart they are.
    inside: Range<usize>,
    stride: usize,
}

impl Windows {
    pub fn new([y, x]: [Axis; 2]) -> Self {
        let columns = x.spans();
        let whole = |s: &Span| s.count == x.kernel;
        let start = columns.iter().take_while(|s| !whole(s)).count();
        let inside = columns[start..].iter().take_while(|s| whole(s)).count();
        Self {
            rows: y.spans(),
            columns,
            width: x.size,
            inside: start..start + inside,
            stride: x.stride,
        }
    }

    /// The positions in the plane of each window, in row-major order of the output.
    pub fn each(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        self.rows.iter().flat_map(move |row| {
            self.columns.iter().map(move |column| {
                row.positions()
                    .flat_map(move |y| column.positions().map(move |x| y * self.width + x))
            })
        })
    }

    /// The largest element of each window of a plane, and where it lies: the first of equal ones,
    /// or a NaN.
    pub fn max(&self, plane: &[f32], out: &mut [f32], positions: &mut [u32]) {
        let width = self.columns.len();
        let outs = out.chunks_exact_mut(width);
        let outs = outs.zip(positions.chunks_exact_mut(width));
        for (row, (out, positions)) in self.rows.iter().zip(outs) {
            if row.count == 0 {
                out.fill(f32::NEG_INFINITY);
                positions.fill(NOWHERE);
                continue;
            }
            if !self.inside.is_empty() {
                let inside = self.inside.clone();
                let found = Found {
                    out: &mut out[inside.clone()],
                    positions: &mut positions[inside],
                };
                self.max_inside(*row, plane, found);
            }
            let border = (0..self.inside.start).chain(self.inside.end..width);
            for x in border {
                (out[x], positions[x]) = self.max_of(*row, self.columns[x], plane);
            }
        }
    }

    /// That of one window.
    fn max_of(&self, row: Span, column: Span, plane: &[f32]) -> (f32, u32) {
        let mut best = (f32::NEG_INFINITY, NOWHERE);
        for y in row.positions() {
            for x in column.positions() {
                let at = y * self.width + x;
                let v = plane[at];
                if best.1 == NOWHERE || v > best.0 || v.is_nan() {
                    best = (v, at as u32);
                }
            }
        }
        best
    }

    /// Those of a row of windows inside the plane, one position of the window after the other.
    fn max_inside(&self, row: Span, plane: &[f32], mut found: Found<'_>) {
        let Some(column) = self.columns.get(self.inside.start) else {
            return;
        };
        for (k, y) in row.positions().enumerate() {
            for (l, x) in column.positions().enumerate() {
                let at = y * self.width + x;
                match self.stride {
                    1 => found.take::<1>(1, plane, at, (k, l) == (0, 0)),
                    2 => found.take::<2>(2, plane, at, (k, l) == (0, 0)),
                    stride => found.take::<0>(stride, plane, at, (k, l) == (0, 0)),
                }
            }
        }
    }

    /// What the mean of each window divides by: the positions inside the input or, with
    /// `count_pads`, inside the padded input.
    pub fn divisors(&self, count_pads: bool, [y, x]: [Axis; 2]) -> Vec<f32> {
        let count = |axis: Axis, span: &Span, o: usize| match count_pads {
            true => axis.counted(o),
            false => span.count,
        };
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(oy, row)| {
            let columns = self.columns.iter().enumerate();
            columns
                .map(move |(ox, column)| (count(y, row, oy) * count(x, column, ox)).max(1) as f32)
        })
        .collect()
    }
}

/// The largest elements of some windows so far, and where they lie.
struct Found<'a> {
    out: &'a mut [f32],
    positions: &'a mut [u32],
}

impl Found<'_> {
    /// Takes the elements at `at`, `at + stride`, … for the windows one after the other. S is the
    /// stride where that is known beforehand.
    #[inline(always)]
    fn take<const S: usize>(&mut self, stride: usize, plane: &[f32], at: usize, first: bool) {
        let stride = if S > 0 { S } else { stride };
        let values = plane[at..].iter().step_by(stride);
        let places = (at as u32..).step_by(stride);
        let outs = self.out.iter_mut().zip(&mut *self.positions);
        wide(|| {
            for (((out, position), &v), place) in outs.zip(values).zip(places) {
                let better = first | (v > *out) | v.is_nan();
                *out = if better { v } else { *out };
                *position = if better { place } else { *position };
            }
        });
    }
}

/// The position of a window that lies in the padding altogether.
pub(super) const NOWHERE: u32 = u32::MAX;
