//! Mean |W| of a filter as the file has it. For a binary layer that is its scale α (Rastegari et al.,
//! "XNOR-Net", ECCV 2016); in float networks it is the usual criterion (Li et al., "Pruning Filters
//! for Efficient ConvNets", ICLR 2017).

use ndarray::{ArrayD, Axis};

use super::{Rule, RuleContext, TrainError};

#[derive(Debug)]
pub(super) struct Magnitude;

impl Rule for Magnitude {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn about(&self) -> &'static str {
        "Prune the filters with the smallest mean |W|"
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        // A coupled group is as large as its members together.
        let mut scores = vec![0f32; context.filters()];
        for (layer, channel_of) in context.members() {
            let sizes = mean_abs(&layer.values, layer.filter_axis);
            for (&channel, size) in channel_of.iter().zip(sizes) {
                scores[channel] += size;
            }
        }
        Ok(scores.into_iter().map(f64::from).collect())
    }
}

/// Mean |w| of each filter of a weight whose filters lie along `axis`. For a binary layer this is
/// its scale.
pub(super) fn mean_abs(weight: &ArrayD<f32>, axis: usize) -> Vec<f32> {
    weight
        .axis_iter(Axis(axis))
        .map(|f| f.iter().map(|w| w.abs()).sum::<f32>() / f.len().max(1) as f32)
        .collect()
}
