//! Steps that work channel by channel, one behind the other, run as one: what lies between them is
//! never stored.

use bnn_kernels::elementwise::{
    ElementwiseChain as Chain, ElementwiseMap, Normalization, WantedGradients,
};
use ndarray::ArrayD;

use super::{Backward, Forward, Record, StepGradients, Task};
use crate::arrays::{array, slice_mut};
use crate::engine::error::RunError;
use crate::engine::value::{Form, Value};
use crate::network::{Input, Network, StepId, ValueId};
use crate::ops::{Elementwise, Role, Saved};

/// Fewer elements of a channel than this, of one sample, are not worth it.
const SMALLEST_PLANE: usize = 16;

/// Whether a channel of one sample of that shape has enough elements for a chain.
pub(in crate::engine) fn large_enough(sample: &[usize]) -> bool {
    match sample {
        [_, plane @ ..] if !plane.is_empty() => plane.iter().product::<usize>() >= SMALLEST_PLANE,
        _ => false,
    }
}

/// Elementwise steps, at most one of them a BatchNormalization, each the only reader of the one
/// before, and none with other parameters that are trained but a mask at the end.
#[derive(Debug)]
pub(in crate::engine) struct ElementwiseChain {
    pub steps: Vec<StepId>,
    /// What the first one reads.
    pub input: ValueId,
    /// Of each step.
    pub gradients: Vec<StepGradients>,
    /// The BatchNormalization among the steps, by its index, and whether it normalises by the batch.
    pub normalization: Option<(usize, bool)>,
    /// The output holds nothing but -1, 0 and +1, and goes to binary layers alone.
    pub codes: bool,
}

/// What a step is in a chain.
pub(in crate::engine) enum Link<'a> {
    Normalization(Normalization<'a>),
    Map(Box<dyn ElementwiseMap + 'a>),
}

impl<'a> Link<'a> {
    /// A step that reads one value `[N, sample…]` and computes element by element. `None` if it is
    /// none of that kind.
    pub fn of(
        network: &'a Network,
        step: StepId,
        sample: &[usize],
        batch_statistics: bool,
    ) -> Option<Self> {
        network.data_input(step)?;
        let channels = *sample.first()?;
        let params = network.step_params(step);
        let traits = network.step(step).op.traits(&params);
        let Role::Normalization(normalization) = traits.role else {
            let elementwise: &'a dyn Elementwise = traits.elementwise?;
            let map = elementwise.map(sample.len() + 1, &params)?;
            let fits = map.channels().is_none_or(|c| c == channels);
            return fits.then_some(Self::Map(map));
        };
        let [None, Some(gamma), Some(beta), Some(mean), Some(variance)] = params[..] else {
            return None;
        };
        let params = [gamma, beta, mean, variance];
        let fits = params.iter().all(|p| p.len() == channels);
        fits.then(|| Self::Normalization(normalization.normalization(params, batch_statistics)))
    }
}

impl ElementwiseChain {
    fn chain<'a>(&self, network: &'a Network, x: &Value) -> Option<Chain<'a>> {
        let mut chain = Chain::default();
        let batch = self.normalization.is_some_and(|(_, batch)| batch);
        for &step in &self.steps {
            match Link::of(network, step, x.shape().get(1..)?, batch)? {
                Link::Normalization(normalization) => chain.normalization = Some(normalization),
                Link::Map(map) => chain.push(map),
            }
        }
        Some(chain)
    }

    fn output(&self, network: &Network) -> Option<ValueId> {
        Some(network.step(*self.steps.last()?).output)
    }

    /// Whether a gradient has to go to any input of the steps.
    fn moves(&self) -> bool {
        self.gradients.iter().any(StepGradients::any)
    }
}

impl Task for ElementwiseChain {
    fn steps(&self) -> &[StepId] {
        &self.steps
    }

    #[cfg(test)]
    fn is_chain(&self) -> bool {
        true
    }

    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError> {
        let network = pass.network;
        let first = network.step(self.steps[0]);
        let x = pass.value(first, self.input)?;
        let (Some(chain), Some(output)) = (self.chain(network, x), self.output(network)) else {
            return Err(RunError::Missing {
                node: first.name.clone(),
            });
        };
        let shape = x.shape().to_vec();
        let packed = match (self.codes, &shape[..]) {
            (true, &[n, c, h, w]) => chain.forward_codes(x.source(), [n, c, h, w]),
            _ => None,
        };
        let (y, statistics) = match packed {
            Some((codes, statistics)) => (Value::of_codes(codes, shape), statistics),
            None => {
                let (y, statistics) = chain.forward(x.source(), &shape);
                (array(&shape, y).into(), statistics)
            }
        };
        pass.set(output, y);
        let at = self.normalization.map(|(i, _)| self.steps[i]);
        Ok(Record {
            saved: at.zip(statistics.map(Saved::Statistics)),
            shapes: Vec::new(),
        })
    }

    fn backward(&self, pass: &mut Backward<'_>, record: &Record, mut grad: ArrayD<f32>) {
        let network = pass.network;
        let Some(x) = pass.value(self.input).filter(|_| self.moves()) else {
            return;
        };
        let Some(chain) = self.chain(network, x) else {
            return;
        };
        let statistics = match record.saved() {
            Saved::Statistics(s) => Some(s),
            Saved::Nothing | Saved::Positions(_) => None,
        };
        let norm = self.normalization.map(|(i, _)| i);
        let wants = |k: usize| norm.is_some_and(|i| self.gradients[i].wanted[k]);
        let (last, learned) = (
            self.steps.len() - 1,
            self.gradients[self.steps.len() - 1].wanted.get(1),
        );
        let step = network.step(self.steps[last]);
        let mask = match step.op.traits(&network.step_params(self.steps[last])).role {
            Role::Mask(mask) if learned == Some(&true) => Some(mask),
            _ => None,
        };
        let wanted = WantedGradients {
            input: self.gradients[0].wanted[0],
            normalization: wants(1) || wants(2),
            mask: mask.is_some(),
        };
        let shape = grad.shape().to_vec();
        let found = chain.backward(x.source(), &shape, statistics, slice_mut(&mut grad), wanted);
        if let Some(i) = norm {
            let inputs = &network.step(self.steps[i]).inputs;
            for k in [1, 2] {
                if let (Input::Param(p), true) = (inputs[k], wants(k)) {
                    let sums = found.normalization.iter().map(|s| s[2 - k] as f32);
                    let shape = network.param(p).value.shape();
                    pass.add_to_param(p, array(shape, sums.collect()));
                }
            }
        }
        if let (Some(mask), Some(&Input::Param(p))) = (mask, step.inputs.get(1)) {
            let shape = network.param(p).value.shape();
            pass.add_to_param(p, mask.gradient(found.mask, shape));
        }
        if wanted.input {
            pass.add_to_value(self.input, grad);
        }
    }
}

impl Value {
    /// As what chains read.
    pub(super) fn source(&self) -> bnn_kernels::elementwise::Source<'_> {
        use bnn_kernels::elementwise::Source;
        match self.form() {
            Form::Sums(sums) => Source::Sums(sums),
            Form::Float(_) | Form::Codes(..) => Source::Floats(crate::arrays::slice(self.float())),
        }
    }
}
