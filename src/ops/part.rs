//! Some elements of a tensor by their positions along axes: `Slice`, `Gather` of a list, and the outputs of `Split`.

use std::sync::Arc;

use bnn_kernels::buffers::buffer;
use ndarray::{ArrayD, Axis};
use rayon::prelude::*;

use super::node_view::{ImportError, Imported, NodeView};
use super::{
    Backward, ChannelsLeft, LeftOnAxis, Op, ParamKind, Params, Role, Saved, ShapeError, Signs,
    Traits, check,
};
use crate::arrays::{array, copy, slice};
use crate::graph::{normalize_axis, stretches};

/// Of each of these axes (none of them the batch's), what lies at these positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    axes: Vec<(usize, Vec<usize>)>,
}

impl Part {
    /// The output of a `Split` along `axis` that a view wants.
    pub(super) fn of_split(view: &NodeView<'_, '_>, axis: usize) -> Result<Self, ImportError> {
        let sizes: Result<Vec<usize>, ImportError> = (0..=view.output)
            .map(|k| Ok(view.shape_of_output(k)?.get(axis).copied().unwrap_or(0)))
            .collect();
        let sizes = sizes?;
        let first: usize = sizes.iter().take(view.output).sum();
        let size = sizes.last().copied().unwrap_or(0);
        Ok(Self {
            axes: vec![(axis, (first..first + size).collect())],
        })
    }

    /// What a `Slice` takes of data whose batch is on axis `batch`: there, the whole.
    pub(super) fn of_slice(view: &NodeView<'_, '_>, batch: usize) -> Result<Self, ImportError> {
        let shape = view.input_shape(0)?;
        let list = |k: usize, name: &str| -> Result<Option<Vec<i64>>, ImportError> {
            match view.node.opset() < 10 {
                true => Ok(view.node.ints(name).map(<[i64]>::to_vec)),
                false if view.has_input(k) => view.ints(k).map(Some),
                false => Ok(None),
            }
        };
        let starts = list(1, "starts")?.unwrap_or_default();
        let ends = list(2, "ends")?.unwrap_or_default();
        let (axes, steps) = (list(3, "axes")?, list(4, "steps")?);
        let all = stretches(shape, &starts, &ends, axes.as_deref(), steps.as_deref())
            .ok_or_else(|| view.reject("its starts, ends, axes or steps do not fit its input"))?;
        let mut parts = Vec::new();
        for (at, stretch) in all.iter().enumerate() {
            let positions: Vec<usize> = stretch.indices().collect();
            // What is all of the batch that shapes were inferred for need not be all of another one.
            let whole =
                stretch.axis != batch || (starts[at] == 0 && ends[at] >= i64::from(i32::MAX));
            if !whole || !positions.iter().copied().eq(0..shape[stretch.axis]) {
                parts.push((stretch.axis, positions));
            }
        }
        Ok(Self { axes: parts })
    }

    /// Whether something is left out along an axis.
    pub(super) fn parts(&self, axis: usize) -> bool {
        self.axes.iter().any(|&(own, _)| own == axis)
    }

    /// The same positions where axes have other places.
    pub(super) fn with_axes(self, place: impl Fn(usize) -> usize) -> Self {
        let axes = self.axes.into_iter();
        Self {
            axes: axes
                .map(|(axis, positions)| (place(axis), positions))
                .collect(),
        }
    }

    /// The channels of the output that are left of these of the input; `None`: all.
    pub fn channels_through(&self, left: &LeftOnAxis) -> Option<LeftOnAxis> {
        let Some((_, positions)) = self.axes.iter().find(|(axis, _)| *axis == left.axis) else {
            return Some(left.clone());
        };
        let stays = |&place: &usize| left.kept.binary_search(&positions[place]).is_ok();
        let kept: Vec<usize> = (0..positions.len()).filter(stays).collect();
        (kept.len() < positions.len()).then_some(LeftOnAxis {
            axis: left.axis,
            kept,
        })
    }
}

