//! The network: parameters, and steps in the order of execution.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewMutD};

use super::binary_weight::{BinaryId, BinaryWeight, ScaleMode};
use super::param::{Param, ParamId};
use super::restored::RestoredNorm;
use crate::graph::NodeId;
use crate::ops::{Convolution, Head, Op, ParamKind, Role};

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
    /// What it reads, in the order of the ONNX operator's inputs; but a layer its data first.
    pub inputs: Vec<Input>,
    /// What it writes.
    pub output: ValueId,
    /// The ONNX node that it came from; for a mask the node that it was put beside.
    pub node: NodeId,
    /// That node's name, for messages.
    pub name: String,
}

impl Step {
    /// Whether it multiplies by a mask of the subsidiary network.
    pub fn is_mask(&self) -> bool {
        matches!(self.op.traits(&[]).role, Role::Mask(_))
    }

    /// Whether it is a BatchNormalization.
    pub fn is_normalization(&self) -> bool {
        matches!(self.op.traits(&[]).role, Role::Normalization(_))
    }
}

/// A network imported from ONNX that can be run and differentiated.
///
/// Its parts refer to each other by index ([`ParamId`], [`BinaryId`], [`ValueId`], [`StepId`]); they
/// are changed through functions that keep these true.
#[derive(Debug, Clone)]
pub struct Network {
    pub(super) params: Vec<Param>,
    pub(super) binary: Vec<BinaryWeight>,
    pub(super) steps: Vec<Step>,
    /// For each value the shape of one sample, where it is known.
    pub(super) shapes: Vec<Option<Vec<usize>>>,
    /// The axis of the batch in the file's tensor, of values where it is not the first there.
    pub(super) batch_axes: BTreeMap<ValueId, usize>,
    pub(super) input: ValueId,
    pub(super) input_shape: Vec<usize>,
    pub(super) logits: ValueId,
    pub(super) head: Option<Head>,
    /// BatchNormalizations that the file's form hid.
    pub(super) restored: Vec<RestoredNorm>,
    /// Counts changes of the steps.
    pub(super) revision: u64,
}

impl Network {
    /// The steps, in the order of execution.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// A step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
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

    /// The network's output before a softmax or a sigmoid that the graph may end in.
    pub fn logits(&self) -> ValueId {
        self.logits
    }

    /// The softmax or sigmoid that the graph ends in, which is no step of the network.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Changes whenever steps are inserted, removed or connected in another way.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Values that the network has; [`ValueId`]s are below it.
    pub fn value_count(&self) -> usize {
        self.shapes.len()
    }

    /// The shape of one sample of a value, where it is known.
    pub fn sample_shape(&self, v: ValueId) -> Option<&[usize]> {
        self.shapes.get(v.0)?.as_deref()
    }

    /// The step that computes a node's output (not a mask beside it).
    pub fn step_of(&self, node: NodeId) -> Option<StepId> {
        let own = |s: &Step| s.node == node && !s.is_mask();
        self.steps.iter().position(own).map(StepId)
    }

    /// The step that writes a node's output: [`Network::step_of`], or the BatchNormalization that
    /// was put back behind it.
    pub fn output_step_of(&self, node: NodeId) -> Option<StepId> {
        // What the file has not is no part of the node's output.
        let added = |s: &Step| {
            let bare = self.restored.iter().filter(|r| r.form.is_bare());
            let gammas = bare.map(|r| Input::Param(r.gamma));
            gammas.into_iter().any(|g| s.inputs.contains(&g))
        };
        let own = |s: &Step| s.node == node && !s.is_mask() && !added(s);
        self.steps.iter().rposition(own).map(StepId)
    }

    /// The parameters, indexed by [`ParamId`].
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// A parameter.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }

