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
    /// or a NaN. Each column of a row of windows first, then each window's columns.
    pub fn max(
        &self,
        plane: &[f32],
        out: &mut [f32],
        positions: &mut [u32],
        scratch: &mut Scratch,
    ) {
        wide(
            #[inline(always)]
            || self.max_inline(plane, out, positions, scratch),
        );
    }

    /// What [`Windows::max`] works with.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            most: vec![0.0; self.width],
            rows: vec![0; self.width],
            sorted: Phases::new(self.stride, self.width),
        }
    }

    #[inline(always)]
    fn max_inline(
        &self,
        plane: &[f32],
        out: &mut [f32],
        positions: &mut [u32],
        Scratch { most, rows, sorted }: &mut Scratch,
    ) {
        let width = self.columns.len();
        let outs = out.chunks_exact_mut(width);
        let outs = outs.zip(positions.chunks_exact_mut(width));
        for (row, (out, positions)) in self.rows.iter().zip(outs) {
            if row.count == 0 {
                out.fill(f32::NEG_INFINITY);
                positions.fill(NOWHERE);
                continue;
            }
            let mut all = Found {
                out: &mut *most,
                positions: &mut *rows,
            };
            for (k, y) in row.positions().enumerate() {
                let line = &plane[y * self.width..(y + 1) * self.width];
                all.take(line, (y * self.width) as u32, k == 0);
            }
            if let Some(column) = self.columns.get(self.inside.start) {
                sorted.fill(most, rows);
                let inside = self.inside.clone();
                let mut found = Found {
                    out: &mut out[inside.clone()],
                    positions: &mut positions[inside],
                };
                for (k, x) in column.positions().enumerate() {
                    let (values, places) = sorted.from(x);
                    found.choose(values, places, k == 0);
                }
            }
            let border = (0..self.inside.start).chain(self.inside.end..width);
            for x in border {
                let mut best = (f32::NEG_INFINITY, NOWHERE);
                for x in self.columns[x].positions() {
                    if best.1 == NOWHERE || better((most[x], rows[x]), best) {
                        best = (most[x], rows[x]);
                    }
                }
                (out[x], positions[x]) = best;
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

/// Whether an element is to be preferred: the larger one, of equal ones that which comes first.
#[inline(always)]
fn better((v, at): (f32, u32), (best, best_at): (f32, u32)) -> bool {
    (v > best) | v.is_nan() | ((v == best) & (at < best_at))
}

/// The largest elements of some windows so far, and where they lie.
struct Found<'a> {
    out: &'a mut [f32],
    positions: &'a mut [u32],
}

impl Found<'_> {
    /// Takes the elements of a line that begins at position `at`.
    #[inline(always)]
    fn take(&mut self, line: &[f32], at: u32, first: bool) {
        let outs = self.out.iter_mut().zip(&mut *self.positions);
        for (((out, position), &v), place) in outs.zip(line).zip(at..) {
            let better = first | (v > *out) | v.is_nan();
            *out = if better { v } else { *out };
            *position = if better { place } else { *position };
        }
    }

    /// Takes elements that lie anywhere.
    #[inline(always)]
    fn choose(&mut self, values: &[f32], places: &[u32], first: bool) {
        let outs = self.out.iter_mut().zip(&mut *self.positions);
        for (((out, position), &v), &place) in outs.zip(values).zip(places) {
            let better = first | better((v, place), (*out, *position));
            *out = if better { v } else { *out };
            *position = if better { place } else { *position };
        }
    }
}

/// The largest element of each column of a row of windows, where it lies, and both sorted.
pub(super) struct Scratch {
    most: Vec<f32>,
    rows: Vec<u32>,
    sorted: Phases,
}

/// A line sorted by the remainder of positions divided by the stride: what windows one behind the
/// other read at one position lies side by side.
struct Phases {
    stride: usize,
    /// Elements of a remainder.
    length: usize,
    values: Vec<f32>,
    places: Vec<u32>,
}

impl Phases {
    fn new(stride: usize, width: usize) -> Self {
        let length = width.div_ceil(stride);
        Self {
            stride,
            length,
            values: vec![0.0; length * stride],
            places: vec![0; length * stride],
        }
    }

    #[inline(always)]
    fn fill(&mut self, values: &[f32], places: &[u32]) {
        let length = self.length;
        if let (2, true) = (self.stride, values.len() == 2 * length) {
            // The most common one, without a division for each element.
            let (even, odd) = self.values.split_at_mut(length);
            let pairs = even.iter_mut().zip(odd).zip(values.as_chunks::<2>().0);
            pairs.for_each(|((a, b), pair)| [*a, *b] = *pair);
            let (even, odd) = self.places.split_at_mut(length);
            let pairs = even.iter_mut().zip(odd).zip(places.as_chunks::<2>().0);
            pairs.for_each(|((a, b), pair)| [*a, *b] = *pair);
            return;
        }
        for (x, (&v, &p)) in values.iter().zip(places).enumerate() {
            let to = x % self.stride * length + x / self.stride;
            (self.values[to], self.places[to]) = (v, p);
        }
    }

    /// The elements at `x`, `x + stride`, …
    fn from(&self, x: usize) -> (&[f32], &[u32]) {
        let at = x % self.stride * self.length + x / self.stride;
        (&self.values[at..], &self.places[at..])
    }
}

/// The position of a window that lies in the padding altogether.
pub(super) const NOWHERE: u32 = u32::MAX;
