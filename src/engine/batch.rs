//! Batches run in parts: what a part of some images computes stays in the cache on its way.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::boundary::Boundary;
use super::error::RunError;
use super::gradients::{Gradients, Loss};
use super::plan::Plan;
use super::weights::Weights;
use crate::network::Network;

/// How large a part is: a function of the sizes alone, so that sums have a fixed order.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartSize {
    /// Elements at the boundary, about.
    elements: usize,
    /// Images, at most.
    images: usize,
}

impl PartSize {
    /// Of a training step, which keeps what it computes for the way back.
    const TRAINING: Self = Self {
        elements: 1 << 19,
        images: 32,
    };
    /// Of an inference.
    pub const INFERENCE: Self = Self {
        elements: 1 << 15,
        images: 64,
    };

    /// The parts of a batch, by their rows.
    pub fn parts(self, from: &Boundary) -> Vec<Range<usize>> {
        let batch = from.batch();
        let images = self.elements * batch / from.elements().max(1);
        let images = images.clamp(1, self.images);
        let part = |i: usize| i * images..((i + 1) * images).min(batch);
        (0..batch.div_ceil(images)).map(part).collect()
    }
}

impl Plan {
    /// The mean loss of a batch, and its gradients with respect to the wanted parameters, where the
    /// plan goes to the network's end. `loss` gives those of some samples, from their logits. Where no
    /// BatchNormalization looks at the whole batch, it runs in parts.
    ///
    /// # Errors
    /// If shapes do not fit, the boundary lacks a value, or the plan is of another network.
    pub fn gradients(
        &self,
        network: &Network,
        weights: &Arc<Weights>,
        from: &Boundary,
        loss: impl Fn(&ArrayD<f32>, Range<usize>) -> Loss + Sync,
    ) -> Result<(f32, Gradients), RunError> {
        let batch = from.batch();
        let parts = PartSize::TRAINING.parts(from);
        if self.mode.batch_statistics_from.is_some() || parts.len() <= 1 {
            return self.of_part(network, weights, from, |logits| loss(logits, 0..batch));
        }
        let found: Vec<(f32, Gradients)> = parts
            .into_par_iter()
            .map(|rows| {
                let share = rows.len() as f32 / batch as f32;
                self.of_part(network, weights, &from.rows(rows.clone()), |logits| {
                    let mut loss = loss(logits, rows);
                    loss.value *= share;
                    loss.grad *= share;
                    loss
                })
            })
            .collect::<Result<_, _>>()?;
        let mut total = (0.0, Gradients::default());
        for (value, gradients) in found {
            total.0 += value;
            total.1.add_all(gradients);
        }
        Ok(total)
    }

    fn of_part(
        &self,
        network: &Network,
        weights: &Arc<Weights>,
        from: &Boundary,
        loss: impl FnOnce(&ArrayD<f32>) -> Loss,
    ) -> Result<(f32, Gradients), RunError> {
        let trace = self.forward(network, weights, from)?;
        let logits = trace
            .value(network.logits())
            .ok_or_else(|| RunError::Missing {
                node: "graph output".to_owned(),
            })?;
        let loss = loss(logits);
        Ok((loss.value, self.backward(network, &trace, loss.grad)))
    }
}
