//! A network without channels that a fixed mask has removed for good: it computes what the masked one
//! does, and they cost nothing.

use ndarray::{ArrayD, Axis, IxDyn};

use super::binary_weight::{BinaryId, ScaleMode};
use super::graph::{Input, Network, Step, StepId, ValueId};
use super::param::ParamId;
use crate::graph::NodeId;
use crate::ops::{ChannelsLeft, LeftOnAxis, ParamKind, Role};

/// For each axis of a parameter the positions that stay; `None`: all.
type KeptAxes = Vec<Option<Vec<usize>>>;

/// For each value of a network the channels that stay, where some go.
pub type ChannelsOfValues = Vec<Option<LeftOnAxis>>;

/// Which elements of each parameter a smaller network has.
#[derive(Debug, Clone)]
pub struct KeptElements {
    params: Vec<KeptAxes>,
}

impl Network {
    /// The network without the channels that `left` leaves out, and which elements of its parameters
    /// are left. Ids of parameters, values and steps stay. `None` if it cannot be had: where a
    /// parameter is read in two ways that do not lose the same, or groups of a convolution part.
    pub fn shrunk(&self, left: &ChannelsOfValues) -> Option<(Self, KeptElements)> {
        // A tensor without channels is none.
        if left.iter().flatten().any(|left| left.kept.is_empty()) {
            return None;
        }
        let mut small = self.clone();
        small.revision += 1;
        for (shape, left) in small.shapes.iter_mut().zip(left) {
            if let (Some(shape), Some(left)) = (shape, left) {
                *shape.get_mut(left.axis.checked_sub(1)?)? = left.kept.len();
            }
        }
        let mut kept: Vec<Option<KeptAxes>> = vec![None; self.params.len()];
        for at in (0..self.steps.len()).map(StepId) {
            self.shrink_step(&mut small, at, left, &mut kept)?;
        }
        let kept = KeptElements {
            params: kept.into_iter().map(Option::unwrap_or_default).collect(),
        };
        for (param, axes) in small.params.iter_mut().zip(&kept.params) {
            param.value = selected(&param.value, axes)?;
        }
        Some((small, kept))
    }

    fn shrink_step(
        &self,
        small: &mut Self,
        at: StepId,
        left: &ChannelsOfValues,
        kept: &mut [Option<KeptAxes>],
    ) -> Option<()> {
        let step = self.step(at);
        let input = match step.inputs.first() {
            Some(Input::Value(v)) => left.get(v.0)?.as_ref(),
            _ => None,
        };
        let output = left.get(step.output.0)?.as_ref();
        let channels = ChannelsLeft {
            input,
            output,
            sample: small.sample_shape(step.output),
        };
        if let Some(op) = step.op.with_channels(&channels) {
            small.steps[at.0].op = op;
        }
        if step.op.traits(&[]).convolution.is_some() {
            return self.shrink_weights(small, step, input, output, kept);
        }
        let masks = matches!(step.op.traits(&[]).role, Role::Mask(_));
        let rank = self.sample_shape(step.output).map(|s| s.len() + 1);
        for &p in step.inputs.iter().filter_map(|i| match i {
            Input::Param(p) => Some(p),
            Input::Value(_) | Input::Binary(_) => None,
        }) {
            let shape = self.param(p).value.shape();
            let mut axes: KeptAxes = vec![None; shape.len()];
            // A mask has one element a filter, whatever the tensor's shape.
            if let (Some(output), false) = (output, masks) {
                let old = *self.sample_shape(step.output)?.get(output.axis - 1)?;
                let axis = match step.op.traits(&[]).per_channel {
                    true => Some(0),
                    false => (output.axis + shape.len()).checked_sub(rank?),
                };
                if let Some(axis) = axis.filter(|&a| shape.get(a) == Some(&old) && old > 1) {
                    axes[axis] = Some(output.kept.clone());
                }
            }
            agree(&mut kept[p.0], axes)?;
        }
        Some(())
    }

    /// Weight and bias of a convolution or matrix product.
    fn shrink_weights(
        &self,
        small: &mut Self,
        step: &Step,
        input: Option<&LeftOnAxis>,
        output: Option<&LeftOnAxis>,
        kept: &mut [Option<KeptAxes>],
    ) -> Option<()> {
        let weight = *step.inputs.get(1)?;
        let shape = match weight {
            Input::Value(_) => return (input.is_none() && output.is_none()).then_some(()),
            Input::Param(p) => self.param(p).value.shape(),
            Input::Binary(b) => self.latent(b).shape(),
        };
        let convolution = step.op.traits(&[]).convolution?;
        let filter_axis = convolution.filter_axis();
        let filters = *shape.get(filter_axis)?;
        let mut axes: KeptAxes = vec![None; shape.len()];
        axes[filter_axis] = output.map(|o| o.kept.clone());
        let by_filter = axes[filter_axis].clone();
        match convolution.groups() {
            1 => *axes.get_mut(1 - filter_axis)? = input.map(|i| i.kept.clone()),
            // Each filter has its own channel.
            groups if groups == filters && shape.get(1) == Some(&1) => {
                let same = input.map(|i| &i.kept) == output.map(|o| &o.kept);
                same.then_some(())?;
            }
            _ => (input.is_none() && output.is_none()).then_some(())?,
        }
        match weight {
            Input::Binary(b) => {
                self.shrink_binary(small, b, input, &axes, by_filter.clone(), kept)?;
            }
            Input::Param(p) => agree(&mut kept[p.0], axes)?,
            Input::Value(_) => {}
        }
        if let Some(&Input::Param(bias)) = step.inputs.get(2) {
            let shape = self.param(bias).value.shape();
            let mut axes: KeptAxes = vec![None; shape.len()];
            if let (Some(last), Some(&size)) = (axes.last_mut(), shape.last())
                && size == filters
                && size > 1
            {
                *last = by_filter;
            }
            agree(&mut kept[bias.0], axes)?;
        }
        Some(())
    }

