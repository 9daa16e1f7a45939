//! Gradients of a batch, part by part where that gives the same: what a part of some images computes
//! stays in the cache on its way forward and back.

use std::ops::Range;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::cut::{Cut, Held};
use super::loss::Loss;
use super::network::Network;
use super::trace::{Gradients, Mode, RunError};

/// Elements at the cut that a part has about: a function of the sizes alone.
const PART_ELEMENTS: usize = 1 << 19;
/// Images of a part at most.
const PART_IMAGES: usize = 32;

impl Network {
    /// The mean loss of a batch, and its gradients with respect to the wanted parameters. `loss` gives
    /// those of some samples, from their logits. Where no BatchNormalization looks at the whole batch,
    /// it runs in parts; their sums have a fixed order.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn gradients(
        &self,
        from: &Cut,
        mode: Mode<'_>,
        loss: impl Fn(&ArrayD<f32>, Range<usize>) -> Loss + Sync,
    ) -> Result<(f32, Gradients), RunError> {
        let batch = from.values.first().map_or(0, |(_, x)| x.shape()[0]);
        let size = |x: &Held| x.shape().iter().product::<usize>();
        let elements: usize = from.values.iter().map(|(_, x)| size(x)).sum();
        let images = PART_ELEMENTS * batch / elements.max(1);
        let images = images.clamp(1, PART_IMAGES);
        if mode.batch_statistics_from.is_some() || batch <= images {
            return self.gradients_of(from, mode, |logits| loss(logits, 0..batch));
        }
        let prepared = std::sync::Arc::new(self.prepare());
        let mode = Mode {
            prepared: Some(mode.prepared.unwrap_or(&prepared)),
            ..mode
        };
        let parts: Vec<(f32, Gradients)> = (0..batch.div_ceil(images))
            .into_par_iter()
            .map(|i| {
                let rows = i * images..((i + 1) * images).min(batch);
                let share = rows.len() as f32 / batch as f32;
                self.gradients_of(&from.rows(rows.clone()), mode, |logits| {
                    let mut loss = loss(logits, rows);
                    loss.value *= share;
                    loss.grad *= share;
                    loss
                })
            })
            .collect::<Result<_, _>>()?;
        let mut total = (0.0, Gradients::default());
        for (value, gradients) in parts {
            total.0 += value;
            for (p, grad) in gradients.by_param {
                total.1.add(p, grad);
            }
        }
        Ok(total)
    }

    fn gradients_of(
        &self,
        from: &Cut,
        mode: Mode<'_>,
        loss: impl FnOnce(&ArrayD<f32>) -> Loss,
    ) -> Result<(f32, Gradients), RunError> {
        let trace = self.forward(from, self.end(), mode)?;
        let logits = trace
            .value(self.logits())
            .ok_or_else(|| RunError::Missing {
                node: "graph output".to_owned(),
            })?;
        let loss = loss(logits);
        Ok((loss.value, self.backward(&trace, loss.grad)))
    }
}
