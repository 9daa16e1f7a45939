//! A forward pass that keeps nothing, with binary activations packed from layer to layer.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bnn_kernels::binary::{Thresholds, forward_codes};
use bnn_kernels::buffers::buffer;
use bnn_kernels::float::{FloatThresholds, OutputWeights};
use bnn_kernels::lazy::get_or_compute;
use ndarray::ArrayD;
use rayon::prelude::*;

use super::chain::Chain;
use super::layer::{IntegerForm, IntegerLayer};
use crate::autograd::arrays::{array, slice};
use crate::autograd::cut::{Cut, Held};
use crate::autograd::network::{Input, Network, StepId, ValueId};
use crate::autograd::ops::Context;
use crate::autograd::trace::RunError;

/// A binary layer ready to run, and what goes with it.
#[derive(Debug)]
struct Ready {
    layer: IntegerLayer,
    chain: Option<(Chain, Thresholds)>,
}

/// A convolution in single precision ready to run, and what goes with it.
#[derive(Debug)]
struct ReadyFloat {
    weights: OutputWeights,
    chain: Option<(Chain, FloatThresholds)>,
}

/// A network's first steps, ready to run: packed weights and thresholds are computed once. It is of
/// the network as it was; what is changed there afterwards does not come here.
#[derive(Debug)]
pub struct Inference<'n> {
    network: Cow<'n, Network>,
    end: StepId,
    /// For each step its binary layer, once some pass has come there.
    ready: Vec<OnceLock<Option<Ready>>>,
    /// The same of convolutions in single precision.
    floats: Vec<OnceLock<Option<ReadyFloat>>>,
    weights: Vec<OnceLock<ArrayD<f32>>>,
    /// See [`Network::readers`].
    readers: Vec<Vec<usize>>,
    last_read: Vec<Option<usize>>,
}

/// One run over some images.
struct Pass<'a> {
    plan: &'a Inference<'a>,
    values: Vec<Option<Held>>,
}

/// Elements of the input that a pass takes together, so that what it computes stays in the cache.
const PASS_ELEMENTS: usize = 1 << 15;
/// Images that a pass takes at most.
const PASS_IMAGES: usize = 64;

impl Network {
    /// Runs the steps from the cut up to `end` (exclusive) by running statistics, and gives what a
    /// run from there needs. Sums of binary layers are integers, whatever the file's order.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn infer_to(&self, from: &Cut, end: StepId) -> Result<Cut, RunError> {
        Inference::new(Cow::Borrowed(self), end).run(from)
    }
}

impl<'n> Inference<'n> {
    /// The steps of `network` before `end`.
    pub fn new(network: Cow<'n, Network>, end: StepId) -> Self {
        let end = StepId(end.0.min(network.steps.len()));
        Self {
            end,
            ready: network.steps.iter().map(|_| OnceLock::new()).collect(),
            floats: network.steps.iter().map(|_| OnceLock::new()).collect(),
            weights: network.binary.iter().map(|_| OnceLock::new()).collect(),
            readers: network.readers(),
            last_read: network.last_reads(end),
            network,
        }
    }

    /// The start of a run on `x` `[N, …]`.
    ///
    /// # Errors
    /// If a sample has another shape than the model's input.
    pub fn start(&self, x: ArrayD<f32>) -> Result<Cut, RunError> {
        self.network.start(x)
    }

    /// Runs the steps from the cut on, and gives what a run from the end needs.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn run(&self, from: &Cut) -> Result<Cut, RunError> {
        let batch = from.values.first().map_or(0, |(_, x)| x.shape()[0]);
        let elements: usize = self.network.input_shape.iter().product();
        let images = (PASS_ELEMENTS / elements.max(1)).clamp(1, PASS_IMAGES);
        if batch <= images {
            return self.pass(from);
        }
        let parts: Vec<Cut> = (0..batch.div_ceil(images))
            .into_par_iter()
            .map(|i| self.pass(&from.rows(i * images..((i + 1) * images).min(batch))))
            .collect::<Result<_, _>>()?;
        Ok(Cut::joined(&parts))
    }

    /// The logits of a run from the cut on, where this goes to the network's end.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn logits(&self, from: &Cut) -> Result<ArrayD<f32>, RunError> {
        let mut values = self.run(from)?.values.into_iter();
        let logits = values.find(|(v, _)| *v == self.network.logits);
        let (_, logits) = logits.ok_or_else(|| RunError::Missing {
            node: "graph output".to_owned(),
        })?;
        Ok(Arc::unwrap_or_clone(logits.float()))
    }

    fn pass(&self, from: &Cut) -> Result<Cut, RunError> {
        let start = from.step.0.min(self.end.0);
        let mut pass = Pass {
            plan: self,
            values: vec![None; self.network.value_count],
        };
        for (v, x) in &from.values {
            if let Some(slot) = pass.values.get_mut(v.0) {
                *slot = Some(x.clone());
            }
        }
        let mut done = vec![false; self.network.steps.len()];
        for i in start..self.end.0 {
            if !done[i] {
                pass.step(StepId(i))?.iter().for_each(|&s| done[s] = true);
            }
            for input in &self.network.steps[i].inputs {
                if let Input::Value(v) = input
                    && self.last_read[v.0] == Some(i)
                {
                    pass.values[v.0].take().into_iter().for_each(Held::recycle);
                }
            }
        }
        let values = self.network.cut(self.end).into_iter();
        Ok(Cut {
            step: self.end,
            values: values
                .filter_map(|v| Some((v, pass.values[v.0].clone()?)))
                .collect(),
        })
    }

    /// The binary layer at a step.
    fn ready(&self, at: StepId, form: &IntegerForm) -> Option<&Ready> {
        let prepare = || {
            let layer = IntegerLayer::of(&self.network, self.network.step(at), form)?;
            let chain = Chain::behind(&self.network, at, self.end, &self.readers);
            let chain = chain
                .filter(|_| form.geometry.groups == 1)
                .and_then(|chain| {
                    let thresholds = chain.thresholds(&self.network, form, &layer)?;
                    Some((chain, thresholds))
                });
            Some(Ready { layer, chain })
        };
        get_or_compute(&self.ready[at.0], prepare).as_ref()
    }

    /// The convolution in single precision at a step.
    fn ready_float(&self, at: StepId, form: &IntegerForm, weight: &[f32]) -> Option<&ReadyFloat> {
        let prepare = || {
            let g = &form.geometry;
            let weights = OutputWeights::new(g, weight)?;
            let chain = Chain::behind(&self.network, at, self.end, &self.readers);
            let chain = chain.and_then(|chain| {
                let rank = form.output.len();
                let thresholds = chain.float_thresholds(&self.network, g.filters, rank)?;
                Some((chain, thresholds))
            });
            Some(ReadyFloat { weights, chain })
        };
        get_or_compute(&self.floats[at.0], prepare).as_ref()
    }
}

