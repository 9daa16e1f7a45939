//! Loops over the elements of one channel, made of functions of one element: each element goes through
//! all of them in registers.
//!
//! Every loop gives the bits of the steps one by one, but for the sign of a gradient of 0. They take what they compute with by value: what
//! lies behind a reference might change with every element that is written.

use super::element::{Affine, Element};
use crate::simd::wide;

/// Sums that run side by side, as in [`crate::parallel::plane_sums`].
const LANES: usize = 8;

/// Where elements of a channel come from.
pub(super) trait Load: Copy {
    /// How many there are.
    fn count(self) -> usize;

    /// Element `i`.
    fn at(self, i: usize) -> f32;

    /// Those from `i` on.
    fn lanes_from(self, i: usize) -> [f32; LANES];
}

impl Load for &[f32] {
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn at(self, i: usize) -> f32 {
        self[i]
    }

    #[inline(always)]
    fn lanes_from(self, i: usize) -> [f32; LANES] {
        let eight = &self[i..i + LANES];
        std::array::from_fn(|l| eight[l])
    }
}

/// Sums of a binary layer, with their channel's scale and bias.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled<'a> {
    pub sums: &'a [i16],
    pub scale: f32,
    pub bias: f32,
}

impl Load for Scaled<'_> {
    fn count(self) -> usize {
        self.sums.len()
    }

    #[inline(always)]
    fn at(self, i: usize) -> f32 {
        self.scale * f32::from(self.sums[i]) + self.bias
    }

    #[inline(always)]
    fn lanes_from(self, i: usize) -> [f32; LANES] {
        let eight = &self.sums[i..i + LANES];
        std::array::from_fn(|l| self.scale * f32::from(eight[l]) + self.bias)
    }
}

/// `out = f(x)`.
pub(super) fn forward(x: impl Load, f: impl Element, out: &mut [f32]) {
    wide(
        #[inline(always)]
        move || {
            let (chunks, rest) = out.as_chunks_mut::<LANES>();
            let done = chunks.len() * LANES;
            for (i, out) in chunks.iter_mut().enumerate() {
                let x = x.lanes_from(i * LANES);
                *out = std::array::from_fn(|l| f.forward(x[l]));
            }
            for (i, out) in rest.iter_mut().enumerate() {
                *out = f.forward(x.at(done + i));
            }
        },
    );
}

/// Σ g(f(x)).
pub(super) fn sum(x: impl Load, f: impl Element, g: impl Fn(f32) -> f32 + Copy) -> f64 {
    let count = x.count();
    wide(
        #[inline(always)]
        move || {
            let mut lanes = [0f32; LANES];
            let whole = count / LANES * LANES;
            for i in (0..whole).step_by(LANES) {
                let x = x.lanes_from(i);
                for l in 0..LANES {
                    lanes[l] += g(f.forward(x[l]));
                }
            }
            let mut total: f64 = lanes.iter().map(|&x| f64::from(x)).sum();
            for i in whole..count {
                total += f64::from(g(f.forward(x.at(i))));
            }
            total
        },
    )
}

/// Σ grad · f(x), in the order of [`crate::parallel::plane_sums`].
pub(super) fn dot(x: impl Load, f: impl Element, grad: &[f32]) -> f64 {
    wide(
        #[inline(always)]
        move || {
            let mut lanes = [0f32; LANES];
            let (chunks, rest) = grad.as_chunks::<LANES>();
            let done = chunks.len() * LANES;
            for (i, grad) in chunks.iter().enumerate() {
                let x = x.lanes_from(i * LANES);
                // In two loops: the compiler makes vectors of each, but not of both in one.
                let y: [f32; LANES] = std::array::from_fn(|l| f.forward(x[l]));
                for l in 0..LANES {
                    lanes[l] += grad[l] * y[l];
                }
            }
            let mut total: f64 = lanes.iter().map(|&x| f64::from(x)).sum();
            for (i, grad) in rest.iter().enumerate() {
                total += f64::from(grad * f.forward(x.at(done + i)));
            }
            total
        },
    )
}

/// Brings the gradient from the output of `before`, `norm`, `after` to that of `norm`; its sum, and
/// that of its products with the normalised input.
pub(super) fn gate(
    x: impl Load,
    before: impl Element,
    norm: Affine,
    after: impl Element,
    grad: &mut [f32],
) -> [f64; 2] {
    wide(
        #[inline(always)]
        move || {
            let one = move |x: f32, grad: &mut f32| {
                let u = before.forward(x);
                *grad = after.backward(norm.forward(u), *grad);
                [*grad, *grad * ((u - norm.mean) * norm.inverse)]
            };
            let mut lanes = [[0f32; LANES]; 2];
            let (chunks, rest) = grad.as_chunks_mut::<LANES>();
            let done = chunks.len() * LANES;
            for (i, grad) in chunks.iter_mut().enumerate() {
                let x = x.lanes_from(i * LANES);
                for l in 0..LANES {
                    let [a, b] = one(x[l], &mut grad[l]);
                    lanes[0][l] += a;
                    lanes[1][l] += b;
                }
            }
            let mut total = lanes.map(|l| l.iter().map(|&x| f64::from(x)).sum::<f64>());
            for (i, grad) in rest.iter_mut().enumerate() {
                let [a, b] = one(x.at(done + i), grad);
                total[0] += f64::from(a);
                total[1] += f64::from(b);
            }
            total
        },
    )
}

/// Brings the gradient from the output of `norm` to the input of `before`. `means`: of it over the
/// batch, and of its products with the normalised input.
pub(super) fn through(
    x: impl Load,
    before: impl Element,
    norm: Affine,
    means: [f32; 2],
    grad: &mut [f32],
) {
    let slope = means[1] * norm.inverse;
    update_gradient(x, grad, move |x, grad| {
        let u = before.forward(x);
        let grad = norm.factor * (grad - means[0] - (u - norm.mean) * slope);
        before.backward(x, grad)
    });
}

/// Brings the gradient from the output of `f` to its input.
pub(super) fn backward(x: impl Load, f: impl Element, grad: &mut [f32]) {
    update_gradient(x, grad, move |x, grad| f.backward(x, grad));
}

#[inline(always)]
fn update_gradient(x: impl Load, grad: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy) {
    wide(
        #[inline(always)]
        move || {
            let (chunks, rest) = grad.as_chunks_mut::<LANES>();
            let done = chunks.len() * LANES;
            for (i, grad) in chunks.iter_mut().enumerate() {
                let x = x.lanes_from(i * LANES);
                *grad = std::array::from_fn(|l| f(x[l], grad[l]));
            }
            for (i, grad) in rest.iter_mut().enumerate() {
                *grad = f(x.at(done + i), *grad);
            }
        },
    );
}
