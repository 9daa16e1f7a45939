//! How the values of one image are written as bytes.

use bnn_kernels::binary::Codes;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Values that share a byte.
const PER_BYTE: usize = 4;
const ONE: u32 = 1.0f32.to_bits();
/// All bits of a float but its sign.
const MAGNITUDE: u32 = !(1 << 31);

/// What each byte of packed values stands for.
static VALUES: [[f32; PER_BYTE]; 256] = {
    let mut all = [[0.0; PER_BYTE]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut i = 0;
        while i < PER_BYTE {
            let code = (byte >> (2 * i)) as u32;
            let magnitude = if code & 1 == 1 { ONE } else { 0 };
            all[byte][i] = f32::from_bits(magnitude | (code & 2) << 30);
            i += 1;
        }
        byte += 1;
    }
    all
};

/// How values are written. Both ways give them back to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    /// All are ±1 or ±0: two bits each, whether it is one and its sign.
    Packed,
    /// As the engine's codes, four channels of a pixel a byte.
    Codes,
    Float,
}

/// `[N, C, H, W]` of the codes of tensors of that shape, the batch left out.
pub(super) fn codes_shape(batch: usize, shape: &[usize]) -> [usize; 4] {
    match *shape {
        // A signal is an image of one row.
        [channels, length] => [batch, channels, 1, length],
        _ => {
            let size = |axis: usize| shape.get(axis).copied().unwrap_or(1);
            [batch, size(0), size(1), size(2)]
        }
    }
}

impl Format {
    /// The shorter way to write these floats.
    pub(super) fn of(values: &[f32]) -> Self {
        let ternary = |v: &f32| {
            let magnitude = v.to_bits() & MAGNITUDE;
            (magnitude == ONE) | (magnitude == 0)
        };
        // Parts without a branch in them, and a way out between two.
        let fits = |part: &[f32]| part.iter().fold(true, |all, v| all & ternary(v));
        match values.par_chunks(1 << 14).all(fits) {
            true => Self::Packed,
            false => Self::Float,
        }
    }

    /// Bytes that the values of an image take, of that shape.
    pub(super) fn bytes(self, shape: &[usize]) -> usize {
        let values: usize = shape.iter().product();
        match self {
            Self::Packed => values.div_ceil(PER_BYTE),
            Self::Codes => values / shape[0].max(1) * shape[0].div_ceil(Codes::CHANNELS),
            Self::Float => values * size_of::<f32>(),
        }
    }

    /// Writes values, which must be of this format (and no codes), into as many bytes as they take.
    pub(super) fn write(self, values: &[f32], to: &mut [u8]) {
        match self {
            Self::Codes => unreachable!("codes are bytes already"),
            Self::Packed => {
                for (byte, values) in to.iter_mut().zip(values.chunks(PER_BYTE)) {
                    let codes = values.iter().enumerate().map(|(i, v)| {
                        let bits = v.to_bits();
                        let code = u32::from(bits & MAGNITUDE == ONE) | (bits >> 30 & 2);
                        code << (2 * i)
                    });
                    *byte = codes.fold(0, |all, code| all | code) as u8;
                }
            }
            Self::Float => {
                for (bytes, v) in to.chunks_exact_mut(size_of::<f32>()).zip(values) {
                    bytes.copy_from_slice(&v.to_ne_bytes());
                }
            }
        }
    }

    /// The values of an image of that shape that these bytes stand for.
    pub(super) fn read(self, from: &[u8], shape: &[usize], to: &mut [f32]) {
        match self {
            Self::Codes => {
                let data = from[..self.bytes(shape)].to_vec();
                let codes = Codes::from_bytes(codes_shape(1, shape), data);
                to.copy_from_slice(&codes.expect("codes, as they were pushed").unpack());
            }
            Self::Packed => {
                for (values, &byte) in to.chunks_mut(PER_BYTE).zip(from) {
                    values.copy_from_slice(&VALUES[usize::from(byte)][..values.len()]);
                }
            }
            Self::Float => {
                for (v, bytes) in to.iter_mut().zip(from.chunks_exact(size_of::<f32>())) {
                    let mut four = [0; size_of::<f32>()];
                    four.copy_from_slice(bytes);
                    *v = f32::from_ne_bytes(four);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(format: Format, values: &[f32]) -> Vec<u32> {
        let mut bytes = vec![0xff; format.bytes(&[values.len()])];
        format.write(values, &mut bytes);
        let mut back = vec![7.0; values.len()];
        format.read(&bytes, &[values.len()], &mut back);
        bits(&back)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn both_formats_give_values_back_to_the_bit() {
        for count in [0, 1, 3, 4, 5, 64, 99] {
            let choice = [1.0, -1.0, 0.0, -0.0, 1.0];
            let some: Vec<f32> = (0..count).map(|i| choice[i * 7 % 5]).collect();
            assert_eq!(Format::of(&some), Format::Packed);
            assert_eq!(Format::Packed.bytes(&[count]), count.div_ceil(4));
            assert_eq!(through(Format::Packed, &some), bits(&some));
            assert_eq!(through(Format::Float, &some), bits(&some));
        }
        let odd = [0.5, f32::NAN, f32::INFINITY, -1e-40, f32::MIN_POSITIVE];
        assert_eq!(through(Format::Float, &odd), bits(&odd));
    }

    #[test]
    fn one_other_value_is_seen() {
        for other in [
            0.5,
            -2.0,
            f32::NAN,
            f32::INFINITY,
            1e-40,
            1.0 + f32::EPSILON,
        ] {
            let mut values = vec![1.0; 40_000];
            values[33_333] = other;
            assert_eq!(Format::of(&values), Format::Float, "{other}");
        }
    }
}
