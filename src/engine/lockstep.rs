//! The parts of a batch, in lock-step: each runs until a BatchNormalization needs the statistics of the whole
//! batch, and waits there for the others, those of other processes included.
//!
//! Forward, a BatchNormalization needs sums over the batch of what it reads; on the way back, of the gradient of
//! what it writes. Both are added up part after part. Gradients of weights are added up part by part too, in
//! the order of a tree ([`tree`]). So nothing depends on who computed a part.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bnn_kernels::elementwise::{ChannelStatistics, Moments};
use ndarray::{ArrayD, Axis, concatenate};
use rayon::prelude::*;

use super::batch::Batch;
use super::boundary::Boundary;
use super::error::RunError;
use super::exchange;
use super::gradients::{Found, Gradients, Loss, Target};
use super::plan::{Plan, Planned};
use super::tasks::{Backward, BatchNormalizer, Forward, Record};
use super::value::Value;
use super::weights::Weights;
use crate::arrays::recycle_array;
use crate::distributed::tree::{self, Node};
use crate::network::{BinaryId, Network, ParamId, StepId};

/// What a part is at.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// What exists now, and what the way back needs.
    pub values: Vec<Option<Value>>,
    /// Of each task that ran.
    records: Vec<Record>,
    /// Gradients on their way, by the value that they are with respect to.
    flowing: Vec<Option<ArrayD<f32>>>,
    /// That of a normalisation's output, while the parts' sums are added up.
    waiting: Option<ArrayD<f32>>,
    /// Gradients of what is trained, since they were last taken.
    found: Found,
}

impl Part {
    /// At its start.
    fn new(network: &Network, from: &Boundary) -> Self {
        let mut values = vec![None; network.value_count()];
        for (v, x) in &from.values {
            if let Some(slot) = values.get_mut(v.0) {
                *slot = Some(x.clone());
            }
        }
        Self {
            values,
            ..Self::default()
        }
    }
}

/// What all parts have to know of the batch, by stretch ([`Plan::stretches`]).
pub(super) type Statistics = BTreeMap<usize, ChannelStatistics>;

/// A plan on its way over a batch.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub plan: &'a Plan,
    pub network: &'a Network,
    pub weights: &'a Arc<Weights>,
    pub batch: &'a Batch<'a>,
}

impl<'a> Run<'a> {
    /// The parts of this process at their start, from a boundary that has their rows.
    ///
    /// # Errors
    /// If the boundary is at another step than the plan's first, or the network has got other steps since the
    /// plan was made.
    pub fn parts(self, from: &Boundary) -> Result<Vec<Part>, RunError> {
        let plan = self.plan;
        if plan.revision != self.network.revision() || from.step != plan.range.start {
            return Err(RunError::OtherNetwork);
        }
        let rows = self.batch.rows();
        let mine = self.batch.parts.get(self.batch.mine.clone());
        let mine = mine.unwrap_or_default().par_iter().map(|part| {
            let whole = *part == rows;
            let rows = part.start - rows.start..part.end - rows.start;
            match whole {
                true => Part::new(self.network, from),
                false => Part::new(self.network, &from.rows(rows)),
            }
        });
        Ok(mine.collect())
    }

    /// The normalisation that a stretch begins with.
    fn normalizer(self, stretch: usize) -> Option<(&'a Planned, &'a dyn BatchNormalizer)> {
        let planned = self
            .plan
            .tasks
            .get(self.plan.stretches.get(stretch)?.start)?;
        Some((planned, planned.task.normalizer()?))
    }

    /// Which step of the network that is.
    pub fn step(self, stretch: usize) -> Option<StepId> {
        Some(self.normalizer(stretch)?.1.step())
    }

    /// Runs a stretch; what the part adds to the statistics of the next one's normalisation, if there is one.
    fn ahead(
        self,
        part: &mut Part,
        stretch: usize,
        statistics: &Statistics,
    ) -> Result<Option<Moments>, RunError> {
        let mut pass = Forward {
            network: self.network,
            weights: self.weights,
            values: std::mem::take(&mut part.values),
        };
        for planned in &self.plan.tasks[self.plan.stretches[stretch].clone()] {
            let record = match planned.task.normalizer() {
                Some(norm) => {
                    let batch = statistics.get(&stretch);
                    let batch = batch.ok_or_else(|| RunError::Missing {
                        node: self.network.step(norm.step()).name.clone(),
                    })?;
                    norm.forward(&mut pass, batch)?;
                    Record::default()
                }
                None => planned.task.forward(&mut pass)?,
            };
            part.records.push(record);
            planned.free.iter().for_each(|&v| pass.free(v));
        }
        let next = self.normalizer(stretch + 1);
        let moments = next.map(|(_, norm)| norm.moments(&pass)).transpose()?;
        part.values = pass.values;
        Ok(moments)
    }

