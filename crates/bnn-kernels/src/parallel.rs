//! Elementwise loops and per-channel sums, parallel over fixed chunks, so that the result does not
//! depend on the number of threads.

use rayon::prelude::*;

use crate::buffers::buffer;
use crate::simd::wide;

/// Elements a task works on.
pub const CHUNK: usize = 1 << 14;

/// Within a wide loop, `f` of each of some elements: a vector at a time, as the rows are often short.
#[inline(always)]
pub(crate) fn each<A: Copy, B>(from: &[A], to: &mut [B], f: impl Fn(A) -> B + Copy) {
    let ((to, rest), (from, others)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.map(f);
    }
    rest.iter_mut().zip(others).for_each(|(to, x)| *to = f(*x));
}

/// `f` of each element.
pub fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = buffer(x.len());
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(o, x)| wide(move || o.iter_mut().zip(x).for_each(|(o, &x)| *o = f(x))));
    out
}

/// A copy.
pub fn copy(x: &[f32]) -> Vec<f32> {
    let mut out = buffer(x.len());
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(o, x)| o.copy_from_slice(x));
    out
}

/// `f(a, b)` of each pair of elements; `a` and `b` have one length.
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

/// A shape as `[outer, channels, inner]` around one axis, or around a run of axes.
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
    /// Around axis `axis`, which the shape has.
    #[inline]
    pub fn around(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            channels: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The plane of `channel` in the `outer`-th part of `data`.
    #[inline]
    pub fn of(self, data: &[f32], outer: usize, channel: usize) -> &[f32] {
        let start = (outer * self.channels + channel) * self.inner;
        &data[start..start + self.inner]
    }

    /// `f(channel, input plane, output plane)` for each plane of `inner` elements; `f` overwrites all
    /// of it.
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

    /// `f(channel, plane, other plane)` for each plane of `inner` elements, in place.
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

    /// For each channel the sum over outer and inner of `f(a, b)` of corresponding planes, where
    /// `f` returns the sums it wants over one plane.
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

    /// For each channel the sum of `x` over outer and inner.
    pub fn sums(self, x: &[f32]) -> Vec<f64> {
        let sums = self.fold(x, x, |_, x, _| [x]);
        sums.into_iter().map(|[s]| s).collect()
    }
}

/// Sums of `f` over a plane: eight independent lanes in f32, added up in f64.
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
