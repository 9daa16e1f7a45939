//! Views of tensors whose batch is not their first axis.
//!
//! `q, k, v = qkv.permute(2, 0, 3, 1, 4)` of self-attention moves the batch behind the axis that is then taken apart.
//! A native value has its batch in front all the same, the other axes in their order.

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::part::{Part, Place, imported};
use super::transpose::{Transpose, order_of};
use crate::graph::normalize_axis;

/// The operator of a node whose data have their batch on axis `batch`, and the batch's axis in what it writes; `None`
/// where the batch is first and stays there.
pub(crate) fn import(
    view: &NodeView<'_, '_>,
    batch: usize,
) -> Result<Option<(Imported, usize)>, ImportError> {
    let op = view.node.op();
    let rank = view.input_shape(0)?.len();
    // Where the native value has an axis of the file's tensor.
    let native = |axis: usize| if axis < batch { axis + 1 } else { axis };
    let other = |axis: Option<usize>| {
        let found = axis.filter(|&a| a != batch);
        found.ok_or_else(|| view.reject("it parts the images of a batch, which is not supported"))
    };
    let one = |axis: usize, position: usize| {
        let place = Place {
            axis: native(axis),
            position,
        };
        let imported = view.imported(place, &[ParamKind::Constant])?;
        Ok(Some((imported, batch - usize::from(axis < batch))))
    };
    let part = |part: Part| {
        // Of the batch nothing may be left out, which is in front then.
        let place = |axis| if axis == batch { 0 } else { native(axis) };
        let imported = imported(view, part.with_axes(place))?;
        Ok(Some((imported, batch)))
    };
    match op {
        "Transpose" => {
            let order = order_of(view)?;
            if batch == 0 && order.first() == Some(&0) {
                return Ok(None);
            }
            let to = order.iter().position(|&axis| axis == batch).unwrap_or(0);
            let others = order.iter().filter(|&&axis| axis != batch);
            let order = std::iter::once(0).chain(others.map(|&axis| native(axis)));
            let transpose = Transpose {
                order: order.collect(),
            };
            Ok(Some((view.imported(transpose, &[ParamKind::Constant])?, to)))
        }
        _ if batch == 0 => Ok(None),
        "Split" => part(Part::of_split(view, other(view.node.axis(0, rank))?)?),
        "Slice" => part(Part::of_slice(view, batch)?),
        "Squeeze" => {
            let axes = match view.node.ints("axes") {
                Some(axes) => axes.to_vec(),
                None => view.ints(1)?,
            };
            match axes[..] {
                [axis] => one(other(normalize_axis(axis, rank))?, 0),
                _ => Err(view.reject("only one axis beside the batch can be taken away")),
            }
        }
        "Gather" if view.output_shape()?.len() + 1 == rank => {
            let axis = other(view.node.axis(0, rank))?;
            let side = view.input_shape(0)?[axis];
            let position = view.ints(1)?.first().and_then(|&p| normalize_axis(p, side));
            let position = position.ok_or_else(|| view.reject("an index lies beyond its input"))?;
            one(axis, position)
        }
        _ => Err(view.reject(
            "it reads a tensor whose batch is not its first axis; only Transpose, Split, Slice, Squeeze and Gather of one index may",
        )),
    }
}
