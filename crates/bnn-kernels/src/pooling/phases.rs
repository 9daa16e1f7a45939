//! A plane sorted so that what neighbouring windows read at one of their positions lies side by side, and
//! eight windows are computed together.

use super::windows::{Axis, Windows};
use crate::simd::wide;

/// Windows that are computed together.
const LANES: usize = 8;

/// Poolings of planes of one size, a plane at a time. It holds a padded plane, `[rows, stride, columns /
/// stride]`: columns are sorted by their remainder by the stride.
pub struct Phases {
    y: Axis,
    x: Axis,
    /// Elements of a remainder.
    length: usize,
    taps: Vec<Tap>,
    data: Vec<f32>,
}

/// A position of the windows.
#[derive(Clone, Copy)]
struct Tap {
    /// Of the element that the first window reads there.
    at: usize,
    /// How far it lies behind the first window's first in the plane.
    offset: u32,
}

impl Phases {
    /// For windows along those axes (vertical, horizontal), for which [`Phases::suit`] holds.
    pub fn new([y, x]: [Axis; 2]) -> Self {
        let extent = (x.kernel - 1) * x.dilation / x.stride;
        let length = x.out.next_multiple_of(LANES) + extent;
        let rows = (y.out - 1) * y.stride + (y.kernel - 1) * y.dilation + 1;
        let mut new = Self {
            y,
            x,
            length,
            taps: Vec::new(),
            data: vec![0.0; rows * x.stride * length],
        };
        new.taps = new.taps();
        new
    }

    /// Whether this is worth it for such windows: those side by side fill vectors, and padding does not
    /// dwarf the plane. Else [`Windows`] and [`max_of_any`] are for them.
    pub fn suit([y, x]: [Axis; 2]) -> bool {
        let room = |a: Axis| {
            (a.out.saturating_mul(a.stride)).saturating_add(a.kernel.saturating_mul(a.dilation))
        };
        2 * x.out >= LANES
            && x.stride <= LANES
            && room(y) <= 2 * y.size + LANES
            && room(x) <= 2 * x.size + LANES
    }

    fn row(&self) -> usize {
        self.x.stride * self.length
    }

    fn taps(&self) -> Vec<Tap> {
        let (y, x) = (self.y, self.x);
        let rows = (0..y.kernel).map(|k| k * y.dilation);
        rows.flat_map(|r| {
            let columns = (0..x.kernel).map(|k| k * x.dilation);
            columns.map(move |c| Tap {
                at: r * self.row() + c % x.stride * self.length + c / x.stride,
                offset: (r * x.size + c) as u32,
            })
        })
        .collect()
    }

    /// Brings a plane here; `false` if it holds what is not larger than minus infinity.
    #[inline(always)]
    fn sort(&mut self, plane: &[f32]) -> bool {
        let (y, x, row, length) = (self.y, self.x, self.row(), self.length);
        let rows = self.data.chunks_exact_mut(row).skip(y.begin);
        let mut numbers = true;
        for (line, to) in plane.chunks_exact(x.size).zip(rows) {
            numbers &= line
                .iter()
                .fold(true, |all, &v| all & (v > f32::NEG_INFINITY));
            let mut rest = line;
            if let (2, Some((first, second))) = (x.stride, to.split_at_mut_checked(length)) {
                let (first, second) = columns(x, first, second);
                let (blocks, others) = line.as_chunks::<{ 2 * LANES }>();
                let pairs = first.as_chunks_mut::<LANES>().0.iter_mut();
                let pairs = pairs.zip(second.as_chunks_mut::<LANES>().0);
                if blocks.len() <= pairs.len() {
                    for (block, (first, second)) in blocks.iter().zip(pairs) {
                        *first = std::array::from_fn(|l| block[2 * l]);
                        *second = std::array::from_fn(|l| block[2 * l + 1]);
                    }
                    rest = others;
                }
            }
            let done = line.len() - rest.len();
            for (c, &v) in (x.begin + done..).zip(rest) {
                if c / x.stride < length {
                    to[c % x.stride * length + c / x.stride] = v;
                }
            }
        }
        numbers
    }

    /// Brings what is here to a plane; what no window reads is 0 there.
    #[inline(always)]
    fn unsort(&mut self, plane: &mut [f32]) {
        let (y, x, row, length) = (self.y, self.x, self.row(), self.length);
        plane.fill(0.0);
        let rows = self.data.chunks_exact_mut(row).skip(y.begin);
        for (line, from) in plane.chunks_exact_mut(x.size).zip(rows) {
            let mut done = 0;
            if let (2, Some((first, second))) = (x.stride, from.split_at_mut_checked(length)) {
                let (first, second) = columns(x, first, second);
                let blocks = line.as_chunks_mut::<{ 2 * LANES }>().0;
                let pairs = first.as_chunks::<LANES>().0.iter();
                let pairs = pairs.zip(second.as_chunks::<LANES>().0);
                if blocks.len() <= pairs.len() {
                    done = 2 * LANES * blocks.len();
                    for (block, (first, second)) in blocks.iter_mut().zip(pairs) {
                        for l in 0..LANES {
                            [block[2 * l], block[2 * l + 1]] = [first[l], second[l]];
                        }
                    }
                }
            }
            for (c, v) in (x.begin + done..).zip(&mut line[done..]) {
                if c / x.stride < length {
                    *v = from[c % x.stride * length + c / x.stride];
                }
            }
        }
    }