    /// A parameter's elements, to be changed.
    pub fn values_mut(&mut self, id: ParamId) -> ArrayViewMutD<'_, f32> {
        self.params[id.0].value.view_mut()
    }

    /// Exchanges a parameter's value and another of the same shape. False, and nothing is changed, if
    /// there is no such parameter, or it has another shape.
    pub fn exchange(&mut self, id: ParamId, value: &mut ArrayD<f32>) -> bool {
        let param = self.params.get_mut(id.0);
        let Some(param) = param.filter(|p| p.value.shape() == value.shape()) else {
            return false;
        };
        if !value.is_standard_layout() {
            *value = value.as_standard_layout().into_owned();
        }
        std::mem::swap(&mut param.value, value);
        true
    }

    /// Adds a parameter that the file does not have.
    pub fn add_param(&mut self, name: &str, kind: ParamKind, value: ArrayD<f32>) -> ParamId {
        self.push_param(Param {
            name: name.to_owned(),
            value,
            kind,
            origin: None,
        })
    }

    /// Adds a parameter, its elements brought into the row-major order that operators read.
    pub(super) fn push_param(&mut self, mut param: Param) -> ParamId {
        if !param.value.is_standard_layout() {
            param.value = param.value.as_standard_layout().into_owned();
        }
        let id = ParamId(self.params.len());
        self.params.push(param);
        id
    }

    /// The binary weights, indexed by [`BinaryId`].
    pub fn binaries(&self) -> &[BinaryWeight] {
        &self.binary
    }

    /// A binary weight.
    pub fn binary(&self, id: BinaryId) -> &BinaryWeight {
        &self.binary[id.0]
    }

    /// The latents of a binary weight.
    pub fn latent(&self, id: BinaryId) -> &ArrayD<f32> {
        &self.param(self.binary(id).latent).value
    }

    /// The binary weight of the layer at `node`, if it has one.
    pub fn binary_of(&self, node: NodeId) -> Option<BinaryId> {
        let step = self.step_of(node)?;
        self.step(step).inputs.iter().find_map(|i| match i {
            Input::Binary(b) => Some(*b),
            Input::Value(_) | Input::Param(_) => None,
        })
    }

    /// Latents and, if it is a parameter, scale of a binary weight.
    pub fn binary_params(&self, b: BinaryId) -> impl Iterator<Item = ParamId> + use<> {
        let b = self.binary(b);
        let scale = match b.scale {
            ScaleMode::Param(p) => Some(p),
            ScaleMode::MeanAbs { .. } | ScaleMode::One => None,
        };
        std::iter::once(b.latent).chain(scale)
    }

    /// The parameters that a step reads, those of a binary weight included.
    pub fn params_of(&self, step: StepId) -> Vec<ParamId> {
        let mut found = Vec::new();
        for input in &self.step(step).inputs {
            match input {
                Input::Value(_) => {}
                Input::Param(p) => found.push(*p),
                Input::Binary(b) => found.extend(self.binary_params(*b)),
            }
        }
        found
    }

    /// The values of a step's inputs where they are parameters, `None` for the others.
    pub fn step_params(&self, step: StepId) -> Vec<Option<&ArrayD<f32>>> {
        let inputs = self.step(step).inputs.iter();
        inputs
            .map(|i| match i {
                Input::Param(p) => Some(&self.param(*p).value),
                Input::Value(_) | Input::Binary(_) => None,
            })
            .collect()
    }

    /// What a step reads first, if all else that it reads are parameters.
    pub fn data_input(&self, step: StepId) -> Option<ValueId> {
        let (first, others) = self.step(step).inputs.split_first()?;
        match first {
            Input::Value(v) if others.iter().all(|i| matches!(i, Input::Param(_))) => Some(*v),
            _ => None,
        }
    }

    /// Where a step has input `input` of the ONNX operator.
    pub fn place_of(&self, step: StepId, input: usize) -> usize {
        let convolution = self.step(step).op.traits(&[]).convolution;
        match (convolution.map_or(0, Convolution::data_input), input) {
            (1, 0 | 1) => 1 - input,
            _ => input,
        }
    }

    /// The tensors that a step reads.
    pub fn values_read(&self, step: StepId) -> impl Iterator<Item = ValueId> {
        self.step(step).inputs.iter().filter_map(|i| match i {
            Input::Value(v) => Some(*v),
            Input::Param(_) | Input::Binary(_) => None,
        })
    }

    /// For each value the steps that read it, ascending; of the logits also the end.
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.value_count()];
        for i in 0..self.steps.len() {
            for v in self.values_read(StepId(i)) {
                readers[v.0].push(i);
            }
        }
        readers[self.logits.0].push(self.steps.len());
        readers
    }

    /// The trainable parameters of the main network that steps in `range` read, ascending, each
    /// once.
    pub fn main_params(&self, range: Range<StepId>) -> Vec<ParamId> {
        let steps = (range.start.0..range.end.0.min(self.steps.len())).map(StepId);
        let mut params: Vec<ParamId> = steps.flat_map(|s| self.params_of(s)).collect();
        params.retain(|p| self.param(*p).kind.is_main());
        params.sort_unstable();
        params.dedup();
        params
    }

    /// Whether a parameter that is trained is read by several steps.
    pub fn shares_parameters(&self) -> bool {
        let mut read = vec![false; self.params.len()];
        let all = (0..self.steps.len()).flat_map(|i| self.params_of(StepId(i)));
        all.filter(|p| self.param(*p).kind.is_main())
            .any(|p| std::mem::replace(&mut read[p.0], true))
    }

    /// The BatchNormalizations at or behind `from`.
    pub fn batch_norms(&self, from: StepId) -> Vec<StepId> {
        let is = |i: &usize| self.steps[*i].is_normalization();
        (from.0..self.steps.len()).filter(is).map(StepId).collect()
    }

    /// The tensors that steps at or behind `step` read and that exist before it: what a run from
    /// there has to be given. Ascending.
    pub fn boundary(&self, step: StepId) -> Vec<ValueId> {
        let step = step.min(self.end());
        let mut exists = vec![false; self.value_count()];
        exists[self.input.0] = true;
        let below = self.steps.iter().take(step.0);
        below.for_each(|s| exists[s.output.0] = true);
        let mut found: Vec<ValueId> = (step.0..self.steps.len())
            .flat_map(|i| self.values_read(StepId(i)))
            .chain([self.logits])
            .filter(|v| exists[v.0])
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
