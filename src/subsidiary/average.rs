//! The moving average of a retraining phase, kept where it is the better end of it.

use std::borrow::Cow;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::evaluate::{STATISTICS_IMAGES, sample, share_of};
use super::teacher::Sample;
use super::trainer::{Span, Trainer, loss};
use crate::engine::Inference;
use crate::network::{Network, ParamId};

/// A moving average of parameters over the last tenth of a phase: the sign of an averaged latent
/// is the one it mostly had, not the one of the last step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Average {
    values: Vec<ArrayD<f32>>,
    rate: f32,
}

impl Average {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            values: Vec::new(),
            rate: (10.0 / steps.max(1) as f32).min(1.0),
        }
    }

    pub(super) fn update(&mut self, network: &Network, params: &[ParamId]) {
        let now = params.iter().map(|&p| &network.param(p).value);
        if self.values.is_empty() {
            self.values = now.cloned().collect();
            return;
        }
        let rate = self.rate;
        for (mean, now) in self.values.iter_mut().zip(now) {
            mean.zip_mut_with(now, |m, &x| *m += rate * (x - *m));
        }
    }

    /// Whether these can be averages of those parameters.
    pub(super) fn fits(&self, network: &Network, params: &[ParamId]) -> bool {
        let same = |(mean, p): (&ArrayD<f32>, &ParamId)| {
            let now = network.params().get(p.0);
            now.is_some_and(|now| now.value.shape() == mean.shape())
        };
        self.values.is_empty()
            || (self.values.len() == params.len() && self.values.iter().zip(params).all(same))
    }

    /// Exchanges the parameters and their averages.
    fn swap(&mut self, network: &mut Network, params: &[ParamId]) {
        for (&p, mean) in params.iter().zip(&mut self.values) {
            network.exchange(p, mean);
        }
    }
}

impl Trainer<'_> {
    /// The parameters become their averages if that lowers the loss on training images. In short
    /// phases on few images it mostly does; in long ones the last step's signs fit each other
    /// better.
    pub(super) fn settle(
        &mut self,
        span: &Span,
        params: &[ParamId],
        mut average: Average,
    ) -> Result<(), TrainError> {
        if average.values.is_empty() {
            return Ok(());
        }
        let last = self.clean_loss(span)?;
        average.swap(self.network, params);
        self.reestimate(span)?;
        if self.clean_loss(span)? > last {
            average.swap(self.network, params);
            self.reestimate(span)?;
        }
        Ok(())
    }

    /// Mean loss on (at most 2,048 of) the training images as they are, by running statistics.
    pub(super) fn clean_loss(&self, span: &Span) -> Result<f64, TrainError> {
        let chosen = sample(self.network, &span.images, STATISTICS_IMAGES);
        let steps = span.from..self.network.end();
        let inference = Inference::new(Cow::Borrowed(&*self.network), steps);
        let mut losses = Vec::new();
        for indices in share_of(self.network, &chosen, self.group) {
            self.check_cancelled()?;
            let Sample { boundary, taught } = self.sample(span, indices, false)?;
            let logits = inference.logits(&boundary)?;
            let loss = loss(
                (self.images, self.options(), self.temperature),
                &logits,
                indices,
                taught.as_ref(),
            );
            losses.push(f64::from(loss.value) * indices.len() as f64);
        }
        let sum: f64 = self.group.gather_numbers(&losses)?.iter().sum();
        Ok(sum / chosen.len().max(1) as f64)
    }
}
