//! One step, by its operator, on floats.

use ndarray::ArrayD;

use super::{Backward, Forward, Record, StepGradients, Task};
use crate::engine::error::RunError;
use crate::network::{Input, StepId};
use crate::ops::{Backward as OpBackward, Saved};

/// One step, by its operator, on floats: what every step can be.
#[derive(Debug)]
pub(in crate::engine) struct Operator {
    pub step: StepId,
    pub gradients: StepGradients,
}

impl Task for Operator {
    fn steps(&self) -> &[StepId] {
        std::slice::from_ref(&self.step)
    }

    fn forward(&self, pass: &mut Forward<'_>) -> Result<Record, RunError> {
        let network = pass.network;
        let step = network.step(self.step);
        let inputs = pass.inputs(step)?;
        let (y, saved) = (step.op.forward(&inputs)).map_err(|e| RunError::Step {
            node: step.name.clone(),
            op: step.op.name(),
            reason: e.0,
        })?;
        let moves = self.gradients.any();
        let record = Record {
            saved: match saved {
                Saved::Nothing => None,
                saved => moves.then_some(saved),
            },
            shapes: match moves {
                true => pass.input_shapes(step),
                false => Vec::new(),
            },
        };
        pass.set(step.output, y.into());
        Ok(record)
    }

    fn backward(&self, pass: &mut Backward<'_>, record: &Record, grad: ArrayD<f32>) {
        let network = pass.network;
        let step = network.step(self.step);
        let wanted = &self.gradients.wanted;
        let inputs = step.inputs.iter().enumerate();
        let inputs: Vec<_> = inputs
            .map(|(k, i)| match i {
                // What the operator does not ask for may be there in another form.
                Input::Value(v) if step.op.needs_input(k, wanted) => Some(pass.value(*v)?.float()),
                Input::Value(_) => None,
                Input::Param(p) => Some(&network.param(*p).value),
                Input::Binary(b) => Some(pass.weights.effective(network, *b)),
            })
            .collect();
        let shapes: Vec<_> = record.shapes.iter().map(|s| &s[..]).collect();
        let grads = step.op.backward(
            &OpBackward {
                inputs: &inputs,
                shapes: &shapes,
                saved: record.saved(),
                wanted,
            },
            grad,
        );
        pass.add_all(step, &self.gradients, grads);
    }
}
