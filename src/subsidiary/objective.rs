//! What learning goes down: cross-entropy with the labels, distillation of the original, or both.

use ndarray::ArrayD;

use super::Options;
use crate::data::Images;
use crate::engine::Loss;
use crate::training::loss::{cross_entropy, distillation};

/// Softens the distributions that distillation compares.
const TEMPERATURE: f32 = 2.0;

/// What a loss is computed from, beside a batch's logits.
#[derive(Clone, Copy)]
pub(super) struct Objective<'a> {
    /// The training images' labels are what cross-entropy compares with.
    pub(super) images: &'a Images,
    /// How cross-entropy and distillation are mixed.
    pub(super) options: &'a Options,
    /// What logits are divided by.
    pub(super) temperature: f32,
}

/// Cross-entropy with the labels and distillation of the original's logits, mixed as the
/// options say; without labels, distillation alone. All logits are divided by the temperature.
pub(super) fn loss(
    objective: &Objective<'_>,
    logits: &ArrayD<f32>,
    indices: &[usize],
    taught: Option<&ArrayD<f32>>,
) -> Loss {
    let &Objective {
        images,
        options,
        temperature,
    } = objective;
    if temperature != 1.0 {
        let cooled = |x: &ArrayD<f32>| x.mapv(|v| v / temperature);
        let taught = taught.map(cooled);
        let objective = Objective {
            temperature: 1.0,
            ..*objective
        };
        let mut loss = loss(&objective, &cooled(logits), indices, taught.as_ref());
        loss.grad.mapv_inplace(|g| g / temperature);
        return loss;
    }
    let hard = images.train.labels.as_ref().map(|labels| {
        let labels: Vec<usize> = indices.iter().map(|&i| labels[i]).collect();
        cross_entropy(logits, &labels)
    });
    let soft = taught.map(|t| distillation(logits, t, TEMPERATURE));
    match (hard, soft) {
        (Some(hard), Some(soft)) => hard.mix(soft, options.distill),
        (Some(loss), None) | (None, Some(loss)) => loss,
        (None, None) => Loss {
            value: 0.0,
            grad: ArrayD::zeros(logits.raw_dim()),
        },
    }
}
