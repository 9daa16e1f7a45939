//! Convolutions of activations of one bit with weights of one bit: XOR, and count.
//!
//! Where nothing is 0, a sum of K products of ±1 is K minus twice the number of those that differ. A pixel's
//! channels are bits, eight a byte, so that a window is a run of bytes; sixteen filters (or sixteen pixels)
//! lie side by side in the words of a vector, and a word of the other operand meets all of them at once:
//! nothing is added up across a vector.
//!
//! What a window has outside of the image, and zeros among the activations, are masked out of what is
//! counted; both cost a third operand, and only where they are.
//!
//! Unlike the rest of this crate, nothing here starts threads: a convolution is a number of tasks
//! ([`Job::sign_tasks`], [`Job::float_tasks`]), to be run in any order, on whatever threads the caller has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convolution;
mod disjoint;
mod floats;
mod job;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod pool;
mod portable;
#[cfg(test)]
mod tests;
mod tile;
mod windows;

pub use convolution::{Affine, BitConv, BitGeometry};
pub use floats::Floats;
pub use job::{Job, Signs};
pub use level::Level;
pub use pack::{Packing, unpack};
pub use pool::BitPool;

/// Channels that share a byte.
pub const PER_BYTE: usize = 8;

/// Bytes of a pixel's signs.
pub fn bytes_of(channels: usize) -> usize {
    channels.div_ceil(PER_BYTE)
}

/// Activations of some images: `[N, H, W, planes, ⌈C/8⌉]` bytes, channel c in bit c mod 8 of byte c/8. The first
/// plane holds a 1 for +1. The second one, where there is one, holds a 1 for what is not 0; the sign of a 0 is 0.
/// Bits beyond the channels are 0.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// 1, or 2 where something may be 0.
    pub planes: usize,
}

/// Two planes of `[pixels, bytes]` as [`Bits`] of two planes.
///
/// # Panics
/// If they are of different sizes.
pub fn interleave(signs: &[u8], nonzero: &[u8], bytes: usize) -> Vec<u8> {
    assert_eq!(signs.len(), nonzero.len(), "planes");
    let pixels = signs.chunks_exact(bytes).zip(nonzero.chunks_exact(bytes));
    pixels.flat_map(|(s, n)| [s, n].concat()).collect()
}

impl Bits<'_> {
    /// Bytes of a pixel, both planes.
    fn pixel(&self) -> usize {
        self.planes * bytes_of(self.channels)
    }

    /// Bytes of an image.
    fn image(&self) -> usize {
        self.height * self.width * self.pixel()
    }

    /// # Panics
    /// If there are other sizes than it says.
    fn check(&self) {
        assert!(self.planes == 1 || self.planes == 2, "planes");
        assert_eq!(self.bytes.len(), self.batch * self.image(), "activations");
    }
}
