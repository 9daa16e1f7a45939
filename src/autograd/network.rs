//! The network: parameters, and steps in the order of execution.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayD;
use thiserror::Error;

use super::binary::{BinaryId, BinaryWeight};
use super::ops::softmax::Head;
use super::ops::{ChannelMask, Op};
use super::param::{Param, ParamId, ParamKind};
use crate::graph::NodeId;

/// A tensor that depends on the data: the network's input, or the output of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// A position in the order of execution. Inserting a step moves those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// What a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A tensor that depends on the data.
    Value(ValueId),
    /// A parameter.
    Param(ParamId),
    /// The effective weight of a binary layer.
    Binary(BinaryId),
}

/// One operator at work.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it computes.
    pub op: Arc<dyn Op>,
    /// What it reads, in the order of the ONNX operator's inputs.
    pub inputs: Vec<Input>,
    /// What it writes.
    pub output: ValueId,
    /// The ONNX node that it came from; for a mask the node that it was put beside.
    pub node: NodeId,
    /// That node's name, for messages.
    pub name: String,
}

/// A network imported from ONNX that can be run and differentiated.
#[derive(Debug, Clone)]
pub struct Network {
    /// The parameters, indexed by [`ParamId`].
    pub params: Vec<Param>,
    /// The binary weights, indexed by [`BinaryId`].
    pub binary: Vec<BinaryWeight>,
    pub(super) steps: Vec<Step>,
    pub(super) value_count: usize,
    pub(super) input: ValueId,
    pub(super) input_shape: Vec<usize>,
    pub(super) logits: ValueId,
    pub(super) head: Option<Head>,
    /// Run steps as one where that gives the same bits (always; tests compare).
    pub(super) fuses: bool,
}

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

impl Network {
    /// The steps, in the order of execution.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The first step, and the position behind the last one.
    pub fn all(&self) -> Range<StepId> {
        StepId(0)..self.end()
    }

    /// The position behind the last step.
    pub fn end(&self) -> StepId {
        StepId(self.steps.len())
    }

    /// The network's input.
    pub fn input(&self) -> ValueId {
        self.input
    }

    /// The shape of one sample of the input, without the batch: `[C, H, W]` for NCHW.
    pub fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    /// The network's output before a softmax that the graph may end in.
    pub fn logits(&self) -> ValueId {
        self.logits
    }

    /// The softmax that the graph ends in, which the network leaves to [`Network::infer_output`].
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// The step that computes a node's output (not a mask beside it).
    pub fn step_of(&self, node: NodeId) -> Option<StepId> {
        let own = |s: &Step| s.node == node && s.op.name() != "ChannelMask";
        self.steps.iter().position(own).map(StepId)
    }

    /// The step that writes a node's output: [`Network::step_of`], or the BatchNormalization that
    /// was put back behind it.
    pub fn output_step_of(&self, node: NodeId) -> Option<StepId> {
        let own = |s: &Step| s.node == node && s.op.name() != "ChannelMask";
        self.steps.iter().rposition(own).map(StepId)
    }

    /// A step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }

    /// A parameter's value.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    /// Adds a parameter that the file does not have.
    pub fn add_param(&mut self, name: &str, kind: ParamKind, value: ArrayD<f32>) -> ParamId {
        let id = ParamId(self.params.len());
        self.params.push(Param {
            name: name.to_owned(),
            value: value.as_standard_layout().into_owned(),
            kind,
            origin: None,
        });
        id
    }

    /// The parameters that a step reads, those of a binary weight included.
    pub fn params_of(&self, step: StepId) -> Vec<ParamId> {
        let mut found = Vec::new();
        for input in &self.steps[step.0].inputs {
            match input {
                Input::Value(_) => {}
                Input::Param(p) => found.push(*p),
                Input::Binary(b) => found.extend(self.binary_params(*b)),
            }
        }
        found
    }

    /// Latents and, if it is a parameter, scale of a binary weight.
    pub(super) fn binary_params(&self, b: BinaryId) -> impl Iterator<Item = ParamId> + use<> {
        let b = &self.binary[b.0];
        let scale = match b.scale {
            super::binary::ScaleMode::Param(p) => Some(p),
            _ => None,
        };
        std::iter::once(b.latent).chain(scale)
    }

