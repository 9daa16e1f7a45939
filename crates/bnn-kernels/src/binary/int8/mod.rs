//! Gradients of convolutions with weights of ±1 and activations in {-1, 0, +1}, from output
//! gradients rounded to 8 bits.
//!
//! Gradients of each image (for the input) or of each filter (for the weights) share a scale, and
//! are rounded to either neighbour so that they are right on average. They are summed by
//! tables of 16 bits: exactly, as far as sums stay below 2²⁴.

mod input_gradient;
mod rounding;
#[cfg(test)]
mod tests;
mod weight_gradient;

use rayon::prelude::*;

use crate::ConvGeometry;
use crate::binary::Codes;
use crate::binary::input_gradient::InputSigns;
use crate::binary::weight_gradient::gradient_of;
use rounding::largest;

/// Largest rounded gradient.
const MOST: f32 = 127.0;

/// The gradient of a binary layer's output, `[N, O, OH, OW]`, from which gradients are computed in 8 bits.
///
/// Rounding is to one of the two integers beside a number, the nearer the likelier; which one depends on
/// image, filter and pixel alone, so that the same gradient gives the same bits.
#[derive(Debug, Clone)]
pub struct RoundedGradient<'a> {
    g: ConvGeometry,
    grad: &'a [f32],
    /// Largest absolute value of each plane.
    largest: Vec<f32>,
}

impl<'a> RoundedGradient<'a> {
    /// Of `grad` `[N, O, OH, OW]`; `None` if one of its numbers is not finite.
    ///
    /// # Panics
    /// If `grad` has another size than the geometry says.
    pub fn new(g: &ConvGeometry, grad: &'a [f32]) -> Option<Self> {
        assert_eq!(grad.len(), g.batch * g.filters * g.out_plane());
        let planes = grad.par_chunks(g.out_plane().max(1));
        let largest: Vec<f32> = planes.with_min_len(16).map(largest).collect();
        largest.iter().all(|l| l.is_finite()).then_some(Self {
            g: *g,
            grad,
            largest,
        })
    }

    /// Writes the gradient of the input, `[N, C, H, W]`, for a layer with weights `scale · sign`; `scale`
    /// `[O]`.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says, or the signs are of another one.
    pub fn input_gradient(&self, signs: &InputSigns<i16>, scale: &[f32], grad_x: &mut [f32]) {
        assert_eq!(scale.len(), self.g.filters, "scales");
        let by_image = input_gradient::RoundedByImage { all: self, scale };
        signs.gradient_of(&self.g, &by_image, grad_x);
    }

    /// Writes the gradient of the weights, `[O, C, kH, kW]`, from the activations `x` `[N, C, H, W]`; false,
    /// and nothing written, if tables are not worth it.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says.
    pub fn weight_gradient(&self, x: &Codes, grad_weight: &mut [f32]) -> bool {
        gradient_of(
            &self.g,
            x,
            &weight_gradient::RoundedByFilter::new(self),
            grad_weight,
        )
    }

    /// The gradients of image `n`, filter `o`.
    fn plane(&self, n: usize, o: usize) -> &[f32] {
        let p = self.g.out_plane();
        &self.grad[(n * self.g.filters + o) * p..][..p]
    }

    /// Their largest absolute value.
    fn largest(&self, n: usize, o: usize) -> f32 {
        self.largest[n * self.g.filters + o]
    }
}

/// One of the four bytes of a word, as a number.
#[inline(always)]
fn byte(word: u32, i: u32) -> i16 {
    (((word << (24 - 8 * i)) as i32) >> 24) as i16
}