impl Op for Part {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let fits = |(axis, positions): &(usize, Vec<usize>)| {
            let side = x.shape().get(*axis);
            side.is_some_and(|&side| positions.iter().all(|&p| p < side))
        };
        check(self.axes.iter().all(fits), || {
            format!("positions {:?} of shape {:?}", self.axes, x.shape())
        })?;
        let mut y = None;
        for (axis, positions) in &self.axes {
            y = Some(taken(y.as_ref().unwrap_or(x), *axis, positions));
        }
        Ok((y.unwrap_or_else(|| copy(x)), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        // The shape in front of each axis; the last axis is the first to be put back.
        let mut shape = pass.shapes[0].to_vec();
        let mut fronts = Vec::with_capacity(self.axes.len());
        for (axis, positions) in &self.axes {
            fronts.push(shape.clone());
            shape[*axis] = positions.len();
        }
        let mut grad = grad;
        for ((axis, positions), front) in self.axes.iter().zip(&fronts).rev() {
            grad = put_back(&grad, front, *axis, positions);
        }
        vec![Some(grad)]
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        let left = left.input?;
        let mut small = self.clone();
        let (_, positions) = small.axes.iter_mut().find(|(axis, _)| *axis == left.axis)?;
        let moved = positions
            .iter()
            .filter_map(|p| left.kept.binary_search(p).ok());
        *positions = moved.collect();
        Some(Arc::new(small))
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            signs: Signs::Keeps,
            role: Role::Part(self),
            ..Traits::default()
        }
    }
}

/// What lies at one position of an axis (not the batch's), without that axis: the last step of a signal.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub axis: usize,
    pub position: usize,
}

impl Op for Place {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let x = inputs[0];
        let side = x.shape().get(self.axis);
        check(side.is_some_and(|&side| self.position < side), || {
            format!("position {} of shape {:?}", self.position, x.shape())
        })?;
        let mut y = taken(x, self.axis, &[self.position]);
        y.index_axis_inplace(Axis(self.axis), 0);
        let y = y.as_standard_layout().into_owned();
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let grad = grad.insert_axis(Axis(self.axis));
        let grad = grad.as_standard_layout().into_owned();
        vec![Some(put_back(
            &grad,
            pass.shapes[0],
            self.axis,
            &[self.position],
        ))]
    }
}

/// What lies at these positions of an axis.
fn taken(x: &ArrayD<f32>, axis: usize, positions: &[usize]) -> ArrayD<f32> {
    let mut shape = x.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let (row, part) = (shape[axis] * inner, positions.len() * inner);
    shape[axis] = positions.len();
    let mut y = buffer(shape.iter().product());
    if part > 0 {
        y.par_chunks_mut(part)
            .zip(slice(x).par_chunks(row.max(1)))
            .for_each(|(to, from)| {
                for (to, &p) in to.chunks_exact_mut(inner).zip(positions) {
                    to.copy_from_slice(&from[p * inner..(p + 1) * inner]);
                }
            });
    }
    array(&shape, y)
}

