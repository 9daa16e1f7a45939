//! Operators that take channels apart or repeat them: `Split`, `Slice`, `Gather`, `Tile`,
//! `DepthToSpace`, `SpaceToDepth`.

use super::{Along, Behaviour, Channels, Context, Cut, Implied, Outcome, Output, Parameter};
use crate::graph::{normalize_axis, split_sizes, stretches};
use crate::onnx::Tensor;
use crate::rewrite::state::State;

/// `Split`: its sizes follow the channels; on another axis each output has all of them.
pub(super) fn split(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let node = ctx.node();
    let axis = node
        .axis(0, shape.len())
        .ok_or("has an axis outside its input")?;
    let names = &node.proto().output;
    if axis != x.axis {
        let each = names.iter().map(|_| Output::channelwise(x, |s| s));
        return Ok(Some(Behaviour {
            outputs: each.collect(),
            ..Behaviour::default()
        }));
    }
    if names.iter().any(String::is_empty) {
        return Err("leaves an output without a name".to_owned());
    }
    let list = ctx.ints("split", 1)?;
    let sizes = split_sizes(&node, x.states.len(), names.len(), list.as_deref())
        .ok_or("has sizes that do not fit its input")?;
    let mut behaviour = Behaviour::default();
    let mut start = 0;
    for (slot, &size) in sizes.iter().enumerate() {
        let index: Vec<usize> = (start..start + size).collect();
        start += size;
        behaviour.outputs.push(Output::rearranged(x, axis, &index));
        behaviour.parameters.push(Parameter {
            input: 1,
            along: Along::Output(slot),
            cut: Cut::Entry(slot),
        });
    }
    if ctx.tensor(1).is_none() {
        behaviour.implied.push(Implied {
            input: 1,
            value: sizes.iter().map(|&n| n as i64).collect(),
            attribute: (node.opset() < 13).then_some("split"),
            instead_of: node.has("num_outputs").then_some("num_outputs"),
        });
    }
    Ok(Some(behaviour))
}

/// `Slice`: over channels it becomes a `Gather` if channels go.
pub(super) fn slice(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let list = |name: &str, k: usize| ctx.ints(name, k);
    let missing = |name: &str| format!("has no {name}");
    let starts = list("starts", 1)?.ok_or_else(|| missing("starts"))?;
    let ends = list("ends", 2)?.ok_or_else(|| missing("ends"))?;
    let (axes, steps) = (list("axes", 3)?, list("steps", 4)?);
    let all = stretches(shape, &starts, &ends, axes.as_deref(), steps.as_deref())
        .ok_or("has bounds that do not fit its input")?;
    let full = |s: &crate::graph::Stretch| s.first == 0 && s.step == 1 && s.count == shape[s.axis];
    let Some(own) = all.iter().find(|s| s.axis == x.axis && !full(s)) else {
        return Ok(Some(Behaviour::channelwise(x, |s| s)));
    };
    // What is all of a batch of one need not be all of a larger one.
    if all
        .iter()
        .any(|s| s.axis != x.axis && (s.axis == 0 || !full(s)))
    {
        return Err("slices channels and another axis at once".to_owned());
    }
    let index: Vec<usize> = own.indices().collect();
    Ok(Some(picked(ctx, x, &index)))
}

/// `Gather` with constant indices: of channels, or on another axis.
pub(super) fn gather(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    if ctx.channels(1).is_some() {
        return Err("reads channels as indices".to_owned());
    }
    let axis = ctx
        .node()
        .axis(0, shape.len())
        .ok_or("has an axis outside its input")?;
    if axis != x.axis {
        let rank = ctx.shape(1).ok_or("has indices of unknown shape")?.len();
        let moved = match axis < x.axis {
            true => x.axis - 1 + rank,
            false => x.axis,
        };
        return Ok(Some(Behaviour::of(Output {
            axis: moved,
            ..Output::channelwise(x, |s| s)
        })));
    }
    let indices = ctx
        .fixed(1)
        .filter(|t| t.shape().len() == 1)
        .and_then(Tensor::to_ints)
        .ok_or("picks channels with indices that are no constant list")?;
    ctx.bounded(indices.len())?;
    let index = indices
        .iter()
        .map(|&i| normalize_axis(i, x.states.len()))
        .collect::<Option<Vec<_>>>()
        .ok_or("has indices outside its input")?;
    Ok(Some(picked(ctx, x, &index)))
}

/// Some channels of input 0 in some order; the node becomes a `Gather` of them if channels go.
fn picked(ctx: &Context<'_, '_>, x: &Channels, index: &[usize]) -> Behaviour {
    let mut output = Output::rearranged(x, x.axis, index);
    let via = ctx.tensor(0);
    output.sources.iter_mut().for_each(|s| s.via = via);
    Behaviour::of(output)
}

/// `Tile`: on the channel axis each copy of a channel goes with the others.
pub(super) fn tile(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let repeats = ctx
        .fixed(1)
        .and_then(Tensor::to_ints)
        .ok_or("has repeats that are not constant")?;
    let count = repeats
        .get(x.axis)
        .and_then(|&r| usize::try_from(r).ok())
        .and_then(|r| r.checked_mul(x.states.len()))
        .ok_or("has repeats that do not fit its input")?;
    let index: Vec<usize> = (0..ctx.bounded(count)?)
        .map(|j| j % x.states.len())
        .collect();
    Ok(Some(Behaviour::of(Output::rearranged(x, x.axis, &index))))
}

/// Channels and block size of a tensor whose channels are on axis 1.
fn blocks<'a>(ctx: &Context<'a, '_>) -> Result<(&'a Channels, usize), String> {
    let (x, shape) = ctx.data()?;
    let square = usize::try_from(ctx.node().int("blocksize", 0))
        .ok()
        .and_then(|b| b.checked_mul(b))
        .filter(|&b| b > 0);
    match (shape.len(), x.axis, square) {
        (4, 1, Some(square)) => Ok((x, square)),
        (4, 1, None) => Err("has no valid block size".to_owned()),
        (_, axis, _) => Err(format!(
            "takes axis 1 apart, not the channel axis {axis} of four"
        )),
    }
}

/// `DepthToSpace`: each channel is made of a whole block of channels, which go together.
pub(super) fn depth_to_space(ctx: &Context<'_, '_>) -> Outcome {
    let (x, square) = blocks(ctx)?;
    let count = x.states.len() / square;
    if count * square != x.states.len() {
        return Err("has a block size that does not fit its channels".to_owned());
    }
    let columns = ctx.node().string("mode") == Some("CRD");
    let part = |j: usize, k: usize| match columns {
        true => j * square + k,
        false => k * count + j,
    };
    let states = (0..count)
        .map(|j| State::merge((0..square).map(|k| x.states[part(j, k)])))
        .collect();
    let source = |k: usize| super::Source::input(0, (0..count).map(|j| Some(part(j, k))));
    Ok(Some(Behaviour::of(Output {
        axis: x.axis,
        states,
        sources: (0..square).map(source).collect(),
        pinned: Vec::new(),
    })))
}

/// `SpaceToDepth`: each channel becomes several, which go together.
pub(super) fn space_to_depth(ctx: &Context<'_, '_>) -> Outcome {
    let (x, square) = blocks(ctx)?;
    let count = x.states.len().checked_mul(square);
    let count = ctx.bounded(count.ok_or("has a block size that is too large")?)?;
    let index: Vec<usize> = (0..count).map(|j| j % x.states.len()).collect();
    Ok(Some(Behaviour::of(Output::rearranged(x, x.axis, &index))))
}