    /// The largest element of each window of `plane` `[H, W]`, and its place in the plane: the first of
    /// equal ones. Both outputs are `[OH, OW]`. False, and of no use what is written, if an element is NaN
    /// or minus infinity, or a window lies in the padding altogether: [`max_of_any`] takes such planes.
    pub fn max(&mut self, plane: &[f32], out: &mut [f32], positions: &mut [u32]) -> bool {
        wide(
            #[inline(always)]
            || self.max_inline(plane, out, positions),
        )
    }

    #[inline(always)]
    fn max_inline(&mut self, plane: &[f32], out: &mut [f32], positions: &mut [u32]) -> bool {
        self.data.fill(f32::NEG_INFINITY);
        if !self.sort(plane) {
            return false;
        }
        let (y, x) = (self.y, self.x);
        let lines = out
            .chunks_exact_mut(x.out)
            .zip(positions.chunks_exact_mut(x.out));
        for (o, (out, positions)) in lines.enumerate() {
            let from = &self.data[o * y.stride * self.row()..];
            // Of the first window's first element; it may lie in the padding.
            let first = ((o * y.stride) * x.size).wrapping_sub(y.begin * x.size + x.begin);
            let chunks = out.chunks_mut(LANES).zip(positions.chunks_mut(LANES));
            for (i, (out, positions)) in chunks.enumerate() {
                let mut most = [f32::NEG_INFINITY; LANES];
                let mut places = [0u32; LANES];
                for tap in &self.taps {
                    let values = lanes(from, tap.at + i * LANES);
                    for l in 0..LANES {
                        // As a mask: a choice of the place by a comparison of floats would not become
                        // vector instructions.
                        let better = u32::from(values[l] > most[l]).wrapping_neg();
                        most[l] = if values[l] > most[l] {
                            values[l]
                        } else {
                            most[l]
                        };
                        places[l] = (places[l] & !better) | (tap.offset & better);
                    }
                }
                out.copy_from_slice(&most[..out.len()]);
                for (l, to) in positions.iter_mut().enumerate() {
                    let base = first.wrapping_add((i * LANES + l) * x.stride) as u32;
                    *to = base.wrapping_add(places[l]);
                }
            }
        }
        out.iter()
            .fold(true, |all, &v| all & (v > f32::NEG_INFINITY))
    }

    /// The sum of each window of `plane` `[H, W]` divided by its divisor, of [`Windows::divisors`].
    pub fn mean(&mut self, plane: &[f32], divisors: &[f32], out: &mut [f32]) {
        wide(
            #[inline(always)]
            || {
                self.data.fill(0.0);
                self.sort(plane);
                let width = self.x.out;
                let lines = out
                    .chunks_exact_mut(width)
                    .zip(divisors.chunks_exact(width));
                for (o, (out, divisors)) in lines.enumerate() {
                    let from = &self.data[o * self.y.stride * self.row()..];
                    let chunks = out.chunks_mut(LANES).zip(divisors.chunks(LANES));
                    for (i, (out, divisors)) in chunks.enumerate() {
                        let mut sums = [0.0; LANES];
                        for tap in &self.taps {
                            let values = lanes(from, tap.at + i * LANES);
                            for l in 0..LANES {
                                sums[l] += values[l];
                            }
                        }
                        for (l, (out, d)) in out.iter_mut().zip(divisors).enumerate() {
                            *out = sums[l] / d;
                        }
                    }
                }
            },
        );
    }

    /// The gradient of [`Phases::mean`] with respect to its plane, from that of its output.
    pub fn spread(&mut self, grad: &[f32], divisors: &[f32], plane: &mut [f32]) {
        wide(
            #[inline(always)]
            || {
                self.data.fill(0.0);
                let (width, row, stride) = (self.x.out, self.row(), self.y.stride);
                let taps = &self.taps;
                let lines = grad.chunks_exact(width).zip(divisors.chunks_exact(width));
                for (o, (grad, divisors)) in lines.enumerate() {
                    let to = &mut self.data[o * stride * row..];
                    let chunks = grad.chunks(LANES).zip(divisors.chunks(LANES));
                    for (i, (grad, divisors)) in chunks.enumerate() {
                        let mut shares = [0.0; LANES];
                        for (share, (g, d)) in shares.iter_mut().zip(grad.iter().zip(divisors)) {
                            *share = g / d;
                        }
                        for tap in taps {
                            let to = &mut to[tap.at + i * LANES..][..LANES];
                            for l in 0..LANES {
                                to[l] += shares[l];
                            }
                        }
                    }
                }
                self.unsort(plane);
            },
        );
    }
}

/// The elements from `at` on.
#[inline(always)]
fn lanes(from: &[f32], at: usize) -> [f32; LANES] {
    let values = &from[at..at + LANES];
    std::array::from_fn(|l| values[l])
}

