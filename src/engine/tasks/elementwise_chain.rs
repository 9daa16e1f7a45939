//! Steps that work channel by channel, one behind the other, run as one: what lies between them is
//! never stored.

use bnn_kernels::elementwise::{
    ChannelStatistics, ElementwiseChain as Chain, ElementwiseMap, Moments, Normalization,
    ParameterGradients, WantedGradients,
};
use ndarray::ArrayD;

use super::{Backward, BatchNormalizer, Forward, Record, StepGradients, Task};
use crate::arrays::{array, recycle_array, slice_mut};
use crate::engine::error::RunError;
use crate::engine::value::{Form, Value};
use crate::network::{Input, Network, ParamId, StepId, ValueId};
use crate::ops::{ChannelMask, Elementwise, Role};

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
    pub fn of(network: &'a Network, step: StepId, sample: &[usize]) -> Option<Self> {
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
        fits.then(|| Self::Normalization(normalization.normalization(params)))
    }
}

impl ElementwiseChain {
    /// The chain for `x`.
    fn chain<'a>(&self, network: &'a Network, x: &Value) -> Result<Chain<'a>, RunError> {
        let mut chain = Chain::default();
        for &at in &self.steps {
            let link = x.shape().get(1..);
            match link.and_then(|sample| Link::of(network, at, sample)) {
                Some(Link::Normalization(norm)) => chain.normalization = Some(norm),
                Some(Link::Map(map)) => chain.push(map),
                None => {
                    let step = network.step(at);
                    return Err(RunError::Step {
                        node: step.name.clone(),
                        op: step.op.name(),
                        reason: format!(
                            "its parameters do not have one value per channel of {:?}",
                            x.shape()
                        ),
                    });
                }
            }
        }
        Ok(chain)
    }

    /// What the first step reads.
    fn read<'p>(&self, pass: &'p Forward<'_>) -> Result<&'p Value, RunError> {
        pass.value(pass.network.step(self.steps[0]), self.input)
    }

    /// The same on the way back, and its chain; `None` if no gradient has to go anywhere.
    fn again<'p>(&self, pass: &Backward<'p>) -> Option<(&'p Value, Chain<'p>)> {
        let moves = self.gradients.iter().any(StepGradients::any);
        let x = pass.value(self.input).filter(|_| moves)?;
        Some((x, self.chain(pass.network, x).ok()?))
    }

    fn run(
        &self,
        pass: &mut Forward<'_>,
        batch: Option<&ChannelStatistics>,
    ) -> Result<(), RunError> {
        let x = self.read(pass)?;
        let chain = self.chain(pass.network, x)?;
        let shape = x.shape().to_vec();
        let planes = match shape[..] {
            [n, c, h, w] => Some([n, c, h, w]),
            [n, c, w] => Some([n, c, 1, w]),
            _ => None,
        };
        let packed = (planes.filter(|_| self.codes))
            .and_then(|planes| chain.forward_codes(x.source(), planes, batch));
        let y = match packed {
            Some(codes) => Value::of_codes(codes, shape),
            None => array(&shape, chain.forward(x.source(), &shape, batch)).into(),
        };
        let output = pass.network.step(self.last()).output;
        pass.set(output, y);
        Ok(())
    }

    fn last(&self) -> StepId {
        self.steps[self.steps.len() - 1]
    }

    /// Whether a gradient is wanted of the normalisation's input `k`.
    fn wants(&self, k: usize) -> bool {
        (self.normalization).is_some_and(|(i, _)| self.gradients[i].wanted[k])
    }

    /// The mask at the end, if it is learned, and its parameter.
    fn learned_mask<'n>(&self, network: &'n Network) -> Option<(&'n ChannelMask, ParamId)> {
        let step = network.step(self.last());
        let learned = self.gradients[self.steps.len() - 1].wanted.get(1) == Some(&true);
        match (
            step.op.traits(&network.step_params(self.last())).role,
            step.inputs.get(1),
        ) {
            (Role::Mask(mask), Some(&Input::Param(p))) if learned => Some((mask, p)),
            _ => None,
        }
    }

    /// Passes gradients of parameters on.
    fn add_found(&self, pass: &mut Backward<'_>, found: ParameterGradients) {
        let network = pass.network;
        if let Some((i, _)) = self.normalization {
            let inputs = &network.step(self.steps[i]).inputs;
            for k in [1, 2] {
                if let (Input::Param(p), true) = (inputs[k], self.wants(k)) {
                    let sums = found.normalization.iter().map(|s| s[2 - k] as f32);
                    let shape = network.param(p).value.shape();
                    pass.add_to_param(p, array(shape, sums.collect()));
                }
            }
        }
        if let Some((mask, p)) = self.learned_mask(network) {
            let shape = network.param(p).value.shape();
            pass.add_to_param(p, mask.gradient(found.mask, shape));
        }
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
        self.run(pass, None)?;
        Ok(Record::default())
    }

    fn backward(&self, pass: &mut Backward<'_>, _: &Record, mut grad: ArrayD<f32>) {
        let Some((x, chain)) = self.again(pass) else {
            return;
        };
        let wanted = WantedGradients {
            input: self.gradients[0].wanted[0],
            normalization: self.wants(1) || self.wants(2),
            mask: self.learned_mask(pass.network).is_some(),
        };
        let shape = grad.shape().to_vec();
        let found = chain.backward(x.source(), &shape, slice_mut(&mut grad), wanted);
        self.add_found(pass, found);
        if wanted.input {
            pass.add_to_value(self.input, grad);
        }
    }

    fn normalizer(&self) -> Option<&dyn BatchNormalizer> {
        match self.normalization {
            Some((_, true)) => Some(self),
            _ => None,
        }
    }
}

impl BatchNormalizer for ElementwiseChain {
    fn step(&self) -> StepId {
        self.steps[self.normalization.map_or(0, |(i, _)| i)]
    }

    fn passes_on(&self) -> bool {
        self.gradients[0].wanted[0]
    }

    fn moments(&self, pass: &Forward<'_>) -> Result<Moments, RunError> {
        let x = self.read(pass)?;
        Ok((self.chain(pass.network, x)?).moments(x.source(), x.shape()))
    }

    fn forward(&self, pass: &mut Forward<'_>, batch: &ChannelStatistics) -> Result<(), RunError> {
        self.run(pass, Some(batch))
    }

    fn to_normalization(
        &self,
        pass: &mut Backward<'_>,
        batch: &ChannelStatistics,
        grad: &mut ArrayD<f32>,
    ) -> Vec<[f64; 2]> {
        let Some((x, chain)) = self.again(pass) else {
            return Vec::new();
        };
        let masked = self.learned_mask(pass.network).is_some();
        let shape = grad.shape().to_vec();
        let (x, grad) = (x.source(), slice_mut(grad));
        let found = chain.backward_to_normalization(x, &shape, batch, grad, masked);
        let sums = found.normalization.clone();
        self.add_found(pass, found);
        sums
    }

    fn past_normalization(
        &self,
        pass: &mut Backward<'_>,
        statistics: &ChannelStatistics,
        sums: &[[f64; 2]],
        mut grad: ArrayD<f32>,
    ) {
        let Some((x, chain)) = self.again(pass).filter(|_| self.passes_on()) else {
            return recycle_array(grad);
        };
        let shape = grad.shape().to_vec();
        chain.backward_from_normalization(
            x.source(),
            &shape,
            statistics,
            sums,
            slice_mut(&mut grad),
        );
        pass.add_to_value(self.input, grad);
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
