//! Steps that work channel by channel, one behind the other, run as one ([`Chain`]): what lies
//! between them is never stored.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayD;

use super::channelwise::Chain;
use super::network::{Input, Network, StepId, ValueId};
use super::ops::Saved;
use super::parallel::array;
use super::trace::{Gradients, Mode, Record, Trace};

/// Fewer elements of a channel than this, of one sample, are not worth it.
const LEAST_PLANE: usize = 16;

impl Network {
    /// How many steps read each value; one more for the logits.
    pub(super) fn reader_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.value_count];
        for input in self.steps.iter().flat_map(|s| &s.inputs) {
            if let Input::Value(v) = input {
                counts[v.0] += 1;
            }
        }
        counts[self.logits.0] += 1;
        counts
    }

    /// The steps from `first` on that run as one: at least two, at most one of them a
    /// BatchNormalization, each the only reader of the one before.
    pub(super) fn fusible(
        &self,
        first: usize,
        end: usize,
        trace: &Trace,
        readers: &[usize],
    ) -> Option<Range<usize>> {
        if !self.fuses {
            return None;
        }
        let x = trace.value(self.data_of(first)?)?;
        if x.ndim() < 3 || x.shape()[2..].iter().product::<usize>() < LEAST_PLANE {
            return None;
        }
        let (mut last, mut norms) = (first, 0);
        while last < end && self.is_channelwise(last, x.ndim(), trace) {
            norms += usize::from(self.steps[last].op.as_batch_norm().is_some());
            let follows = last == first
                || self.data_of(last) == Some(self.steps[last - 1].output)
                    && readers[self.steps[last - 1].output.0] == 1;
            if !follows || norms > 1 {
                break;
            }
            last += 1;
        }
        (last >= first + 2).then_some(first..last)
    }

    /// The only tensor that a step reads, besides parameters.
    fn data_of(&self, step: usize) -> Option<ValueId> {
        let (first, others) = self.steps[step].inputs.split_first()?;
        match first {
            Input::Value(v) if others.iter().all(|i| matches!(i, Input::Param(_))) => Some(*v),
            _ => None,
        }
    }

    fn params_at(&self, step: usize) -> Vec<Option<&ArrayD<f32>>> {
        let inputs = self.steps[step].inputs.iter();
        inputs
            .map(|i| match i {
                Input::Param(p) => Some(&self.params[p.0].value),
                _ => None,
            })
            .collect()
    }

    /// A BatchNormalization, or a map none of whose parameters is wanted.
    fn is_channelwise(&self, step: usize, rank: usize, trace: &Trace) -> bool {
        let Some(_) = self.data_of(step) else {
            return false;
        };
        let op = &self.steps[step].op;
        if op.as_batch_norm().is_some() {
            return true;
        }
        let wanted = self.steps[step].inputs.iter().any(|i| match i {
            Input::Param(p) => trace.params.get(p.0) == Some(&true),
            _ => false,
        });
        !wanted && op.channel_map(rank, &self.params_at(step)).is_some()
    }

    fn chain(&self, steps: Range<usize>, mode: Mode<'_>, shape: &[usize]) -> Option<Chain<'_>> {
        let channels = *shape.get(1)?;
        let mut chain = Chain::default();
        for i in steps {
            let op = &self.steps[i].op;
            let params = self.params_at(i);
            if let Some(norm) = op.as_batch_norm() {
                let [None, Some(a), Some(b), Some(c), Some(d)] = params[..] else {
                    return None;
                };
                let params = [a, b, c, d];
                if params.iter().any(|p| p.len() != channels) {
                    return None;
                }
                let from = mode.batch_statistics_from;
                let batch = from.is_some_and(|from| StepId(i) >= from);
                chain.norm = Some(norm.norm(params, batch));
            } else {
                let map = op.channel_map(shape.len(), &params)?;
                if map.channels().is_some_and(|c| c != channels) {
                    return None;
                }
                match chain.norm {
                    None => chain.before.push(map),
                    Some(_) => chain.after.push(map),
                }
            }
        }
        Some(chain)
    }

    /// Runs them; false, and nothing done, if they do not fit each other after all.
    pub(super) fn forward_fused(
        &self,
        steps: Range<usize>,
        mode: Mode<'_>,
        trace: &mut Trace,
        moving: &mut [bool],
        kept: &mut [bool],
    ) -> bool {
        let input = self.data_of(steps.start);
        let Some((input, x)) = input.and_then(|v| Some((v, trace.values[v.0].clone()?))) else {
            return false;
        };
        let Some(chain) = self.chain(steps.clone(), mode, x.shape()) else {
            return false;
        };
        let (y, mut saved) = chain.forward(&x);
        let mut moves = moving[input.0];
        for i in steps.clone() {
            let step = &self.steps[i];
            let wanted: Vec<bool> = step
                .inputs
                .iter()
                .map(|i| match i {
                    Input::Param(p) => trace.params.get(p.0) == Some(&true),
                    _ => moves,
                })
                .collect();
            moves |= wanted.contains(&true);
            moving[step.output.0] = moves;
            let norm = step.op.as_batch_norm().is_some();
            trace.steps.push(Record {
                saved: match norm {
                    true => std::mem::replace(&mut saved, Saved::Nothing),
                    false => Saved::Nothing,
                },
                shapes: Vec::new(),
                wanted,
            });
        }
        kept[input.0] |= moves;
        let last = steps.end - 1;
        trace.fused.insert(last, steps.start);
        trace.values[self.steps[last].output.0] = Some(Arc::new(y));
        true
    }

    /// The gradient with respect to their input, if it is wanted; those of parameters go to `out`.
    pub(super) fn backward_fused(
        &self,
        steps: Range<usize>,
        trace: &Trace,
        grad: ArrayD<f32>,
        out: &mut Gradients,
    ) -> Option<(ValueId, ArrayD<f32>)> {
        let input = self.data_of(steps.start)?;
        let x = trace.value(input)?;
        let record = |i: usize| &trace.steps[i - trace.start.0];
        let norm = steps
            .clone()
            .find(|&i| self.steps[i].op.as_batch_norm().is_some());
        let chain = self.chain(steps.clone(), Mode::default(), x.shape())?;
        let nothing = Saved::Nothing;
        let saved = norm.map_or(&nothing, |i| &record(i).saved);
        let wants = |k: usize| norm.is_some_and(|i| record(i).wanted[k]);
        let wants_x = record(steps.start).wanted[0];
        let found = chain.backward(x, saved, grad, (wants_x, wants(1) || wants(2)));
        if let Some(i) = norm {
            for k in [1, 2] {
                if let (Input::Param(p), true) = (self.steps[i].inputs[k], wants(k)) {
                    let values = found.sums.iter().map(|s| s[2 - k] as f32).collect();
                    out.add(p, array(self.params[p.0].value.shape(), values));
                }
            }
        }
        found.x.map(|x| (input, x))
    }
}