impl<'a> Pass<'a> {
    /// Computes a step, and the steps behind it that go with it; those.
    fn step(&mut self, at: StepId) -> Result<&'a [usize], RunError> {
        let network = &*self.plan.network;
        let step = network.step(at);
        if let Some((output, held, done)) = self.integers(at).or_else(|| self.floats(at)) {
            self.values[output.0] = Some(held);
            return Ok(done);
        }
        let floats = step
            .inputs
            .iter()
            .map(|i| match i {
                Input::Value(v) => {
                    let held = self.values[v.0].as_ref();
                    let held = held.ok_or_else(|| RunError::Missing {
                        node: step.name.clone(),
                    })?;
                    Ok(Some(held.float()))
                }
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&ArrayD<f32>> = step
            .inputs
            .iter()
            .zip(&floats)
            .filter_map(|(i, float)| match i {
                Input::Value(_) => float.as_deref(),
                Input::Param(p) => Some(&network.param(*p).value),
                Input::Binary(b) => {
                    let weight = || network.effective_weight(*b);
                    Some(get_or_compute(&self.plan.weights[b.0], weight))
                }
            })
            .collect();
        let context = Context {
            batch_statistics: false,
        };
        let (y, _) = (step.op.forward(&inputs, context)).map_err(|e| RunError::Step {
            node: step.name.clone(),
            op: step.op.name(),
            reason: e.0,
        })?;
        self.values[step.output.0] = Some(Held::Float(Arc::new(y)));
        Ok(&[])
    }

    /// A convolution in single precision, with the chain behind it up to a binariser if there is one,
    /// and the steps of that; `None` for any other step.
    fn floats(&self, at: StepId) -> Option<(ValueId, Held, &'a [usize])> {
        let network: &'a Network = &self.plan.network;
        let step = network.step(at);
        let [Input::Value(v), Input::Param(w), ref bias @ ..] = step.inputs[..] else {
            return None;
        };
        let bias = match bias {
            [] => None,
            [Input::Param(b)] => Some(slice(&network.param(*b).value)),
            _ => return None,
        };
        let x = self.values[v.0].as_ref()?;
        let weight = &network.param(w).value;
        let form = step.op.integer_form(x.shape(), weight.shape())?;
        let g = &form.geometry;
        if g.batch == 0 || form.output.len() != 4 || bias.is_some_and(|b| b.len() != g.filters) {
            return None;
        }
        let ready = self.plan.ready_float(at, &form, slice(weight))?;
        let x = x.float();
        let input = (slice(&x), bias);
        if let Some((chain, thresholds)) = &ready.chain {
            let windows = chain.windows(network, [g.out_height, g.out_width])?;
            let codes = (ready.weights).codes(g, input, windows.as_ref(), thresholds)?;
            let shape = codes.shape().to_vec();
            return Some((
                chain.output,
                Held::Codes(Arc::new(codes), shape),
                &chain.steps,
            ));
        }
        let mut y = buffer(form.output.iter().product());
        ready.weights.output(g, input.0, bias, &mut y);
        let held = Held::Float(Arc::new(array(&form.output, y)));
        Some((step.output, held, &[]))
    }

    /// A binary layer on integers, with the chain behind it if there is one, and the steps of that;
    /// `None` for any other step.
    fn integers(&self, at: StepId) -> Option<(ValueId, Held, &'a [usize])> {
        let network: &'a Network = &self.plan.network;
        let step = network.step(at);
        let Input::Value(v) = step.inputs.first()? else {
            return None;
        };
        let input = self.values[v.0].as_ref()?;
        let form = IntegerForm::of(network, step, input.shape())?;
        let codes = match input {
            Held::Codes(codes, _) if codes.shape() == form.input() => Arc::clone(codes),
            held => Arc::new(form.pack(&held.float())?),
        };
        let Ready { layer, chain } = self.plan.ready(at, &form)?;
        let g = &form.geometry;
        let Some((chain, thresholds)) = chain else {
            let y = layer.forward(&form, &codes);
            return Some((step.output, Held::Float(Arc::new(y)), &[]));
        };
        let windows = chain.windows(network, [g.out_height, g.out_width])?;
        let codes = forward_codes(g, &codes, &layer.weight, windows.as_ref(), thresholds);
        let [n, c, h, w] = codes.shape();
        let shape = match form.output.len() {
            2 => vec![n, c],
            _ => vec![n, c, h, w],
        };
        Some((
            chain.output,
            Held::Codes(Arc::new(codes), shape),
            &chain.steps,
        ))
    }
}