    fn shrink_binary(
        &self,
        small: &mut Self,
        b: BinaryId,
        input: Option<&LeftOnAxis>,
        axes: &KeptAxes,
        by_filter: Option<Vec<usize>>,
        kept: &mut [Option<KeptAxes>],
    ) -> Option<()> {
        let binary = self.binary(b);
        agree(&mut kept[binary.latent.0], axes.clone())?;
        let new = &mut small.binary[b.0];
        if binary.groups > 1
            && let Some(filters) = &by_filter
        {
            new.groups = filters.len();
        }
        match &mut new.scale {
            ScaleMode::Param(p) => agree(&mut kept[p.0], vec![by_filter])?,
            ScaleMode::MeanAbs { kept_columns } => {
                if let (Some(columns), Some(input)) = (&binary.kept_columns(), input) {
                    let left = input.kept.iter().map(|&c| columns.get(c).copied());
                    let left: Vec<bool> = left.collect::<Option<_>>()?;
                    *kept_columns = Some(left).filter(|c| c.contains(&false));
                }
            }
            ScaleMode::One => {}
        }
        Some(())
    }

    /// For each value the channels that are left, given those of the tensors that nodes write, on the axes that
    /// these have in the file. Those of inserted steps are those of what they read.
    pub fn channels_of_values(
        &self,
        mut of_node: impl FnMut(NodeId) -> Option<LeftOnAxis>,
    ) -> ChannelsOfValues {
        let mut left: ChannelsOfValues = vec![None; self.value_count()];
        for (i, step) in self.steps.iter().enumerate() {
            let inserted = step.is_mask() || self.step_of(step.node) != Some(StepId(i));
            let read = match step.inputs.first() {
                Some(Input::Value(ValueId(v))) => Some(left[*v].clone()),
                _ => None,
            };
            left[step.output.0] = match (read, step.op.traits(&[]).role) {
                (Some(read), Role::Part(part)) => {
                    read.and_then(|read| part.channels_through(&read))
                }
                (Some(read), _) if inserted => read,
                _ => of_node(step.node).map(|left| self.with_batch_in_front(step.output, left)),
            };
        }
        left
    }

    /// On the axis of a value what lies on one of the file's tensor.
    fn with_batch_in_front(&self, value: ValueId, left: LeftOnAxis) -> LeftOnAxis {
        let batch = self.batch_axes.get(&value).copied().unwrap_or(0);
        let axis = left.axis + usize::from(left.axis < batch);
        LeftOnAxis { axis, ..left }
    }

    /// The parameters of masks, in the order in which they were added.
    pub fn mask_params(&self) -> impl Iterator<Item = ParamId> {
        let params = self.params.iter().enumerate();
        let masks = params.filter(|(_, p)| p.kind == ParamKind::Mask);
        masks.map(|(i, _)| ParamId(i))
    }

    /// Takes over the parameters of a smaller network that was made of this one; elements that it has
    /// not stay as they are.
    pub fn take_back(&mut self, small: &Self, kept: &KeptElements) {
        let all = KeptAxes::new();
        for (p, param) in self.params.iter_mut().enumerate() {
            let Some(new) = small.params.get(p) else {
                continue;
            };
            let axes = kept.params.get(p).unwrap_or(&all);
            if axes.iter().all(Option::is_none) {
                if param.value.shape() == new.value.shape() {
                    param.value.assign(&new.value);
                }
                continue;
            }
            for (at, &value) in new.value.indexed_iter() {
                let whole = axes.iter().enumerate().map(|(axis, kept)| match kept {
                    Some(kept) => kept[at[axis]],
                    None => at[axis],
                });
                let whole: Vec<usize> = whole.collect();
                if let Some(slot) = param.value.get_mut(IxDyn(&whole)) {
                    *slot = value;
                }
            }
        }
    }
}

/// What one reader of a parameter keeps of it has to be what the others keep.
fn agree(slot: &mut Option<KeptAxes>, axes: KeptAxes) -> Option<()> {
    match slot {
        Some(before) => (*before == axes).then_some(()),
        None => {
            *slot = Some(axes);
            Some(())
        }
    }
}

/// The elements of an array that stay. `None` if one does not exist.
fn selected(x: &ArrayD<f32>, axes: &KeptAxes) -> Option<ArrayD<f32>> {
    let mut x = x.clone();
    for (axis, kept) in axes.iter().enumerate() {
        if let Some(kept) = kept {
            let size = *x.shape().get(axis)?;
            kept.iter().all(|&i| i < size).then_some(())?;
            x = x.select(Axis(axis), kept);
        }
    }
    Some(x.as_standard_layout().into_owned())
}
