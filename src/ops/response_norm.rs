//! Normalisation by the squares of neighbouring channels: `LRN`.

use std::ops::Range;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Params, Saved, ShapeError, Traits, check};
use crate::arrays::{slice, slice_mut};

/// `y = x · d^-beta` with `d = bias + alpha / size · Σ x²` over `size` channels around each one of `[N, C, …]`
/// (ONNX LRN).
#[derive(Debug, Clone)]
struct ResponseNorm {
    size: usize,
    alpha: f32,
    beta: f32,
    bias: f32,
}

/// Channels of an image, and what each holds.
#[derive(Debug, Clone, Copy)]
struct Image {
    channels: usize,
    plane: usize,
}

impl Image {
    fn of(x: &[usize]) -> Result<Self, ShapeError> {
        let [_, channels, plane @ ..] = x else {
            return Err(ShapeError(format!("no channels in {x:?}")));
        };
        let image = Self {
            channels: *channels,
            plane: plane.iter().product(),
        };
        check(image.len() > 0, || format!("nothing of {x:?} to normalise"))?;
        Ok(image)
    }

    fn len(self) -> usize {
        self.channels * self.plane
    }
}

impl ResponseNorm {
    /// The channels that are added up for one.
    fn around(&self, channel: usize, of: Image) -> Range<usize> {
        let from = channel.saturating_sub((self.size - 1) / 2);
        from..(channel + self.size / 2 + 1).min(of.channels)
    }

    /// The channels that one is added up for.
    fn reached_by(&self, channel: usize, of: Image) -> Range<usize> {
        let from = channel.saturating_sub(self.size / 2);
        from..(channel + self.size.div_ceil(2)).min(of.channels)
    }

    /// For each channel, the sum over some channels of what is given of these.
    fn sums(of: Image, which: impl Fn(usize) -> Range<usize>, terms: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0; of.len()];
        for (c, sums) in sums.chunks_exact_mut(of.plane).enumerate() {
            let some = which(c);
            let terms = &terms[some.start * of.plane..some.end * of.plane];
            for terms in terms.chunks_exact(of.plane) {
                let pairs = sums.iter_mut().zip(terms);
                pairs.for_each(|(sum, &term)| *sum += f64::from(term));
            }
        }
        sums
    }

    /// d of one image.
    fn divisors(&self, x: &[f32], of: Image) -> Vec<f64> {
        let squares: Vec<f32> = x.iter().map(|x| x * x).collect();
        let mut sums = Self::sums(of, |c| self.around(c, of), &squares);
        let factor = f64::from(self.alpha) / self.size as f64;
        for sum in &mut sums {
            *sum = f64::from(self.bias) + factor * *sum;
        }
        sums
    }

    /// The gradient of one image, in the place of that of what was made of it.
    fn of_input(&self, x: &[f32], grad: &mut [f32], of: Image) {
        let beta = f64::from(self.beta);
        let divisors = self.divisors(x, of);
        // What each channel's divisor hands back.
        let terms = grad.iter().zip(x).zip(&divisors);
        let terms: Vec<f32> = terms
            .map(|((&g, &x), d)| (f64::from(g) * f64::from(x) * d.powf(-beta - 1.0)) as f32)
            .collect();
        let back = Self::sums(of, |c| self.reached_by(c, of), &terms);
        let factor = 2.0 * beta * f64::from(self.alpha) / self.size as f64;
        let places = grad.iter_mut().zip(x).zip(divisors.iter().zip(&back));
        for ((g, &x), (d, back)) in places {
            *g = (f64::from(*g) * d.powf(-beta) - factor * f64::from(x) * back) as f32;
        }
    }
}

impl Op for ResponseNorm {
    fn name(&self) -> &'static str {
        "LRN"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits::default()
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let mut y = inputs[0].clone();
        let of = Image::of(y.shape())?;
        let images = slice_mut(&mut y).par_chunks_exact_mut(of.len());
        images.for_each(|image| {
            let divisors = self.divisors(image, of);
            for (x, d) in image.iter_mut().zip(divisors) {
                *x = (f64::from(*x) * d.powf(-f64::from(self.beta))) as f32;
            }
        });
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        if !pass.wanted[0] {
            return vec![None];
        }
        let x = pass.input(0);
        let of = Image::of(x.shape()).expect("shapes of the forward pass");
        let images = slice(x).par_chunks_exact(of.len());
        let grads = slice_mut(&mut grad).par_chunks_exact_mut(of.len());
        (grads.zip(images)).for_each(|(grad, x)| self.of_input(x, grad, of));
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, wanted: &[bool]) -> bool {
        wanted[0]
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.input_shape(0)?.len() < 2 || view.is_constant(0) {
        return Err(view.reject("its input has to be data, of a batch"));
    }
    let size = usize::try_from(view.node.int("size", 0)).unwrap_or(0);
    if size == 0 {
        return Err(view.reject("it adds up no channels (size)"));
    }
    let norm = ResponseNorm {
        size,
        alpha: view.node.float("alpha", 1e-4),
        beta: view.node.float("beta", 0.75),
        bias: view.node.float("bias", 1.0),
    };
    // A power of a sum that may be negative is no number.
    if !(norm.bias > 0.0 && norm.alpha >= 0.0) {
        return Err(view.reject("its bias is not above 0, or its alpha below it"));
    }
    view.imported(norm, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    fn norm(size: usize) -> ResponseNorm {
        ResponseNorm {
            size,
            alpha: 0.9,
            beta: 0.6,
            bias: 1.5,
        }
    }

    #[test]
    fn channels_around_are_those_of_the_definition() {
        let x = random(&[2, 5, 3], 1);
        for size in 1..=7 {
            let y = forward(&norm(size), &[&x]);
            for ((at, &y), &x_here) in y.indexed_iter().zip(&x) {
                let (n, c, i) = (at[0], at[1] as i64, at[2]);
                let below = (size as i64 - 1) / 2;
                let above = size as i64 - 1 - below;
                let some = (c - below).max(0)..=(c + above).min(4);
                let sum: f32 = some.map(|j| x[[n, j as usize, i]].powi(2)).sum();
                let expected = x_here / (1.5 + 0.9 / size as f32 * sum).powf(0.6);
                assert!((y - expected).abs() < 1e-5, "{size}: {y} {expected}");
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for size in [1, 2, 3, 4, 9] {
            check_gradients(&norm(size), &[random(&[2, 5, 3, 2], 2)]);
        }
    }
}
