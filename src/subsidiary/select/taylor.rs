//! How much the loss is expected to change when a channel's gate m goes from 1 to 0: by the first
//! order |dL/dm| (Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
//! Inference", ICLR 2017) plus half the second one, for which the mean square of the gradients of
//! single images stands (Fisher information, as in Molchanov et al., "Importance Estimation for Neural
//! Network Pruning", CVPR 2019).
//!
//! The gate is the mask that the method learns, whose gradient is that of its parameter M through the
//! straight-through estimator: dL/dM = dL/dm / 2 ([`ChannelMask`](crate::ops::ChannelMask)). Signs
//! above let gradients through by their own estimators, as in training.

use std::sync::Arc;

use ndarray::{ArrayD, Axis};
use rayon::prelude::*;

use super::{Rule, RuleContext, TrainError};
use crate::distributed::Alone;
use crate::engine::{Mode, Plan, Precision, Wanted, Weights};
use crate::subsidiary::objective::loss;
use crate::subsidiary::sanity::spread;
use crate::subsidiary::span::TrainingImages;
use crate::subsidiary::teacher::Sample;

/// Training images looked at.
const IMAGES: usize = 1_024;
/// So many of them at a time.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct Taylor;

impl Rule for Taylor {
    fn name(&self) -> &'static str {
        "taylor"
    }

    fn about(&self) -> &'static str {
        "Prune the filters whose gates change the loss least, by its gradients"
    }

    fn uses_loss(&self) -> bool {
        true
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let gradients = gate_gradients(context, IMAGES)?;
        let count = gradients.len().max(1) as f64;
        let mut sums = vec![(0.0, 0.0); context.filters()];
        for image in &gradients {
            for ((first, second), g) in sums.iter_mut().zip(image) {
                *first += g;
                *second += g * g;
            }
        }
        let score = |(first, second): (f64, f64)| (first / count).abs() + 0.5 * second / count;
        Ok(sums.into_iter().map(score).collect())
    }
}

/// dL/dm of each channel, for each of at most `count` training images.
pub(super) fn gate_gradients(
    context: &RuleContext<'_, '_>,
    count: usize,
) -> Result<Vec<Vec<f64>>, TrainError> {
    let (trainer, m) = (&*context.trainer, context.m);
    let network = &*trainer.network;
    let mode = Mode {
        batch_statistics_from: None,
        wanted: Wanted::of(network, [m]),
        // 8 bits are right on average of many images, and here each one counts.
        gradients: Precision::F32,
        ..Mode::default()
    };
    let plan = Plan::new(network, context.span.from..network.end(), mode);
    let weights = Arc::new(Weights::new(network));
    let batch = plan.batch(network, 1, &Alone);
    let objective = trainer.objective();
    let mut found = Vec::new();
    for indices in spread(&context.span.images, count).chunks(BATCH) {
        trainer.check_cancelled()?;
        let Sample { boundary, taught } =
            trainer.sample(context.span, indices, TrainingImages::Augmented)?;
        let of_image = |i: usize| -> Result<Vec<f64>, TrainError> {
            let taught = taught.as_ref().map(|t| t.select(Axis(0), &[i]));
            let loss =
                |logits: &ArrayD<f32>, _| loss(&objective, logits, &[indices[i]], taught.as_ref());
            let one = boundary.select(&[i]);
            let (_, gradients) = plan.gradients(network, &weights, &batch, &one, loss)?;
            let through = |g: &ArrayD<f32>| g.iter().map(|&g| 2.0 * f64::from(g)).collect();
            let none = || vec![0.0; context.group.filters];
            Ok(gradients.get(m).map_or_else(none, through))
        };
        let all = (0..indices.len()).into_par_iter().map(of_image);
        found.extend(all.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}
