//! Weights as one bit each and a scale, to the bit.

use ndarray::{ArrayD, Axis, IxDyn};

/// Fewer weights take more room packed than as floats, with the nodes that unpack them.
pub const LEAST_WEIGHTS: usize = 256;

/// Weights `sign · scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bits {
    /// Eight signs a byte, the first in the least significant bit: 1 for +, 0 for -; in the order of
    /// the weights, the last byte filled up with 0.
    pub bytes: Vec<u8>,
    /// The weights' shape.
    pub shape: Vec<usize>,
    /// Broadcasts to `shape`; `None` where all weights are ±1.
    pub scale: Option<ArrayD<f32>>,
}

impl Bits {
    /// Of weights that are ±s, with one s for all or one for each slice along an axis, of which
    /// `axis` is tried first. A slice that is 0 as a whole has scale 0.
    ///
    /// # Errors
    /// Why they are not.
    pub fn of(values: &ArrayD<f32>, axis: usize) -> Result<Self, &'static str> {
        if values.len() < LEAST_WEIGHTS {
            return Err("so few weights take less room as they are");
        }
        if values.iter().any(|w| !w.is_finite()) {
            return Err("some of its weights are not finite");
        }
        let others = (0..values.ndim()).filter(|&k| k != axis);
        let mut axes = std::iter::once(axis)
            .filter(|&k| k < values.ndim())
            .chain(others);
        let scale = axes.find_map(|k| scale_along(values, k));
        let scale = scale.ok_or_else(|| why_not(values))?;
        let mut bytes = vec![0u8; values.len().div_ceil(8)];
        for (k, w) in values.iter().enumerate() {
            if *w >= 0.0
                && let Some(byte) = bytes.get_mut(k / 8)
            {
                *byte |= 1 << (k % 8);
            }
        }
        Ok(Self {
            bytes,
            shape: values.shape().to_vec(),
            scale: Some(scale).filter(|s| s.iter().any(|&s| s != 1.0)),
        })
    }

    /// How many weights they are.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// |w| where it is the same in each slice along an axis, as an array that broadcasts to the weights.
fn scale_along(values: &ArrayD<f32>, axis: usize) -> Option<ArrayD<f32>> {
    let mut scales = Vec::with_capacity(values.len_of(Axis(axis)));
    for slice in values.axis_iter(Axis(axis)) {
        let s = slice.first()?.abs();
        if slice.iter().any(|w| w.abs() != s) {
            return None;
        }
        scales.push(s);
    }
    let first = *scales.first()?;
    if scales.iter().all(|&s| s == 0.0) {
        return None;
    }
    if scales.iter().all(|&s| s == first) {
        return Some(ArrayD::from_elem(IxDyn(&[]), first));
    }
    let mut shape = vec![1; values.ndim()];
    *shape.get_mut(axis)? = scales.len();
    ArrayD::from_shape_vec(IxDyn(&shape), scales).ok()
}

fn why_not(values: &ArrayD<f32>) -> &'static str {
    match values.iter().any(|&w| w == 0.0) {
        true => "some of its weights are 0, which one bit does not say",
        false => "its weights are not ±1 times one scale a filter",
    }
}
