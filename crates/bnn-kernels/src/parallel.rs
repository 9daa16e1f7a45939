//! Elementwise loops and per-channel sums, parallel over fixed chunks, so that the result does not
//! depend on the number of threads.

use rayon::prelude::*;

use crate::buffers::buffer;
use crate::simd::wide;

/// Elements that one task works on: a constant, so that results do not depend on the number of threads.
pub const CHUNK: usize = 1 << 14;

/// `to = f(from)` of each element, within a loop run by [`wide`]: a vector at a time, as rows are often
/// short.
#[inline(always)]
pub(crate) fn map_vectors<A: Copy, B>(from: &[A], to: &mut [B], f: impl Fn(A) -> B + Copy) {
    let ((to, rest), (from, others)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.map(f);
    }
    rest.iter_mut().zip(others).for_each(|(to, x)| *to = f(*x));
}

/// `f` of each element, in memory from [`buffer`].
pub fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = buffer(x.len());
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(o, x)| wide(move || o.iter_mut().zip(x).for_each(|(o, &x)| *o = f(x))));
    out
}

/// A copy, in memory from [`buffer`].
pub fn copy(x: &[f32]) -> Vec<f32> {
    let mut out = buffer(x.len());
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(o, x)| o.copy_from_slice(x));
    out
}

/// `f(a, b)` of each pair of elements, in memory from [`buffer`]; `a` and `b` have one length.
pub fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = buffer(a.len());
    out.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((o, a), b)| {
            let ab = a.iter().zip(b);
            wide(move || o.iter_mut().zip(ab).for_each(|(o, (&a, &b))| *o = f(a, b)));
        });
    out
}

