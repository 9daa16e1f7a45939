//! Gradients of convolutions with weights of ±1 and activations in {-1, 0, +1}, without products.
//!
//! Of four numbers there are sixteen sums with signs, of five 32. A table of them, made once, is
//! looked up for every channel, filter and kernel position that joins those numbers: one addition
//! instead of as many products. For the gradient of the input they are those of five filters, for that
//! of the weights those of four images. What is looked up is a whole vector: of pixels there, of
//! filters here.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod entry;
mod input;
mod layout;
mod lookup;
mod portable;
mod signs;
#[cfg(test)]
mod tests;
mod weight;

use super::packed::Codes;
use super::{ConvGeometry, direct};
use input::Scaled;
use weight::Single;

pub use entry::Entry;
pub use input::{InputSigns, OfInput};
pub use weight::{OfWeight, gradient as gradient_of_weight};

#[cfg(test)]
pub(super) use weight::gradient_with as gradient_of_weight_with;

/// Filters that share a table, for the gradient of the input.
pub const FILTERS: usize = 5;
/// Images that share one, for the gradient of the weights.
pub const IMAGES: usize = 4;

/// The parts of a buffer, which all have one size.
fn parts<const N: usize, E>(all: &[E]) -> [&[E]; N] {
    let mut parts = all.chunks_exact((all.len() / N).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// [`parts`], to be written.
fn parts_mut<const N: usize, E>(all: &mut [E]) -> [&mut [E]; N] {
    let mut parts = all.chunks_exact_mut((all.len() / N).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

impl InputSigns<f32> {
    /// The gradient of the input, `[N, C, H, W]`, from that of the output, `[N, O, OH, OW]`, for a layer
    /// with weights `scale · sign`; `scale` `[O]`.
    ///
    /// # Panics
    /// If a slice has another size than the geometry says, or the signs are of another one.
    pub fn single(&self, g: &ConvGeometry, grad: &[f32], scale: &[f32], grad_x: &mut [f32]) {
        self.gradient(g, &Scaled::new(g, grad, scale), grad_x);
    }
}

/// The gradient of a binary layer's weights, `[O, C, kH, kW]`, from its activations and the gradient
/// of its output; false, and nothing done, if the geometry has another path.
///
/// # Panics
/// If a size is not what the geometry says.
pub fn binary_weight(g: &ConvGeometry, x: &Codes, grad: &[f32], grad_weight: &mut [f32]) -> bool {
    weight::gradient(g, x, &Single::new(g, grad), grad_weight)
        || direct::binary_weight(g, x, grad, grad_weight)
}
