//! Gradients of convolutions with weights of ±1 and activations in {-1, 0, +1}, without products.
//!
//! Of four numbers there are sixteen sums with signs, of five 32. A table of them, made once, is
//! looked up for every channel, filter and kernel position that joins those numbers: one addition
//! instead of as many products. For the gradient of the input they are those of five filters, for that
//! of the weights those of four images. What is looked up is a whole vector: of pixels there, of
//! filters here.

pub(super) mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod entry;
pub(super) mod image_signs;
pub(super) mod layout;
pub(super) mod lookup;
mod portable;

pub use entry::TableEntry;

/// Filters that share a table, for the gradient of the input.
pub(super) const FILTERS_PER_TABLE: usize = 5;
/// Images that share one, for the gradient of the weights.
pub(super) const IMAGES_PER_TABLE: usize = 4;

/// The parts of a buffer, which all have one size.
pub(super) fn equal_parts<const N: usize, E>(all: &[E]) -> [&[E]; N] {
    let mut parts = all.chunks_exact((all.len() / N).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// [`equal_parts`], to be written.
pub(super) fn equal_parts_mut<const N: usize, E>(all: &mut [E]) -> [&mut [E]; N] {
    let mut parts = all.chunks_exact_mut((all.len() / N).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
