//! Running the network forward and backward.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::ArrayD;

use super::arrays::{recycle_array, update};
use super::binary::BinaryId;
use super::cut::Cut;
use super::integer::{Inference, IntegerForm};
use super::network::{Input, Network, Step, StepId, ValueId};
use super::ops::{Backward, Context, Saved};
use super::param::ParamId;
use super::trace::{Gradients, Mode, Record, RunError, Trace, Wanted};
use super::value::Value;

impl Network {
    /// A set of parameters.
    pub fn wanted(&self, params: impl IntoIterator<Item = ParamId>) -> Wanted {
        let mut set = vec![false; self.params.len()];
        for p in params {
            if let Some(w) = set.get_mut(p.0) {
                *w = true;
            }
        }
        Wanted { params: set }
    }

    /// The start of a run of the whole network on `x` `[N, …]`.
    ///
    /// # Errors
    /// If a sample has another shape than the model's input.
    pub fn start(&self, x: ArrayD<f32>) -> Result<Cut, RunError> {
        if x.shape().get(1..) != Some(&self.input_shape[..]) {
            return Err(RunError::InputShape {
                given: x.shape().to_vec(),
                expected: self.input_shape.clone(),
            });
        }
        Ok(Cut {
            step: StepId(0),
            values: vec![(self.input, x.into())],
        })
    }

    /// Runs the steps from the cut up to `end` (exclusive).
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn forward(&self, from: &Cut, end: StepId, mode: Mode<'_>) -> Result<Trace, RunError> {
        let end = StepId(end.0.min(self.steps.len()));
        let start = StepId(from.step.0.min(end.0));
        let params = mode.wanted.map_or(Vec::new(), |w| w.params.clone());
        let mut trace = Trace {
            start,
            values: (0..self.value_count).map(|_| None).collect(),
            prepared: match mode.prepared {
                Some(prepared) => Arc::clone(prepared),
                None => Arc::new(self.prepare()),
            },
            steps: Vec::with_capacity(end.0 - start.0),
            fused: BTreeMap::new(),
            params,
            gradients: mode.gradients,
        };
        for (v, x) in &from.values {
            if let Some(slot) = trace.values.get_mut(v.0) {
                *slot = Some(x.clone().into());
            }
        }
        let last_read = self.last_reads(end);
        // Values that depend on a wanted parameter, and values that a backward pass reads.
        let mut moving = vec![false; self.value_count];
        let mut kept = vec![false; self.value_count];
        let readers = self.readers();
        let mut i = start.0;
        while i < end.0 {
            let done = match self.fusible(i, end.0, mode, &trace, &readers) {
                Some(fused) => {
                    self.forward_fused(&fused, &mut trace, &mut moving, &mut kept);
                    fused.steps
                }
                None => {
                    self.forward_step(
                        StepId(i),
                        (mode, &readers),
                        &mut trace,
                        &mut moving,
                        &mut kept,
                    )?;
                    i..i + 1
                }
            };
            i = done.end;
            for k in done {
                for input in &self.steps[k].inputs {
                    if let Input::Value(v) = input
                        && last_read[v.0] == Some(k)
                        && !kept[v.0]
                    {
                        trace.values[v.0]
                            .take()
                            .into_iter()
                            .for_each(Value::recycle);
                    }
                }
                let output = self.steps[k].output;
                if last_read[output.0].is_none() && !kept[output.0] && k + 1 != end.0 {
                    trace.values[output.0]
                        .take()
                        .into_iter()
                        .for_each(Value::recycle);
                }
            }
        }
        Ok(trace)
    }

    /// For each value the last step before `end` that reads it; `usize::MAX` if it is read at or
    /// behind `end`, or is the network's output.
    pub(super) fn last_reads(&self, end: StepId) -> Vec<Option<usize>> {
        let mut last = vec![None; self.value_count];
        for (i, step) in self.steps.iter().enumerate() {
            for input in &step.inputs {
                if let Input::Value(v) = input {
                    last[v.0] = Some(if i < end.0 { i } else { usize::MAX });
                }
            }
        }
        last[self.logits.0] = Some(usize::MAX);
        last
    }

