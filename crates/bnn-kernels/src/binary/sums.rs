//! The output of a binary layer as integers.

use crate::parallel::Planes;

/// A tensor `[N, C, …]` as a binary layer gives it: integers, whose value is `scale · sum + bias` with one
/// scale and one bias for each channel. It takes half the memory of the floats.
#[derive(Debug)]
pub struct Sums {
    /// The integers, row-major.
    pub sums: Vec<i16>,
    /// The tensor's shape, `[N, C, …]`.
    pub shape: Vec<usize>,
    /// Factor of each channel.
    pub scale: Vec<f32>,
    /// What is added to each channel.
    pub bias: Vec<f32>,
}

impl Sums {
    /// The tensor in single precision.
    pub fn to_floats(&self) -> Vec<f32> {
        let planes = Planes::around(&self.shape, 1);
        planes.map(&self.sums, |c, sums, out| {
            let (scale, bias) = (self.scale[c], self.bias[c]);
            let pairs = out.iter_mut().zip(sums);
            pairs.for_each(|(out, &n)| *out = scale * f32::from(n) + bias);
        })
    }
}