    /// Runs all stretches but the last one, in lock-step; what the last one has to know is then in the
    /// statistics.
    pub fn forward(self, parts: &mut [Part]) -> Result<Statistics, RunError> {
        let mut statistics = Statistics::new();
        for stretch in 0..self.plan.stretches.len().saturating_sub(1) {
            let known = &statistics;
            let moments: Vec<Option<Moments>> = parts
                .par_iter_mut()
                .map(|part| self.ahead(part, stretch, known))
                .collect::<Result<_, _>>()?;
            let moments: Vec<Moments> = moments.into_iter().flatten().collect();
            let all = exchange::moments(self.batch.processes, moments)?;
            statistics.insert(stretch + 1, ChannelStatistics::of_parts(&all));
        }
        Ok(statistics)
    }

    /// Runs the last stretch.
    pub fn forward_last(self, part: &mut Part, statistics: &Statistics) -> Result<(), RunError> {
        self.ahead(part, self.plan.stretches.len() - 1, statistics)?;
        Ok(())
    }

    /// Brings a part's gradients back through a stretch, and to the output of the normalisation that it begins
    /// with; of that the sums. `sums`: of the whole batch, at the normalisation of the stretch that follows.
    fn back(
        self,
        part: &mut Part,
        stretch: usize,
        statistics: &Statistics,
        sums: &[[f64; 2]],
    ) -> Vec<[f64; 2]> {
        let mut pass = Backward {
            network: self.network,
            weights: self.weights,
            precision: self.plan.mode.gradients,
            values: &part.values,
            flowing: std::mem::take(&mut part.flowing),
            found: std::mem::take(&mut part.found),
        };
        if let (Some((_, norm)), Some(grad)) = (self.normalizer(stretch + 1), part.waiting.take())
            && let Some(batch) = statistics.get(&(stretch + 1))
        {
            match sums.is_empty() {
                true => recycle_array(grad),
                false => norm.past_normalization(&mut pass, batch, sums, grad),
            }
        }
        let mut own = Vec::new();
        let range = self.plan.stretches[stretch].clone();
        let tasks = self.plan.tasks[range.clone()]
            .iter()
            .zip(&part.records[range]);
        for (planned, record) in tasks.rev() {
            let slot = pass.flowing.get_mut(planned.output.0);
            let Some(mut grad) = slot.and_then(Option::take) else {
                continue;
            };
            match (planned.task.normalizer(), statistics.get(&stretch)) {
                _ if !planned.moves => recycle_array(grad),
                (Some(norm), Some(batch)) => {
                    own = norm.to_normalization(&mut pass, batch, &mut grad);
                    part.waiting = Some(grad);
                }
                _ => planned.task.backward(&mut pass, record, grad),
            }
        }
        part.flowing = pass.flowing;
        part.found = pass.found;
        own
    }

    /// Begins the way back: from the gradient of the logits to the last stretch's start.
    pub fn back_last(
        self,
        part: &mut Part,
        statistics: &Statistics,
        grad: ArrayD<f32>,
    ) -> Vec<[f64; 2]> {
        part.flowing = vec![None; self.network.value_count()];
        if let Some(slot) = part.flowing.get_mut(self.network.logits().0) {
            *slot = Some(grad.as_standard_layout().into_owned());
        }
        self.back(part, self.plan.stretches.len() - 1, statistics, &[])
    }

