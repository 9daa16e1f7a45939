//! Other values of the parameters that are trained, taken where the network is better with them.

use std::borrow::Cow;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::evaluate::{STATISTICS_IMAGES, sample, share_of};
use super::objective::loss;
use super::span::{Span, TrainingImages};
use super::teacher::Sample;
use super::trainer::Trainer;
use crate::engine::Inference;
use crate::network::{Network, ParamId};

/// A value for each of some parameters, in their order; none at all before there are any.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ParamValues(pub(super) Vec<ArrayD<f32>>);

impl ParamValues {
    /// Those that the network has now.
    pub(super) fn of(network: &Network, params: &[ParamId]) -> Self {
        let values = params.iter().map(|&p| network.param(p).value.clone());
        Self(values.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these can be values of those parameters.
    pub(super) fn fits(&self, network: &Network, params: &[ParamId]) -> bool {
        let same = |(value, p): (&ArrayD<f32>, &ParamId)| {
            let now = network.params().get(p.0);
            now.is_some_and(|now| now.value.shape() == value.shape())
        };
        self.is_empty() || (self.0.len() == params.len() && self.0.iter().zip(params).all(same))
    }

    /// Exchanges these and those that the network has.
    fn swap(&mut self, network: &mut Network, params: &[ParamId]) {
        for (&p, value) in params.iter().zip(&mut self.0) {
            network.exchange(p, value);
        }
    }
}

impl Trainer<'_> {
    /// The parameters take these values, and statistics follow, unless that raises the loss on training images
    /// as they are; whether they did.
    pub(super) fn take_unless_worse(
        &mut self,
        span: &Span,
        params: &[ParamId],
        mut values: ParamValues,
    ) -> Result<bool, TrainError> {
        let last = self.clean_loss(span)?;
        values.swap(self.network, params);
        self.reestimate(span)?;
        if self.clean_loss(span)? > last {
            values.swap(self.network, params);
            self.reestimate(span)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Mean loss on (at most 2,048 of) the training images as they are, by running statistics.
    fn clean_loss(&self, span: &Span) -> Result<f64, TrainError> {
        let chosen = sample(self.network, &span.images, STATISTICS_IMAGES);
        let steps = span.from..self.network.end();
        let inference = Inference::new(Cow::Borrowed(&*self.network), steps);
        let mut losses = Vec::new();
        for indices in share_of(self.network, &chosen, self.processes) {
            self.check_cancelled()?;
            let Sample { boundary, taught } =
                self.sample(span, indices, TrainingImages::AsTheyAre)?;
            let logits = inference.logits(&boundary)?;
            let loss = loss(&self.objective(), &logits, indices, taught.as_ref());
            losses.push(f64::from(loss.value) * indices.len() as f64);
        }
        let sum: f64 = self.processes.gather_numbers(&losses)?.iter().sum();
        Ok(sum / chosen.len().max(1) as f64)
    }
}
