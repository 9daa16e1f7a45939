//! The second order alone of how much the loss changes when a channel's gate goes from 1 to 0: half the mean
//! square of the gradients of single images (Theis, Korshunova, Tejani, Huszár, "Faster gaze prediction with dense
//! networks and Fisher pruning", 2018). Where a network is trained the first order is 0, but for what the estimators
//! of the signs above are wrong by.

use super::taylor::gate_gradients;
use super::{Rule, RuleContext, TrainError};

/// Training images looked at.
const IMAGES: usize = 1_024;

#[derive(Debug)]
pub(super) struct Fisher;

impl Rule for Fisher {
    fn name(&self) -> &'static str {
        "fisher"
    }

    fn about(&self) -> &'static str {
        "Prune the filters whose gates' gradients are smallest on single images"
    }

    fn uses_loss(&self) -> bool {
        true
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let gradients = gate_gradients(context, IMAGES)?;
        let mut sums = vec![0.0; context.filters()];
        for image in &gradients {
            for (sum, g) in sums.iter_mut().zip(image) {
                *sum += g * g;
            }
        }
        let count = gradients.len().max(1) as f64;
        Ok(sums.into_iter().map(|sum| 0.5 * sum / count).collect())
    }
}