    /// Goes on with the way back, in lock-step, with what each part has added up at the normalisation that the
    /// last stretch begins with. The gradients of the whole batch.
    pub fn backward(
        self,
        parts: &mut [Part],
        statistics: &Statistics,
        mut own: Vec<Vec<[f64; 2]>>,
    ) -> Result<Gradients, RunError> {
        let mut found = vec![self.added_up(parts)];
        for stretch in (0..self.plan.stretches.len() - 1).rev() {
            let next = self.normalizer(stretch + 1);
            let sums = match (next, statistics.get(&(stretch + 1))) {
                (Some((planned, norm)), Some(batch)) if planned.moves && norm.passes_on() => {
                    exchange::total(self.batch.processes, &own, batch.mean.len())?
                }
                _ => Vec::new(),
            };
            own = parts
                .par_iter_mut()
                .map(|part| self.back(part, stretch, statistics, &sums))
                .collect();
            found.push(self.added_up(parts));
        }
        let mut gradients = Gradients::default();
        if self.plan.mode.input {
            let input = self.network.input().0;
            let each = parts
                .iter_mut()
                .filter_map(|p| p.flowing.get_mut(input)?.take());
            let mut each: Vec<ArrayD<f32>> = each.collect();
            gradients.set_input(match each.len() {
                0 | 1 => each.pop(),
                _ => {
                    let views: Vec<_> = each.iter().map(|g| g.view()).collect();
                    concatenate(Axis(0), &views).ok()
                }
            });
        }
        let mut binary: BTreeMap<BinaryId, Found> = BTreeMap::new();
        for sums in exchange::gradients(self.batch, found)? {
            for (target, grad) in sums.by_target {
                match target {
                    Target::Param(p) => gradients.add(p, grad),
                    Target::Binary(b) => binary.entry(b).or_default().add(target, grad),
                }
            }
        }
        for (b, found) in binary {
            for grad in found.by_target.into_values() {
                self.add_binary(b, &grad, &mut gradients);
            }
        }
        Ok(gradients)
    }

    /// What the parts of this process have found since it was last taken, added up as far as the tree allows.
    fn added_up(self, parts: &mut [Part]) -> Vec<Node<Found>> {
        let first = self.batch.mine.start;
        let leaves = parts.iter_mut().enumerate().map(|(i, part)| Node {
            parts: first + i..first + i + 1,
            sum: std::mem::take(&mut part.found),
        });
        tree::fold(self.batch.parts.len(), leaves, Found::and)
    }

    /// From the gradient of an effective weight to those of its latents and its scale.
    fn add_binary(self, b: BinaryId, grad: &ArrayD<f32>, gradients: &mut Gradients) {
        let params: Vec<ParamId> = self.network.binary_params(b).collect();
        let wanted = &self.plan.mode.wanted;
        let wanted = |k: usize| params.get(k).is_some_and(|p| wanted.contains(*p));
        let (latent, scale) = (self.network).binary_backward(b, grad, wanted(0), wanted(1));
        for (p, grad) in params.into_iter().zip([latent, scale]) {
            if let Some(grad) = grad {
                gradients.add(p, grad);
            }
        }
    }
}

impl Plan {
    /// The mean loss of a batch, and its gradients with respect to the wanted parameters, where the
    /// plan goes to the network's end. `from` has the rows of this process; `loss` gives that of some samples,
    /// by their rows in the batch, from their logits.
    ///
    /// # Errors
    /// If shapes do not fit, the boundary lacks a value, the plan is of another network, or another process of
    /// the run has failed.
    pub fn gradients(
        &self,
        network: &Network,
        weights: &Arc<Weights>,
        batch: &Batch<'_>,
        from: &Boundary,
        loss: impl Fn(&ArrayD<f32>, Range<usize>) -> Loss + Sync,
    ) -> Result<(f32, Gradients), RunError> {
        let run = Run {
            plan: self,
            network,
            weights,
            batch,
        };
        let mut parts = run.parts(from)?;
        let statistics = run.forward(&mut parts)?;
        // Without others to wait for, a part is at its end before the next one begins.
        let over = self.stretches.len() == 1 && !self.mode.input;
        let rows = batch.parts.get(batch.mine.clone()).unwrap_or_default();
        let ended: Vec<(f32, Vec<[f64; 2]>)> = parts
            .par_iter_mut()
            .zip(rows)
            .map(|(part, rows)| {
                run.forward_last(part, &statistics)?;
                let logits = part.values.get(network.logits().0).and_then(Option::as_ref);
                let logits = logits.ok_or_else(|| RunError::Missing {
                    node: "graph output".to_owned(),
                })?;
                let mut loss = loss(logits.float(), rows.clone());
                let share = rows.len() as f32 / batch.images() as f32;
                loss.grad.mapv_inplace(|g| g * share);
                let sums = run.back_last(part, &statistics, loss.grad);
                if over {
                    part.values.drain(..).flatten().for_each(Value::recycle);
                }
                Ok((loss.value * share, sums))
            })
            .collect::<Result<_, RunError>>()?;
        let (losses, sums): (Vec<f32>, Vec<_>) = ended.into_iter().unzip();
        let losses = batch.processes.gather_numbers(&losses)?;
        let gradients = run.backward(&mut parts, &statistics, sums)?;
        for part in parts {
            part.values.into_iter().flatten().for_each(Value::recycle);
        }
        Ok((losses.iter().sum(), gradients))
    }
}