    fn forward_step(
        &self,
        id: StepId,
        (mode, readers): (Mode<'_>, &[Vec<usize>]),
        trace: &mut Trace,
        moving: &mut [bool],
        kept: &mut [bool],
    ) -> Result<(), RunError> {
        let step = &self.steps[id.0];
        let wanted: Vec<bool> = step
            .inputs
            .iter()
            .map(|i| match i {
                Input::Value(v) => moving[v.0],
                Input::Param(p) => trace.params.get(p.0) == Some(&true),
                Input::Binary(b) => {
                    let mut params = self.binary_params(*b);
                    params.any(|p| trace.params.get(p.0) == Some(&true))
                }
            })
            .collect();
        let moves = wanted.contains(&true);
        let integer = self.integer_step(id, mode, trace, readers);
        let (y, saved) = match integer {
            Some(y) => (y, Saved::Nothing),
            None => {
                let from = mode.batch_statistics_from;
                let context = Context {
                    batch_statistics: from.is_some_and(|from| id >= from),
                };
                let inputs = self.resolve(id, trace)?;
                let (y, saved) =
                    (step.op.forward(&inputs, context)).map_err(|e| RunError::Step {
                        node: step.name.clone(),
                        op: step.op.name(),
                        reason: e.0,
                    })?;
                (y.into(), saved)
            }
        };
        let shapes = match moves {
            true => self.input_shapes(step, trace),
            false => Vec::new(),
        };
        if moves {
            moving[step.output.0] = true;
            for (k, input) in step.inputs.iter().enumerate() {
                if let Input::Value(v) = input {
                    kept[v.0] |= step.op.needs_input(k, &wanted);
                }
            }
        }
        // Without a backward pass only the statistics are of use.
        let saved = match saved {
            Saved::Positions(_) if !moves => Saved::Nothing,
            saved => saved,
        };
        trace.steps.push(Record {
            saved,
            shapes,
            wanted,
        });
        trace.values[step.output.0] = Some(y);
        Ok(())
    }

    /// The output of a binary layer on integers: as sums where whoever reads it takes them.
    fn integer_step(
        &self,
        id: StepId,
        mode: Mode<'_>,
        trace: &Trace,
        readers: &[Vec<usize>],
    ) -> Option<Value> {
        let step = &self.steps[id.0];
        let [Input::Value(v), Input::Binary(_), ..] = step.inputs[..] else {
            return None;
        };
        let x = trace.held(v)?;
        let form = IntegerForm::of(self, step, x.shape())?;
        let sums = match readers[step.output.0][..] {
            [reader] => self.takes_sums(reader, mode, trace, &form.output),
            _ => false,
        };
        self.integer_forward(id, &form, x, (&trace.prepared, sums))
    }

    fn input_shapes(&self, step: &Step, trace: &Trace) -> Vec<Vec<usize>> {
        let shape = |i: &Input| match i {
            Input::Value(v) => trace.held(*v).map_or(&[][..], Value::shape).to_vec(),
            Input::Param(p) => self.params[p.0].value.shape().to_vec(),
            Input::Binary(b) => self.latent(*b).shape().to_vec(),
        };
        step.inputs.iter().map(shape).collect()
    }

    /// The inputs of a step.
    fn resolve<'a>(
        &'a self,
        id: StepId,
        trace: &'a Trace,
    ) -> Result<Vec<&'a ArrayD<f32>>, RunError> {
        let step = &self.steps[id.0];
        let missing = || RunError::Missing {
            node: step.name.clone(),
        };
        step.inputs
            .iter()
            .map(|i| match i {
                Input::Value(v) => trace.value(*v).ok_or_else(missing),
                Input::Param(p) => Ok(&self.params[p.0].value),
                Input::Binary(b) => Ok(trace.prepared.effective(self, *b)),
            })
            .collect()
    }

    /// The values at a later position, from which another run can start. The trace must end there.
    pub fn cut_of(&self, trace: &Trace) -> Cut {
        let step = trace.end();
        let values = self.cut(step).into_iter();
        Cut {
            step,
            values: values
                .filter_map(|v| Some((v, trace.held(v)?.hold())))
                .collect(),
        }
    }

    /// The gradients with respect to the parameters that the trace was kept for, from the gradient
    /// of the loss with respect to the logits. Computes nothing that does not lead there.
    ///
    /// The parameters must be those of the forward pass.
    ///
    /// # Panics
    /// If `grad` has another shape than the logits.
    pub fn backward(&self, trace: &Trace, grad: ArrayD<f32>) -> Gradients {
        self.backward_from(trace, vec![(self.logits, grad)])
    }

    /// Like [`Network::backward`], from the gradients with respect to any values of the trace.
    pub fn backward_from(&self, trace: &Trace, seeds: Vec<(ValueId, ArrayD<f32>)>) -> Gradients {
        let mut gradients = Gradients::default();
        let mut weights: BTreeMap<BinaryId, ArrayD<f32>> = BTreeMap::new();
        let mut flowing: Vec<Option<ArrayD<f32>>> = vec![None; self.value_count];
        for (v, g) in seeds {
            accumulate(&mut flowing[v.0], g.as_standard_layout().into_owned());
        }
        let mut end = trace.steps.len();
        while let Some((i, record)) = trace.steps[..end].iter().enumerate().next_back() {
            let at = trace.start.0 + i;
            let step = &self.steps[at];
            let first = trace.fused.get(&at).copied();
            end = first.map_or(i, |first| first - trace.start.0);
            let Some(grad) = flowing[step.output.0].take() else {
                continue;
            };
            if !record.wanted.contains(&true) {
                continue;
            }
            if let Some(first) = first {
                let found = self.backward_fused(first..at + 1, trace, grad, &mut gradients);
                if let Some((v, grad)) = found {
                    accumulate(&mut flowing[v.0], grad);
                }
                continue;
            }
            let grads = match self.binary_gradients(StepId(at), trace, &grad) {
                Some(grads) => {
                    recycle_array(grad);
                    grads
                }
                None => self.step_gradients(step, trace, record, grad),
            };
            let wanted = record.wanted.iter();
            for ((input, grad), wanted) in step.inputs.iter().zip(grads).zip(wanted) {
                let Some(grad) = grad.filter(|_| *wanted) else {
                    continue;
                };
                match input {
                    Input::Value(v) => accumulate(&mut flowing[v.0], grad),
                    Input::Param(p) => gradients.add(*p, grad),
                    Input::Binary(b) => match weights.get_mut(b) {
                        Some(sum) => update(sum, &grad, |a, b| a + b),
                        None => {
                            weights.insert(*b, grad);
                        }
                    },
                }
            }
        }
        for (b, grad) in weights {
            self.add_binary(b, &grad, &trace.params, &mut gradients);
        }
        gradients
    }

    /// The gradients of a step's inputs, by its operator.
    fn step_gradients(
        &self,
        step: &Step,
        trace: &Trace,
        record: &Record,
        grad: ArrayD<f32>,
    ) -> Vec<Option<ArrayD<f32>>> {
        let inputs = step.inputs.iter().enumerate();
        let inputs: Vec<_> = inputs
            .map(|(k, i)| match i {
                // What the operator does not ask for may be there in another form.
                Input::Value(v) if step.op.needs_input(k, &record.wanted) => trace.value(*v),
                Input::Value(_) => None,
                Input::Param(p) => Some(&self.params[p.0].value),
                Input::Binary(b) => Some(trace.prepared.effective(self, *b)),
            })
            .collect();
        let shapes: Vec<_> = record.shapes.iter().map(|s| &s[..]).collect();
        let pass = Backward {
            inputs: &inputs,
            shapes: &shapes,
            saved: &record.saved,
            wanted: &record.wanted,
        };
        step.op.backward(&pass, grad)
    }

    fn add_binary(&self, b: BinaryId, grad: &ArrayD<f32>, wanted: &[bool], out: &mut Gradients) {
        let params: Vec<ParamId> = self.binary_params(b).collect();
        let is_wanted = |k: usize| {
            params
                .get(k)
                .is_some_and(|p| wanted.get(p.0) == Some(&true))
        };
        let (latent, scale) = self.binary_backward(b, grad, is_wanted(0), is_wanted(1));
        for (p, g) in params.into_iter().zip([latent, scale]) {
            if let Some(g) = g {
                out.add(p, g);
            }
        }
    }

    /// The logits of `x` `[N, …]`, by running statistics; values are freed as soon as possible.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn infer(&self, x: ArrayD<f32>) -> Result<ArrayD<f32>, RunError> {
        self.infer_from(&self.start(x)?)
    }

    /// The logits from a cut.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn infer_from(&self, from: &Cut) -> Result<ArrayD<f32>, RunError> {
        Inference::new(Cow::Borrowed(self), self.end()).logits(from)
    }

    /// The graph's own output for `x`: the logits, through the softmax if the graph ends in one.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn infer_output(&self, x: ArrayD<f32>) -> Result<ArrayD<f32>, RunError> {
        let logits = self.infer(x)?;
        Ok(match self.head {
            Some(head) => head.apply(logits),
            None => logits,
        })
    }
}

fn accumulate(slot: &mut Option<ArrayD<f32>>, grad: ArrayD<f32>) {
    match slot {
        Some(sum) => {
            update(sum, &grad, |a, b| a + b);
            recycle_array(grad);
        }
        None => *slot = Some(grad),
    }
}
