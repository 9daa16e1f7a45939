//! Weights and sizes of a convolution of bits.

use super::tile::LANES;
use super::{PER_BYTE, bytes_of};

/// Most products of a sum: floats hold every integer up to there.
const MOST_PRODUCTS: usize = 1 << 24;
/// Most positions of a window along an axis of an image, padding included.
const MOST_SIDE: usize = 1 << 24;

/// The sizes of a convolution of bits; pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitGeometry {
    /// Input channels.
    pub channels: usize,
    /// Filters.
    pub filters: usize,
    /// Kernel size.
    pub kernel: [usize; 2],
    /// Input positions from one output to the next.
    pub stride: [usize; 2],
    /// Input positions from one kernel position to the next.
    pub dilation: [usize; 2],
    /// Zeros at the top, at the left, at the bottom and at the right.
    pub pads: [usize; 4],
}

impl BitGeometry {
    /// Whether there is a path for it: nothing is 0 that must not be, and sums are exact as floats.
    pub fn is_supported(&self) -> bool {
        let Self {
            channels,
            filters,
            kernel: [kh, kw],
            ..
        } = *self;
        let products = channels.checked_mul(kh).and_then(|n| n.checked_mul(kw));
        let sides = [0, 1].map(|i| {
            let most = [
                self.kernel[i].checked_mul(self.dilation[i]),
                self.stride[i].into(),
            ];
            let pads = self.pads[i].max(self.pads[i + 2]);
            (self.stride[i], self.dilation[i]) >= (1, 1)
                && self.dilation[i] >= 1
                && pads < MOST_SIDE
                && most.iter().all(|n| n.is_some_and(|n| n < MOST_SIDE))
        });
        (1..MOST_SIDE).contains(&filters)
            && products.is_some_and(|n| (1..=MOST_PRODUCTS).contains(&n))
            && sides == [true; 2]
    }

    /// Height and width of the output for an image of that size; `None` if no window fits in.
    pub fn out_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let side = |i: usize| {
            let extent = (self.kernel[i].checked_sub(1)?).checked_mul(self.dilation[i])? + 1;
            let padded = size[i]
                .checked_add(self.pads[i])?
                .checked_add(self.pads[i + 2])?;
            (size[i] > 0 && padded < MOST_SIDE)
                .then(|| padded.checked_sub(extent))?
                .map(|rest| rest / self.stride[i] + 1)
        };
        Some([side(0)?, side(1)?])
    }

    /// Bytes of the weights, `[O, kH, kW, ⌈C/8⌉]`.
    pub fn weight_bytes(&self) -> Option<usize> {
        let [kh, kw] = self.kernel;
        let filter = bytes_of(self.channels).checked_mul(kh)?.checked_mul(kw)?;
        filter.checked_mul(self.filters)
    }
}

/// A convolution of bits: its sizes, and its weights as loops read them.
#[derive(Debug)]
pub struct BitConv {
    pub(super) g: BitGeometry,
    /// Words of a window.
    pub(super) words: usize,
    /// `[block][word][lane]`: sixteen filters a block.
    pub(super) lanes: Vec<u32>,
    /// `[filter][word]`.
    pub(super) rows: Vec<u32>,
}

impl BitConv {
    /// Takes weights `[O, kH, kW, ⌈C/8⌉]`, a 1 for +1, as [`Bits`](super::Bits) are laid out; bits beyond the channels
    /// do not count. `None` if there are more or fewer than the sizes say, or these are not supported.
    pub fn new(g: BitGeometry, weights: &[u8]) -> Option<Self> {
        if !g.is_supported() || g.weight_bytes() != Some(weights.len()) {
            return None;
        }
        let side = bytes_of(g.channels);
        let filter = g.kernel[0] * g.kernel[1] * side;
        let words = filter.div_ceil(4);
        let mut rows = vec![0u32; g.filters * words];
        for (row, filter) in rows
            .chunks_exact_mut(words)
            .zip(weights.chunks_exact(filter))
        {
            for (i, byte) in filter.iter().enumerate() {
                let known = match g.channels % PER_BYTE {
                    rest @ 1.. if i % side == side - 1 => (1 << rest) - 1,
                    _ => u8::MAX,
                };
                // Words of activations are made of bytes in memory's order.
                let shift = match cfg!(target_endian = "big") {
                    true => 3 - i % 4,
                    false => i % 4,
                };
                row[i / 4] |= u32::from(byte & known) << (8 * shift);
            }
        }
        let blocks = g.filters.div_ceil(LANES);
        let mut lanes = vec![0u32; blocks * words * LANES];
        for (f, row) in rows.chunks_exact(words).enumerate() {
            for (k, &word) in row.iter().enumerate() {
                lanes[(f / LANES * words + k) * LANES + f % LANES] = word;
            }
        }
        Some(Self {
            g,
            words,
            lanes,
            rows,
        })
    }

    /// Its sizes.
    pub fn geometry(&self) -> &BitGeometry {
        &self.g
    }

    /// Sixteen filters' words.
    pub(super) fn block(&self, block: usize) -> &[u32] {
        &self.lanes[block * self.words * LANES..][..self.words * LANES]
    }
}

/// What becomes of a filter's sum where the output is floats, step by step, each rounded: a division, an addition,
/// a multiplication, an addition. Each has one number for each filter, or is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Affine {
    /// The sum is divided by this first.
    pub divisor: Option<Vec<f32>>,
    /// This is added.
    pub bias: Option<Vec<f32>>,
    /// That is multiplied.
    pub factor: Option<Vec<f32>>,
    /// This is added at last.
    pub shift: Option<Vec<f32>>,
}

impl Affine {
    /// Whether all have a number for each filter.
    pub(super) fn fits(&self, filters: usize) -> bool {
        let all = [&self.divisor, &self.bias, &self.factor, &self.shift];
        all.into_iter().flatten().all(|v| v.len() == filters)
    }
}