/// `a = f(a, b)` for each pair of elements; `a` and `b` have one length.
pub fn update(a: &mut [f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    a.par_chunks_mut(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .for_each(|(a, b)| wide(move || a.iter_mut().zip(b).for_each(|(a, &b)| *a = f(*a, b))));
}

/// A shape in row-major layout as `[outer, channels, inner]` around one axis, or around a run of axes.
/// `inner` elements that lie side by side are a plane; each plane belongs to one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Product of the axes in front.
    pub outer: usize,
    /// Length of the axis.
    pub channels: usize,
    /// Product of the axes behind: elements of a plane.
    pub inner: usize,
}

impl Planes {
    /// The shape around axis `axis`.
    ///
    /// # Panics
    /// If the shape has no such axis.
    #[inline]
    pub fn around(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            channels: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The plane of `channel` at index `outer` of the axes in front.
    ///
    /// # Panics
    /// If it lies beyond `data`.
    #[inline]
    pub fn of(self, data: &[f32], outer: usize, channel: usize) -> &[f32] {
        let start = (outer * self.channels + channel) * self.inner;
        &data[start..start + self.inner]
    }

    /// `f(channel, input plane, output plane)` for each plane; `f` overwrites all of the output plane. The
    /// outputs have the layout of `x`, in memory from [`buffer`].
    pub fn map<T: Sync>(self, x: &[T], f: impl Fn(usize, &[T], &mut [f32]) + Sync) -> Vec<f32> {
        let mut out = buffer(x.len());
        let block = self.block();
        if block > 0 {
            out.par_chunks_mut(block)
                .zip(x.par_chunks(block))
                .enumerate()
                .for_each(|(i, (out, x))| {
                    let first = i * (block / self.inner);
                    let planes = out.chunks_exact_mut(self.inner);
                    for (j, (out, x)) in planes.zip(x.chunks_exact(self.inner)).enumerate() {
                        f((first + j) % self.channels, x, out);
                    }
                });
        }
        out
    }

    /// `f(channel, plane, other plane)` for each plane, which it may change.
    pub fn update(
        self,
        x: &mut [f32],
        other: &[f32],
        f: impl Fn(usize, &mut [f32], &[f32]) + Sync,
    ) {
        let block = self.block();
        if block == 0 {
            return;
        }
        x.par_chunks_mut(block)
            .zip(other.par_chunks(block))
            .enumerate()
            .for_each(|(i, (x, other))| {
                let first = i * (block / self.inner);
                let planes = x.chunks_exact_mut(self.inner);
                for (j, (x, other)) in planes.zip(other.chunks_exact(self.inner)).enumerate() {
                    f((first + j) % self.channels, x, other);
                }
            });
    }

    /// Elements of a task: whole planes, about [`CHUNK`] elements.
    fn block(self) -> usize {
        match self.inner {
            0 => 0,
            inner => CHUNK.div_ceil(inner) * inner,
        }
    }

    /// For each channel the sums of `f(channel, a, b)` over the pairs of elements of its planes, by
    /// [`plane_sums`] plane after plane.
    ///
    /// # Panics
    /// If `a` or `b` has fewer elements than the shape.
    pub fn fold<const K: usize>(
        self,
        a: &[f32],
        b: &[f32],
        f: impl Fn(usize, f32, f32) -> [f32; K] + Sync,
    ) -> Vec<[f64; K]> {
        (0..self.channels)
            .into_par_iter()
            .map(|c| {
                let mut total = [0f64; K];
                for n in 0..self.outer {
                    let start = (n * self.channels + c) * self.inner;
                    let end = start + self.inner;
                    let sums = plane_sums(&a[start..end], &b[start..end], |a, b| f(c, a, b));
                    total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
                }
                total
            })
            .collect()
    }

    /// For each channel the sum of its elements.
    ///
    /// # Panics
    /// If `x` has fewer elements than the shape.
    pub fn sums(self, x: &[f32]) -> Vec<f64> {
        let sums = self.fold(x, x, |_, x, _| [x]);
        sums.into_iter().map(|[s]| s).collect()
    }
}

/// The sums of `f(a, b)` over pairs of elements, K at a time. Eight lanes are summed side by side in single
/// precision (element i in lane i mod 8, the last few apart), and the lanes in double precision: this
/// order is part of the result.
pub fn plane_sums<const K: usize>(
    a: &[f32],
    b: &[f32],
    f: impl Fn(f32, f32) -> [f32; K],
) -> [f64; K] {
    wide(
        #[inline(always)]
        || lane_sums(a, b, f),
    )
}

#[inline(always)]
fn lane_sums<const K: usize>(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> [f32; K]) -> [f64; K] {
    const LANES: usize = 8;
    let mut lanes = [[0f32; LANES]; K];
    let (head_a, head_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (tail_a, tail_b) = (head_a.remainder(), head_b.remainder());
    for (a, b) in head_a.zip(head_b) {
        for l in 0..LANES {
            let v = f(a[l], b[l]);
            for k in 0..K {
                lanes[k][l] += v[k];
            }
        }
    }
    let mut total = lanes.map(|l| l.iter().map(|&x| f64::from(x)).sum::<f64>());
    for (&a, &b) in tail_a.iter().zip(tail_b) {
        for (t, v) in total.iter_mut().zip(f(a, b)) {
            *t += f64::from(v);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, so that sums are exact.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 7 % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn loops_over_more_than_a_chunk_reach_every_element() {
        let count = if cfg!(miri) { 100 } else { 2 * CHUNK + 77 };
        let (x, y) = (numbers(count), numbers(count + 3)[3..].to_vec());
        assert_eq!(copy(&x), x);
        assert!(
            map(&x, |x| 2.0 * x)
                .iter()
                .zip(&x)
                .all(|(m, x)| *m == 2.0 * x)
        );
        let differences: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        assert_eq!(zip(&x, &y, |x, y| x - y), differences);
        let mut changed = x;
        update(&mut changed, &y, |x, y| x - y);
        assert_eq!(changed, differences);
    }

    #[test]
    fn planes_belong_to_their_channels() {
        for shape in [
            [3, 4, 5, 6],
            [2, 3, 1, 1],
            [1, 7, 9, 2],
            [4, 1, 0, 3],
            [5, 2, 40, 40],
        ] {
            let planes = Planes::around(&shape, 1);
            assert_eq!((planes.outer, planes.channels), (shape[0], shape[1]));
            let x = numbers(shape.iter().product());
            let channel = |i: usize| i / planes.inner % planes.channels;
            let by_channel = planes.map(&x, |c, from, to| {
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, x)| *to = x + c as f32);
            });
            for (i, (found, x)) in by_channel.iter().zip(&x).enumerate() {
                assert_eq!(*found, x + channel(i) as f32);
            }
            let mut changed = x.clone();
            planes.update(&mut changed, &by_channel, |c, x, other| {
                x.iter_mut()
                    .zip(other)
                    .for_each(|(x, o)| *x += o * c as f32);
            });
            let mut sums = vec![0.0; planes.channels];
            let mut products = sums.clone();
            for (i, x) in x.iter().enumerate() {
                assert_eq!(changed[i], x + by_channel[i] * channel(i) as f32);
                sums[channel(i)] += f64::from(*x);
                products[channel(i)] += f64::from(x * by_channel[i]) + channel(i) as f64;
            }
            assert_eq!(planes.sums(&x), sums);
            let found = planes.fold(&x, &by_channel, |c, a, b| [a * b + c as f32]);
            assert_eq!(found, products.iter().map(|p| [*p]).collect::<Vec<_>>());
            if planes.inner > 0 {
                let last = planes.of(&x, planes.outer - 1, planes.channels - 1);
                assert_eq!(last, &x[x.len() - planes.inner..]);
            }
        }
    }
}
