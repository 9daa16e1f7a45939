//! Changes of a network's steps: masks put in and taken out.

use std::sync::Arc;

use thiserror::Error;

use super::graph::{Input, Network, Step, StepId, ValueId};
use super::param::ParamId;
use crate::arrays::slice;
use crate::graph::NodeId;
use crate::ops::{ChannelMask, Op, Role};

/// Why a network cannot be edited as asked.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// No step came from that node.
    #[error("node {0}: is not a step of the native network")]
    NoStep(usize),
    /// The step has no such data input.
    #[error("node '{node}': input {input} is not a tensor that depends on the data")]
    NoInput {
        /// The node's name.
        node: String,
        /// The input asked for.
        input: usize,
    },
}

/// A mask on the channels of one tensor: see [`Network::insert_mask`].
#[derive(Debug, Clone)]
pub struct MaskSpec {
    /// The axis of the tensor that is masked.
    pub axis: usize,
    /// For each position on that axis the filter it belongs to; `None` leaves it as it is.
    pub filter_of: Vec<Option<usize>>,
    /// The mask parameter, one value per filter. Several masks may share one.
    pub param: ParamId,
}

impl MaskSpec {
    fn into_op(self) -> (Arc<dyn Op>, Vec<Input>) {
        let op = ChannelMask {
            axis: self.axis,
            filter_of: self.filter_of,
        };
        (Arc::new(op), vec![Input::Param(self.param)])
    }
}

impl Network {
    /// Puts a mask in front of input `input` of the step that came from `consumer`: only that
    /// reader sees the masked tensor. Returns the mask's step.
    ///
    /// # Errors
    /// If `consumer` is not a step, or its input not a tensor that depends on the data.
    pub fn insert_mask(
        &mut self,
        consumer: NodeId,
        input: usize,
        mask: MaskSpec,
    ) -> Result<StepId, EditError> {
        let at = self
            .step_of(consumer)
            .ok_or(EditError::NoStep(consumer.0))?;
        let step = self.step(at);
        let place = self.place_of(at, input);
        let Some(&Input::Value(source)) = step.inputs.get(place) else {
            return Err(EditError::NoInput {
                node: step.name.clone(),
                input,
            });
        };
        let name = step.name.clone();
        let (op, params) = mask.into_op();
        let masked = self.insert_step(at, op, params, source, consumer, name);
        self.steps[at.0 + 1].inputs[place] = Input::Value(masked);
        Ok(at)
    }

    /// Puts a mask behind the step that came from `node`: every reader sees the masked tensor.
    /// Returns the mask's step.
    ///
    /// # Errors
    /// If `node` is not a step.
    pub fn insert_output_mask(
        &mut self,
        node: NodeId,
        mask: MaskSpec,
    ) -> Result<StepId, EditError> {
        let at = self.output_step_of(node).ok_or(EditError::NoStep(node.0))?;
        let (source, name) = (self.step(at).output, self.step(at).name.clone());
        let behind = StepId(at.0 + 1);
        let (op, params) = mask.into_op();
        let masked = self.insert_step(behind, op, params, source, node, name);
        self.redirect(behind.0 + 1, source, masked);
        Ok(behind)
    }

    /// Takes the masks of a parameter out again.
    pub fn remove_masks(&mut self, param: ParamId) {
        let is_mask = |_: &Self, s: &Step| s.is_mask();
        self.remove_masks_if(param, is_mask);
    }

    /// Takes the masks of a parameter out that let everything through.
    pub fn remove_idle_masks(&mut self, param: ParamId) {
        let is_idle = |network: &Self, s: &Step| match s.op.traits(&[]).role {
            Role::Mask(mask) => {
                let m = slice(&network.param(param).value);
                let filters = mask.filter_of.iter().flatten();
                filters
                    .into_iter()
                    .all(|&f| m.get(f).is_some_and(|&m| m >= 0.0))
            }
            _ => false,
        };
        self.remove_masks_if(param, is_idle);
    }

    fn remove_masks_if(&mut self, param: ParamId, goes: impl Fn(&Self, &Step) -> bool) {
        let found = |network: &Self| {
            let of_param = |s: &&Step| s.inputs.get(1) == Some(&Input::Param(param));
            let steps = network.steps.iter().enumerate();
            let mut going = steps.filter(|(_, s)| of_param(s) && goes(network, s));
            going.next().map(|(at, _)| at)
        };
        while let Some(at) = found(self) {
            let masked = self.steps[at].output;
            if let Input::Value(source) = self.steps[at].inputs[0] {
                self.redirect(at + 1, masked, source);
            }
            self.steps.remove(at);
            self.revision += 1;
        }
    }

    /// Inserts a step at `at` that reads `source` and parameters, and writes a new value of the same
    /// shape.
    pub(super) fn insert_step(
        &mut self,
        at: StepId,
        op: Arc<dyn Op>,
        params: Vec<Input>,
        source: ValueId,
        node: NodeId,
        name: String,
    ) -> ValueId {
        let output = ValueId(self.value_count());
        self.shapes.push(self.shapes[source.0].clone());
        let inputs = std::iter::once(Input::Value(source)).chain(params);
        let step = Step {
            op,
            inputs: inputs.collect(),
            output,
            node,
            name,
        };
        self.steps.insert(at.0, step);
        self.revision += 1;
        output
    }

    /// Every step from `first` on that reads `old` reads `new` instead, and so do the logits.
    pub(super) fn redirect(&mut self, first: usize, old: ValueId, new: ValueId) {
        for step in self.steps.iter_mut().skip(first) {
            for input in &mut step.inputs {
                if *input == Input::Value(old) {
                    *input = Input::Value(new);
                }
            }
        }
        if self.logits == old {
            self.logits = new;
        }
        self.revision += 1;
    }
}
