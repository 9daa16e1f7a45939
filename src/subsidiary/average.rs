//! The moving average of a retraining phase, kept where it is the better end of it.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::param_values::ParamValues;
use super::span::Span;
use super::trainer::Trainer;
use crate::network::{Network, ParamId};

/// A moving average of parameters over the last tenth of a phase: the sign of an averaged latent
/// is the one it mostly had, not the one of the last step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Average {
    values: ParamValues,
    rate: f32,
}

impl Average {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            values: ParamValues::default(),
            rate: (10.0 / steps.max(1) as f32).min(1.0),
        }
    }

    pub(super) fn update(&mut self, network: &Network, params: &[ParamId]) {
        if self.values.is_empty() {
            self.values = ParamValues::of(network, params);
            return;
        }
        for (mean, &p) in self.values.0.iter_mut().zip(params) {
            mean.zip_mut_with(&network.param(p).value, |m, &x| *m += self.rate * (x - *m));
        }
    }

    /// Whether these can be averages of those parameters.
    pub(super) fn fits(&self, network: &Network, params: &[ParamId]) -> bool {
        self.values.fits(network, params)
    }
}

impl Trainer<'_> {
    /// The parameters become their averages if that lowers the loss on training images. In short
    /// phases on few images it mostly does; in long ones the last step's signs fit each other
    /// better. Whether they did.
    pub(super) fn settle(
        &mut self,
        span: &Span,
        params: &[ParamId],
        average: Average,
    ) -> Result<bool, TrainError> {
        Ok(!average.values.is_empty() && self.take_unless_worse(span, params, average.values)?)
    }
}