    /// The binary weight of the layer at `node`, if it has one.
    pub fn binary_of(&self, node: NodeId) -> Option<BinaryId> {
        let step = self.step_of(node)?;
        self.steps[step.0].inputs.iter().find_map(|i| match i {
            Input::Binary(b) => Some(*b),
            _ => None,
        })
    }

    /// The trainable parameters of the main network that steps in `range` read, ascending, each
    /// once.
    pub fn main_params(&self, range: Range<StepId>) -> Vec<ParamId> {
        let steps = (range.start.0..range.end.0.min(self.steps.len())).map(StepId);
        let mut params: Vec<ParamId> = steps.flat_map(|s| self.params_of(s)).collect();
        params.retain(|p| self.params[p.0].kind.is_main());
        params.sort_unstable();
        params.dedup();
        params
    }

    /// Steps that are BatchNormalizations at or behind `from`.
    pub fn batch_norms(&self, from: StepId) -> Vec<StepId> {
        let is = |i: &usize| self.steps[*i].op.as_batch_norm().is_some();
        (from.0..self.steps.len()).filter(is).map(StepId).collect()
    }

    /// The tensors that steps at or behind `step` read and that exist before it: what a run from
    /// there has to be given. Ascending.
    pub fn cut(&self, step: StepId) -> Vec<ValueId> {
        let (below, above) = self.steps.split_at(step.0.min(self.steps.len()));
        let mut exists = vec![false; self.value_count];
        exists[self.input.0] = true;
        below.iter().for_each(|s| exists[s.output.0] = true);
        let mut cut: Vec<ValueId> = above
            .iter()
            .flat_map(|s| &s.inputs)
            .filter_map(|i| match i {
                Input::Value(v) => Some(*v),
                _ => None,
            })
            .chain([self.logits])
            .filter(|v| exists[v.0])
            .collect();
        cut.sort_unstable();
        cut.dedup();
        cut
    }

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
        let step = &self.steps[at.0];
        let Some(&Input::Value(source)) = step.inputs.get(input) else {
            return Err(EditError::NoInput {
                node: step.name.clone(),
                input,
            });
        };
        let name = step.name.clone();
        let masked = self.insert_step(
            at,
            mask.into_op(),
            |m| vec![Input::Value(source), m],
            consumer,
            name,
        );
        self.steps[at.0 + 1].inputs[input] = Input::Value(masked);
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
        let (source, name) = (self.steps[at.0].output, self.steps[at.0].name.clone());
        let behind = StepId(at.0 + 1);
        let masked = self.insert_step(
            behind,
            mask.into_op(),
            |m| vec![Input::Value(source), m],
            node,
            name,
        );
        self.redirect(behind, source, masked);
        Ok(behind)
    }

    /// Takes the masks of a parameter out again.
    pub fn remove_masks(&mut self, param: ParamId) {
        let is_mask = |s: &Step| {
            s.op.name() == "ChannelMask" && s.inputs.get(1) == Some(&Input::Param(param))
        };
        while let Some(at) = self.steps.iter().position(is_mask) {
            let masked = self.steps[at].output;
            if let Input::Value(source) = self.steps[at].inputs[0] {
                self.redirect(StepId(at), masked, source);
            }
            self.steps.remove(at);
        }
    }

    /// Inserts a step at `at` that writes a new value.
    pub(super) fn insert_step(
        &mut self,
        at: StepId,
        (op, param): (Arc<dyn Op>, ParamId),
        inputs: impl FnOnce(Input) -> Vec<Input>,
        node: NodeId,
        name: String,
    ) -> ValueId {
        let output = ValueId(self.value_count);
        self.value_count += 1;
        let step = Step {
            op,
            inputs: inputs(Input::Param(param)),
            output,
            node,
            name,
        };
        self.steps.insert(at.0, step);
        output
    }

    /// Every step behind `inserted` that reads `old` reads `new` instead, and so do the logits.
    pub(super) fn redirect(&mut self, inserted: StepId, old: ValueId, new: ValueId) {
        for step in &mut self.steps[inserted.0 + 1..] {
            for input in &mut step.inputs {
                if *input == Input::Value(old) {
                    *input = Input::Value(new);
                }
            }
        }
        if self.logits == old {
            self.logits = new;
        }
    }
}

impl MaskSpec {
    fn into_op(self) -> (Arc<dyn Op>, ParamId) {
        let op = ChannelMask {
            axis: self.axis,
            filter_of: self.filter_of,
        };
        (Arc::new(op), self.param)
    }
}
