//! Are a layer's evaluated weights ±s per filter?

use ndarray::{ArrayD, Axis};

use super::Latent;
use crate::onnx::DataType;

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

/// By how much of their size weights of one scale may differ: folding chains such as `(b - clip(w)) + clip(w)` leave
/// noise of some steps of the type that they are computed in.
fn tolerance(element: Option<DataType>) -> f32 {
    match element {
        Some(DataType::F16) => 1.0 / 128.0,
        Some(DataType::Bf16) => 1.0 / 32.0,
        _ => 1e-4,
    }
}

/// Where more than one in this many weights (of filters that are not all zero) is 0, they are
/// ternary: `Sign` of a latent that is exactly 0 is a rare accident.
const TERNARY: usize = 5;

/// Classifies by value: within each filter (slice along `filter_axis`) every entry must have the
/// same magnitude but for rounding in the type `element`, or be 0. `None` if they are not binary, or if no filter
/// shows both signs: a box or averaging filter is all one value.
///
/// `live`: they are the signs of latents in the file, of which any number may be 0. `groups`: those of a
/// convolution.
pub(super) fn classify(
    values: &ArrayD<f32>,
    element: Option<DataType>,
    filter_axis: usize,
    groups: usize,
    live: bool,
) -> Option<BinaryWeights> {
    let tolerance = tolerance(element);
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
                    w if (w.abs() - s).abs() <= tolerance * s => {
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
    let ternary = !live && has_zero && ternary(values, filter_axis, groups);
    (nonzero && mixed && !ternary).then_some(BinaryWeights {
        scale,
        has_zero,
        latent: None,
    })
}

/// Whether too many weights are 0, not counting whole filters and whole input channels (of a group) of
/// zeros: those were masked.
fn ternary(values: &ArrayD<f32>, filter_axis: usize, groups: usize) -> bool {
    let filters = values.len_of(Axis(filter_axis));
    let each = match filter_axis {
        0 => filters.div_ceil(groups.max(1)).max(1),
        _ => filters.max(1),
    };
    let (mut zeros, mut counted) = (0usize, 0usize);
    for group in values.axis_chunks_iter(Axis(filter_axis), each) {
        let columns = group.axis_iter(Axis(1 - filter_axis));
        let dead: Vec<bool> = columns.map(|c| c.iter().all(|&w| w == 0.0)).collect();
        for filter in group.axis_iter(Axis(filter_axis)) {
            if filter.iter().all(|&w| w == 0.0) {
                continue;
            }
            // Without the filters' axis, the columns' is the first one.
            for (column, _) in filter.axis_iter(Axis(0)).zip(&dead).filter(|(_, d)| !**d) {
                zeros += column.iter().filter(|w| **w == 0.0).count();
                counted += column.len();
            }
        }
    }
    zeros.saturating_mul(TERNARY) > counted
}

/// Why [`classify`] does not take weights for binary ones.
pub(super) fn why_not(
    values: &ArrayD<f32>,
    element: Option<DataType>,
    filter_axis: usize,
) -> &'static str {
    let tolerance = tolerance(element);
    let (mut mixed, mut on_grid) = (false, true);
    for filter in values.axis_iter(Axis(filter_axis)) {
        let s = filter.iter().fold(0f32, |m, w| m.max(w.abs()));
        on_grid &= filter
            .iter()
            .all(|w| *w == 0.0 || (w.abs() - s).abs() <= tolerance * s);
        mixed |= filter.iter().any(|w| *w > 0.0) && filter.iter().any(|w| *w < 0.0);
    }
    match on_grid {
        true if values.iter().all(|w| *w == 0.0) => "its weights are all zero",
        true if !mixed => {
            "its weights are all of one sign and size in each filter, such as an averaging filter's"
        }
        true => "its weights are ternary (-s, 0 and s), not ±1 times a scale per filter",
        false => "its weights are not ±1 times a scale per filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::IxDyn;

    fn classified(v: &[f32]) -> Option<BinaryWeights> {
        classify(
            &ArrayD::from_shape_vec(IxDyn(&[2, v.len() / 2]), v.to_vec()).unwrap(),
            None,
            0,
            1,
            false,
        )
    }

    #[test]
    fn rounding_is_that_of_the_type() {
        let one = ndarray::arr2(&[[0.1f32, -0.1001, 0.0999, -0.1]]).into_dyn();
        assert!(classify(&one, None, 0, 1, false).is_none());
        for half in [DataType::F16, DataType::Bf16] {
            assert!(classify(&one, Some(half), 0, 1, false).is_some());
        }
        let two = ndarray::arr2(&[[0.1f32, -0.12, 0.1, -0.1]]).into_dyn();
        for half in [DataType::F16, DataType::Bf16] {
            assert!(classify(&two, Some(half), 0, 1, false).is_none());
        }
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
    fn an_input_channel_of_a_group_may_be_of_zeros() {
        let values = [1.0, 0.0, -1.0, 0.0, 1.0, -1.0, -1.0, 1.0];
        let values = ArrayD::from_shape_vec(IxDyn(&[4, 2]), values.to_vec()).unwrap();
        assert!(classify(&values, None, 0, 1, false).is_none());
        assert!(classify(&values, None, 0, 2, false).unwrap().has_zero);
    }

    #[test]
    fn box_filters_ternary_scales_and_floats_are_not() {
        assert!(classified(&[1.0 / 9.0; 18]).is_none());
        assert!(classified(&[1.0, -0.5, 1.0, 2.0, -2.0, 2.0]).is_none());
        assert!(classified(&[1.0, -1.0, 0.0, 0.0, 1.0, -1.0]).is_none());
        assert!(classified(&[0.0; 6]).is_none());
        assert!(classified(&[f32::NAN, 1.0, -1.0, 1.0, 1.0, -1.0]).is_none());
    }
}
