//! A forward pass that keeps nothing, with binary activations packed from layer to layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::ArrayD;

use super::chain::Chain;
use super::layer::IntegerLayer;
use crate::autograd::binary::BinaryId;
use crate::autograd::kernels::packed::{Codes, binarised};
use crate::autograd::network::{Input, Network, StepId};
use crate::autograd::ops::Context;
use crate::autograd::parallel::array;
use crate::autograd::trace::{Cut, RunError};

/// A value during the pass.
#[derive(Debug, Clone)]
enum Held {
    Float(Arc<ArrayD<f32>>),
    /// With the tensor's shape.
    Codes(Arc<Codes>, Vec<usize>),
}

impl Held {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Float(x) => x.shape(),
            Self::Codes(_, shape) => shape,
        }
    }

    fn float(&self) -> Arc<ArrayD<f32>> {
        match self {
            Self::Float(x) => Arc::clone(x),
            Self::Codes(codes, shape) => Arc::new(array(shape, codes.unpack())),
        }
    }
}

/// The pass.
struct Pass<'a> {
    network: &'a Network,
    end: StepId,
    values: Vec<Option<Held>>,
    weights: BTreeMap<BinaryId, ArrayD<f32>>,
    /// For each value the steps of the network that read it.
    readers: Vec<Vec<usize>>,
}

impl Network {
    /// Runs the steps from the cut up to `end` (exclusive) by running statistics, and gives what a
    /// run from there needs. Sums of binary layers are integers, whatever the file's order.
    ///
    /// # Errors
    /// If shapes do not fit, or the cut lacks a value.
    pub fn infer_to(&self, from: &Cut, end: StepId) -> Result<Cut, RunError> {
        let end = StepId(end.0.min(self.steps.len()));
        let start = StepId(from.step.0.min(end.0));
        let mut readers = vec![Vec::new(); self.value_count];
        for (i, step) in self.steps.iter().enumerate() {
            for input in &step.inputs {
                if let Input::Value(v) = input {
                    readers[v.0].push(i);
                }
            }
        }
        let mut pass = Pass {
            network: self,
            end,
            values: vec![None; self.value_count],
            weights: BTreeMap::new(),
            readers,
        };
        for (v, x) in &from.values {
            if let Some(slot) = pass.values.get_mut(v.0) {
                *slot = Some(Held::Float(Arc::clone(x)));
            }
        }
        let last_read = self.last_reads(end);
        let mut done = vec![false; self.steps.len()];
        for i in start.0..end.0 {
            if !done[i] {
                for step in pass.step(StepId(i))? {
                    done[step] = true;
                }
            }
            for input in &self.steps[i].inputs {
                if let Input::Value(v) = input
                    && last_read[v.0] == Some(i)
                {
                    pass.values[v.0] = None;
                }
            }
        }
        let values = self.cut(end).into_iter();
        Ok(Cut {
            step: end,
            values: values
                .filter_map(|v| Some((v, pass.values[v.0].as_ref()?.float())))
                .collect(),
        })
    }
}

impl Pass<'_> {
    /// Computes a step, and the steps behind it that go with it; those.
    fn step(&mut self, at: StepId) -> Result<Vec<usize>, RunError> {
        let step = self.network.step(at);
        if let Some(steps) = self.binary(at) {
            return Ok(steps);
        }
        for input in &step.inputs {
            if let Input::Binary(b) = input {
                let weight = || self.network.effective_weight(*b);
                self.weights.entry(*b).or_insert_with(weight);
            }
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
                Input::Param(p) => Some(&self.network.param(*p).value),
                Input::Binary(b) => self.weights.get(b),
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
        Ok(Vec::new())
    }

    /// A binary layer on integers, with the chain behind it if there is one: the steps of that.
    /// `None` for any other step.
    fn binary(&mut self, at: StepId) -> Option<Vec<usize>> {
        let step = self.network.step(at);
        let Input::Value(v) = step.inputs.first()? else {
            return None;
        };
        let input = self.values[v.0].as_ref()?;
        let layer = IntegerLayer::of(self.network, step, input.shape())?;
        let codes = match input {
            Held::Codes(codes, _) if codes.shape() == layer.form.input() => Arc::clone(codes),
            held => Arc::new(layer.pack(&held.float())?),
        };
        if let Some((chain, found)) = self.chained(at, &layer, &codes) {
            self.values[chain.output.0] = Some(found);
            return Some(chain.steps);
        }
        let y = layer.forward(&codes);
        self.values[step.output.0] = Some(Held::Float(Arc::new(y)));
        Some(Vec::new())
    }

    fn chained(&self, at: StepId, layer: &IntegerLayer, x: &Codes) -> Option<(Chain, Held)> {
        let g = &layer.form.geometry;
        let chain = Chain::behind(self.network, at, self.end, &self.readers)?;
        let windows = chain.windows(self.network, [g.out_height, g.out_width])?;
        let thresholds = chain.thresholds(self.network, layer)?;
        if g.groups != 1 {
            return None;
        }
        let codes = binarised(g, x, &layer.weight, windows.as_ref(), &thresholds);
        let [n, c, h, w] = codes.shape();
        let shape = match layer.form.output.len() {
            2 => vec![n, c],
            _ => vec![n, c, h, w],
        };
        Some((chain, Held::Codes(Arc::new(codes), shape)))
    }
}
