//! Are a layer's evaluated weights ±s per filter?

use ndarray::{ArrayD, Axis};

use super::Latent;

/// Weights that are ±scale, a scale per filter.
#[derive(Debug, Clone)]
pub struct BinaryWeights {
    /// Scale of each filter; 0 where the whole filter is zero.
    pub scale: Vec<f32>,
    /// Whether some weight is 0 in a filter that is not all zero (`Sign` of a zero latent).
    pub has_zero: bool,
    /// The latent weights behind them, where they survived the export.
    pub latent: Option<Latent>,
}

/// Folding chains such as `(b - clip(w)) + clip(w)` leave noise of a few ulp.
const TOLERANCE: f32 = 1e-4;

/// Classifies by value: within each filter (slice along `filter_axis`) every entry must have the
/// same magnitude within 1e-4 relative, or be 0. `None` if they are not binary, or if no filter
/// shows both signs: a box or averaging filter is all one value.
pub(super) fn classify(values: &ArrayD<f32>, filter_axis: usize) -> Option<BinaryWeights> {
    let mut scale = Vec::with_capacity(values.len_of(Axis(filter_axis)));
    let (mut has_zero, mut mixed, mut nonzero) = (false, false, false);
    for filter in values.axis_iter(Axis(filter_axis)) {
        let s = filter.iter().fold(0f32, |m, w| m.max(w.abs()));
        if !s.is_finite() {
            return None;
        }
        let (mut plus, mut minus) = (false, false);
        if s > 0.0 {
            nonzero = true;
            for &w in filter {
                match w {
                    0.0 => has_zero = true,
                    w if (w.abs() - s).abs() <= TOLERANCE * s => {
                        plus |= w > 0.0;
                        minus |= w < 0.0;
                    }
                    _ => return None,
                }
            }
        }
        mixed |= plus && minus;
        scale.push(s);
    }
    (nonzero && mixed).then_some(BinaryWeights {
        scale,
        has_zero,
        latent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::IxDyn;

    fn classified(v: &[f32]) -> Option<BinaryWeights> {
        classify(
            &ArrayD::from_shape_vec(IxDyn(&[2, v.len() / 2]), v.to_vec()).unwrap(),
            0,
        )
    }

    #[test]
    fn a_scale_per_filter_is_binary() {
        let b = classified(&[0.5, -0.5, 0.5, 2.0, -2.0, -2.0]).unwrap();
        assert_eq!(b.scale, [0.5, 2.0]);
        assert!(!b.has_zero);
    }

    #[test]
    fn noise_and_dead_filters_are_accepted() {
        let b = classified(&[0.5, -0.500_000_7, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert!(b.has_zero);
        assert_eq!(b.scale[1], 0.0);
    }

    #[test]
    fn box_filters_ternary_scales_and_floats_are_not() {
        assert!(classified(&[1.0 / 9.0; 18]).is_none());
        assert!(classified(&[1.0, -0.5, 1.0, 2.0, -2.0, 2.0]).is_none());
        assert!(classified(&[0.0; 6]).is_none());
        assert!(classified(&[f32::NAN, 1.0, -1.0, 1.0, 1.0, -1.0]).is_none());
    }
}