/// The gradient of a tensor of that shape, of whose axis these positions were read.
fn put_back(grad: &ArrayD<f32>, shape: &[usize], axis: usize, positions: &[usize]) -> ArrayD<f32> {
    let inner: usize = shape[axis + 1..].iter().product();
    let (row, part) = (shape[axis] * inner, positions.len() * inner);
    let mut all = vec![0.0; shape.iter().product()];
    if part > 0 {
        all.par_chunks_mut(row.max(1))
            .zip(slice(grad).par_chunks(part))
            .for_each(|(to, from)| {
                for (from, &p) in from.chunks_exact(inner.max(1)).zip(positions) {
                    let to = &mut to[p * inner..(p + 1) * inner];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            });
    }
    array(shape, all)
}

/// A part of data whose batch is in front.
pub(super) fn imported(view: &NodeView<'_, '_>, part: Part) -> Result<Imported, ImportError> {
    if part.parts(0) {
        return Err(view.reject("it parts the images of a batch, which is not supported"));
    }
    if part.axes.iter().any(|(_, positions)| positions.is_empty()) {
        return Err(view.reject("nothing is left of its input"));
    }
    view.imported(part, &[ParamKind::Constant])
}

pub(super) fn import_gather(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let shape = view.input_shape(0)?;
    let axis = view.node.axis(0, shape.len());
    let axis = axis.ok_or_else(|| view.reject("its input has no such axis"))?;
    let side = shape[axis];
    let positions = view.ints(1)?.into_iter().map(|p| normalize_axis(p, side));
    let positions: Option<Vec<usize>> = positions.collect();
    let positions = positions.ok_or_else(|| view.reject("an index lies beyond its input"))?;
    match (view.output_shape()?.len(), &positions[..]) {
        (rank, _) if rank == shape.len() => {
            let axes = vec![(axis, positions)];
            imported(view, Part { axes })
        }
        (rank, &[position]) if rank + 1 == shape.len() && axis > 0 => {
            view.imported(Place { axis, position }, &[ParamKind::Constant])
        }
        _ => Err(view.reject("only an index, or a list of them, behind the batch is supported")),
    }
}

pub(super) fn import_split(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let rank = view.input_shape(0)?.len();
    let axis = view.node.axis(0, rank);
    let axis = axis.ok_or_else(|| view.reject("its input has no such axis"))?;
    imported(view, Part::of_split(view, axis)?)
}

pub(super) fn import_slice(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    imported(view, Part::of_slice(view, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn one_place_is_a_tensor_without_the_axis() {
        let x = random(&[2, 3, 4], 1);
        for (axis, shape) in [(1, [2, 4]), (2, [2, 3])] {
            let op = Place { axis, position: 2 };
            let y = forward(&op, &[&x]);
            assert_eq!(y.shape(), shape);
            assert_eq!(y, x.index_axis(Axis(axis), 2));
            check_gradients(&op, std::slice::from_ref(&x));
        }
    }
    use ndarray::Axis;

    #[test]
    fn values_and_gradients() {
        // Some channels, one of them twice, and every other row from the end.
        let op = Part {
            axes: vec![(1, vec![3, 0, 3]), (2, vec![4, 2, 0])],
        };
        let x = random(&[2, 4, 5, 3], 1);
        let y = forward(&op, &[&x]);
        assert_eq!(y.shape(), [2, 3, 3, 3]);
        assert_eq!(y[[1, 0, 1, 2]], x[[1, 3, 2, 2]]);
        assert_eq!(y[[0, 1, 2, 1]], x[[0, 0, 0, 1]]);
        check_gradients(&op, &[x]);
    }

    fn standard(x: ArrayD<f32>) -> ArrayD<f32> {
        x.as_standard_layout().into_owned()
    }

    #[test]
    fn channels_that_are_left_are_found_again() {
        let op = Part {
            axes: vec![(1, vec![4, 1, 2, 1])],
        };
        let left = LeftOnAxis {
            axis: 1,
            kept: vec![0, 1, 4],
        };
        let through = op.channels_through(&left).unwrap();
        assert_eq!(through.kept, [0, 1, 3]);
        let around = ChannelsLeft {
            input: Some(&left),
            output: Some(&through),
            sample: None,
        };
        let small = op.with_channels(&around).unwrap();
        let x = random(&[2, 5, 3], 1);
        let small_y = forward(&*small, &[&standard(x.select(Axis(1), &left.kept))]);
        assert_eq!(small_y, forward(&op, &[&x]).select(Axis(1), &through.kept));
        let elsewhere = LeftOnAxis {
            axis: 2,
            kept: vec![0],
        };
        assert_eq!(op.channels_through(&elsewhere), Some(elsewhere));
    }
}