/// The columns of even and of odd elements of a row, by those of even and of odd places behind the
/// padding.
#[inline(always)]
fn columns<'a>(x: Axis, even: &'a mut [f32], odd: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
    fn behind(of: &mut [f32], skip: usize) -> &mut [f32] {
        of.get_mut(skip..).unwrap_or_default()
    }
    let (first, second) = (x.begin / 2, x.begin.div_ceil(2));
    match x.begin.is_multiple_of(2) {
        true => (behind(even, first), behind(odd, second)),
        false => (behind(odd, first), behind(even, second)),
    }
}

/// The largest element of each window of a plane and its place in it, whatever the elements: the first of
/// equal ones, or a NaN. Of a window in the padding altogether minus infinity and [`NOWHERE`].
///
/// [`NOWHERE`]: super::NOWHERE
pub fn max_of_any(windows: &Windows, plane: &[f32], out: &mut [f32], positions: &mut [u32]) {
    let outs = out.iter_mut().zip(positions);
    for (window, (out, position)) in windows.iter().zip(outs) {
        (*out, *position) = (f32::NEG_INFINITY, super::windows::NOWHERE);
        for i in window {
            let v = plane[i];
            let first = *position == super::windows::NOWHERE;
            if first || v > *out || (v.is_nan() && !out.is_nan()) {
                (*out, *position) = (v, i as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::windows::NOWHERE;
    use super::*;

    fn axis() -> impl Strategy<Value = Axis> {
        let window = (1usize..4, 1usize..4, 1usize..3);
        (1usize..40, window, 0usize..4, 0usize..4).prop_filter_map(
            "a window that fits",
            |(size, (kernel, stride, dilation), begin, end)| {
                let room = (size + begin + end).checked_sub((kernel - 1) * dilation + 1)?;
                Some(Axis {
                    size,
                    out: room / stride + 1,
                    kernel,
                    stride,
                    dilation,
                    begin,
                    end,
                })
            },
        )
    }

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        // Few different ones, so that some are equal.
        let number = |i: u64| (i.wrapping_mul(seed | 1) >> 7) % 17;
        (0..count as u64).map(|i| number(i) as f32 - 8.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

        #[test]
        fn windows_side_by_side_are_the_windows(y in axis(), x in axis(), seed in any::<u64>()) {
            let axes = [y, x];
            prop_assume!(Phases::suit(axes));
            let (windows, mut phases) = (Windows::new(axes), Phases::new(axes));
            let plane = numbers(y.size * x.size, seed);
            let count = y.out * x.out;

            let (mut out, mut positions) = (vec![0.0; count], vec![0; count]);
            let (mut expected, mut places) = (out.clone(), positions.clone());
            max_of_any(&windows, &plane, &mut expected, &mut places);
            let found = phases.max(&plane, &mut out, &mut positions);
            prop_assert_eq!(found, !places.contains(&NOWHERE));
            if found {
                prop_assert_eq!(&out, &expected);
                prop_assert_eq!(&positions, &places);
            }

            let divisors = windows.divisors(true, axes);
            phases.mean(&plane, &divisors, &mut out);
            for (window, (out, divisor)) in windows.iter().zip(out.iter().zip(&divisors)) {
                prop_assert_eq!(*out, window.map(|i| plane[i]).sum::<f32>() / divisor);
            }

            let grad: Vec<f32> = numbers(count, seed ^ 5);
            let mut expected = vec![0.0; plane.len()];
            for (window, (g, d)) in windows.iter().zip(grad.iter().zip(&divisors)) {
                window.for_each(|i| expected[i] += g / d);
            }
            let mut found = vec![f32::NAN; plane.len()];
            phases.spread(&grad, &divisors, &mut found);
            for (a, b) in found.iter().zip(&expected) {
                prop_assert!((a - b).abs() < 1e-4, "{a} {b}");
            }
        }

        #[test]
        fn what_is_no_number_is_left_to_others(at in 0usize..64, other in 0usize..3) {
            let other = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY][other];
            let axis = Axis {
                size: 8,
                out: 4,
                kernel: 2,
                stride: 2,
                ..Axis::UNIT
            };
            let mut plane = numbers(64, 3);
            plane[at] = other;
            let (mut out, mut positions) = (vec![0.0; 16], vec![0; 16]);
            let found = Phases::new([axis; 2]).max(&plane, &mut out, &mut positions);
            prop_assert_eq!(found, other == f32::INFINITY);
        }
    }

    #[test]
    fn the_first_of_equal_ones_or_a_nan() {
        let axis = Axis {
            size: 3,
            kernel: 3,
            ..Axis::UNIT
        };
        let windows = Windows::new([Axis::UNIT, axis]);
        for (line, at) in [
            ([2.0, 2.0, 1.0], 0),
            ([2.0, f32::NAN, 3.0], 1),
            ([f32::NEG_INFINITY; 3], 0),
        ] {
            let (mut out, mut positions) = ([0.0], [0]);
            max_of_any(&windows, &line, &mut out, &mut positions);
            assert_eq!(positions, [at]);
        }
    }
}
