//! Steps that work channel by channel, one behind the other, run as one ([`ElementwiseChain`]): what lies
//! between them is never stored.

use std::ops::Range;
use std::sync::Arc;

use super::arrays::{array, slice_mut};
use super::cut::Held;
use super::integer::IntegerForm;
use super::network::{Input, Network, StepId, ValueId};
use super::ops::{Op, Saved};
use super::trace::{Gradients, Mode, Record, Trace};
use super::value::{Form, Value};
use bnn_kernels::elementwise::{ElementwiseChain, ElementwiseMap, Normalization, WantedGradients};
use ndarray::ArrayD;

/// Fewer elements of a channel than this, of one sample, are not worth it.
const LEAST_PLANE: usize = 16;

/// Steps that run as one, and what they read.
pub(super) struct Fused<'a> {
    pub steps: Range<usize>,
    chain: ElementwiseChain<'a>,
    input: ValueId,
    /// The output goes to binary layers alone.
    codes: bool,
}

/// What a step is in a chain.
enum Stage<'a> {
    Norm(Normalization<'a>),
    Map(Box<dyn ElementwiseMap + 'a>),
}

/// Elements of a channel; 0 without spatial axes.
fn plane(shape: &[usize]) -> usize {
    match shape {
        [_, _, plane @ ..] if !plane.is_empty() => plane.iter().product(),
        _ => 0,
    }
}

impl Network {
    /// The steps that read each value; of the logits also the end.
    pub(super) fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.value_count];
        for (i, step) in self.steps.iter().enumerate() {
            for input in &step.inputs {
                if let Input::Value(v) = input {
                    readers[v.0].push(i);
                }
            }
        }
        readers[self.logits.0].push(self.steps.len());
        readers
    }

    /// Whether a step works channel by channel on data of that shape, and reads a binary layer's sums
    /// as they are.
    pub(super) fn takes_sums(
        &self,
        step: usize,
        mode: Mode<'_>,
        trace: &Trace,
        shape: &[usize],
    ) -> bool {
        let trained =
            |op: &Arc<dyn Op>| op.as_batch_norm().is_none() && self.is_trained(step, trace);
        self.fuses
            && plane(shape) >= LEAST_PLANE
            && self.steps.get(step).is_some_and(|s| !trained(&s.op))
            && self.stage(step, mode, shape).is_some()
    }

    /// The steps from `first` on that run as one: at most one of them a BatchNormalization, each the
    /// only reader of the one before, and none with other parameters that are trained but a mask at the
    /// end; at least two, or one that reads sums.
    pub(super) fn fusible(
        &self,
        first: usize,
        end: usize,
        mode: Mode<'_>,
        trace: &Trace,
        readers: &[Vec<usize>],
    ) -> Option<Fused<'_>> {
        if !self.fuses {
            return None;
        }
        let input = self.data_of(first)?;
        let x = trace.held(input)?;
        let shape = x.shape();
        let sums = matches!(x.form(), Form::Sums(_));
        if plane(shape) < LEAST_PLANE {
            return None;
        }
        let mut ternary = false;
        let mut chain = ElementwiseChain::default();
        let mut last = first;
        while last < end {
            let follows = last == first
                || self.data_of(last) == Some(self.steps[last - 1].output)
                    && readers[self.steps[last - 1].output.0].len() == 1;
            let op = &self.steps[last].op;
            // A mask that is learned: its gradient is of the chain's output.
            let ends = op.as_channel_mask().is_some() && self.is_trained(last, trace);
            let stage = match follows {
                true => self.stage(last, mode, shape),
                false => None,
            };
            match stage {
                Some(Stage::Norm(norm)) if chain.normalization.is_none() => {
                    chain.normalization = Some(norm)
                }
                Some(Stage::Map(map)) if ends || !self.is_trained(last, trace) => chain.push(map),
                _ => break,
            }
            ternary = op.is_ternary() || ternary && op.keeps_signs();
            last += 1;
            if ends {
                break;
            }
        }
        let least = if sums { 1 } else { 2 };
        (last >= first + least).then(|| Fused {
            steps: first..last,
            chain,
            input,
            codes: ternary && {
                let readers = &readers[self.steps[last - 1].output.0];
                shape.len() == 4
                    && readers
                        .iter()
                        .all(|&r| r < end && self.takes_codes(r, shape))
            },
        })
    }

    /// Whether a step is a binary layer that runs on codes, for data of that shape.
    fn takes_codes(&self, step: usize, shape: &[usize]) -> bool {
        let data = matches!(
            self.steps[step].inputs[..],
            [Input::Value(_), Input::Binary(_), ..]
        );
        data && IntegerForm::of(self, &self.steps[step], shape).is_some()
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
    fn chain(&self, steps: Range<usize>, shape: &[usize]) -> Option<ElementwiseChain<'_>> {
        let mut chain = ElementwiseChain::default();
        for i in steps {
            match self.stage(i, Mode::default(), shape)? {
                Stage::Norm(norm) => chain.normalization = Some(norm),
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
            codes,
        } = fused;
        let Some(x) = trace.held(*input) else {
            return;
        };
        let source = x.source();
        let packed = match (codes, x.shape()) {
            (true, &[n, c, h, w]) => chain.forward_codes(source, [n, c, h, w]),
            _ => None,
        };
        let shape = x.shape().to_vec();
        let (y, mut statistics): (Value, _) = match packed {
            Some((codes, statistics)) => (Held::Codes(Arc::new(codes), shape).into(), statistics),
            None => {
                let (y, statistics) = chain.forward(source, &shape);
                (array(&shape, y).into(), statistics)
            }
        };
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
                    true => Saved::of(statistics.take()),
                    false => Saved::Nothing,
                },
                shapes: Vec::new(),
                wanted,
            });
        }
        kept[input.0] |= moves;
        let last = steps.end - 1;
        trace.fused.insert(last, steps.start);
        trace.values[self.steps[last].output.0] = Some(y);
    }

    /// The gradient with respect to their input, if it is wanted; those of parameters go to `out`.
    pub(super) fn backward_fused(
        &self,
        steps: Range<usize>,
        trace: &Trace,
        mut grad: ArrayD<f32>,
        out: &mut Gradients,
    ) -> Option<(ValueId, ArrayD<f32>)> {
        let input = self.data_of(steps.start)?;
        let x = trace.held(input)?;
        let record = |i: usize| &trace.steps[i - trace.start.0];
        let norm = steps
            .clone()
            .find(|&i| self.steps[i].op.as_batch_norm().is_some());
        let chain = self.chain(steps.clone(), x.shape())?;
        let statistics = norm.and_then(|i| record(i).saved.statistics());
        let wants = |k: usize| norm.is_some_and(|i| record(i).wanted[k]);
        let (last, mask) = (steps.end - 1, record(steps.end - 1).wanted.get(1));
        let mask = (self.steps[last].op.as_channel_mask()).filter(|_| mask == Some(&true));
        let wanted = WantedGradients {
            input: record(steps.start).wanted[0],
            normalization: wants(1) || wants(2),
            mask: mask.is_some(),
        };
        let found = chain.backward(
            x.source(),
            x.shape(),
            statistics,
            slice_mut(&mut grad),
            wanted,
        );
        if let Some(i) = norm {
            for k in [1, 2] {
                if let (Input::Param(p), true) = (self.steps[i].inputs[k], wants(k)) {
                    let values = found
                        .normalization
                        .iter()
                        .map(|s| s[2 - k] as f32)
                        .collect();
                    out.add(p, array(self.params[p.0].value.shape(), values));
                }
            }
        }
        if let (Some(mask), Some(Input::Param(p))) = (mask, self.steps[last].inputs.get(1)) {
            let shape = self.params[p.0].value.shape();
            out.add(*p, mask.gradient(found.mask, shape));
        }
        wanted.input.then_some((input, grad))
    }
}
