//! Steps that work channel by channel, one behind the other, run as one ([`Chain`]): what lies
//! between them is never stored.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayD;

use super::channelwise::{Chain, ChannelMap, Norm};
use super::network::{Input, Network, StepId, ValueId};
use super::ops::Saved;
use super::parallel::array;
use super::trace::{Gradients, Mode, Record, Trace};

/// Fewer elements of a channel than this, of one sample, are not worth it.
const LEAST_PLANE: usize = 16;

/// Steps that run as one, and what they read.
pub(super) struct Fused<'a> {
    pub steps: Range<usize>,
    chain: Chain<'a>,
    input: ValueId,
    x: Arc<ArrayD<f32>>,
}

/// What a step is in a chain.
enum Stage<'a> {
    Norm(Norm<'a>),
    Map(Box<dyn ChannelMap + 'a>),
}

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
        mode: Mode<'_>,
        trace: &Trace,
        readers: &[usize],
    ) -> Option<Fused<'_>> {
        if !self.fuses {
            return None;
        }
        let input = self.data_of(first)?;
        let x = trace.values[input.0].as_ref()?;
        if x.ndim() < 3 || x.shape()[2..].iter().product::<usize>() < LEAST_PLANE {
            return None;
        }
        let mut chain = Chain::default();
        let mut last = first;
        while last < end {
            let follows = last == first
                || self.data_of(last) == Some(self.steps[last - 1].output)
                    && readers[self.steps[last - 1].output.0] == 1;
            let stage = match follows {
                true => self.stage(last, mode, x.shape()),
                false => None,
            };
            match stage {
                Some(Stage::Norm(norm)) if chain.norm.is_none() => chain.norm = Some(norm),
                Some(Stage::Map(map)) if !self.is_trained(last, trace) => chain.push(map),
                _ => break,
            }
            last += 1;
        }
        (last >= first + 2).then(|| Fused {
            steps: first..last,
            chain,
            input,
            x: Arc::clone(x),
        })
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

    /// Whether a gradient of a step's parameters is wanted.
    fn is_trained(&self, step: usize, trace: &Trace) -> bool {
        self.steps[step].inputs.iter().any(|i| match i {
            Input::Param(p) => trace.params.get(p.0) == Some(&true),
            _ => false,
        })
    }

    /// A step that works channel by channel, on data of that shape.
    fn stage(&self, step: usize, mode: Mode<'_>, shape: &[usize]) -> Option<Stage<'_>> {
        self.data_of(step)?;
        let channels = *shape.get(1)?;
        let op = &self.steps[step].op;
        let params = self.params_at(step);
        let Some(norm) = op.as_batch_norm() else {
            let map = op.channel_map(shape.len(), &params)?;
            let fits = map.channels().is_none_or(|c| c == channels);
            return fits.then_some(Stage::Map(map));
        };
        let [None, Some(a), Some(b), Some(c), Some(d)] = params[..] else {
            return None;
        };
        let params = [a, b, c, d];
        let batch = mode
            .batch_statistics_from
            .is_some_and(|from| StepId(step) >= from);
        let fits = params.iter().all(|p| p.len() == channels);
        fits.then(|| Stage::Norm(norm.norm(params, batch)))
    }

    /// Steps that ran as one.
    fn chain(&self, steps: Range<usize>, shape: &[usize]) -> Option<Chain<'_>> {
        let mut chain = Chain::default();
        for i in steps {
            match self.stage(i, Mode::default(), shape)? {
                Stage::Norm(norm) => chain.norm = Some(norm),
                Stage::Map(map) => chain.push(map),
            }
        }
        Some(chain)
    }

    /// Runs what [`Network::fusible`] found.
    pub(super) fn forward_fused(
        &self,
        fused: &Fused<'_>,
        trace: &mut Trace,
        moving: &mut [bool],
        kept: &mut [bool],
    ) {
        let Fused {
            steps,
            chain,
            input,
            x,
        } = fused;
        let (y, mut saved) = chain.forward(x);
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
        let chain = self.chain(steps.clone(), x.shape())?;
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
