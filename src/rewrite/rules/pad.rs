//! `Pad`.

use super::{Along, Behaviour, Context, Cut, Implied, Outcome, Output, Parameter, Source};
use crate::graph::normalize_axis;
use crate::onnx::Tensor;
use crate::rewrite::state::State;

/// `Pad` with constant amounts. On the channel axis it adds constant channels, which may go; then
/// the amounts follow.
pub(super) fn pad(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let rank = shape.len();
    let axes: Vec<usize> = match ctx.tensor(3) {
        None => (0..rank).collect(),
        Some(_) => ctx
            .constant(3)
            .and_then(Tensor::to_ints)
            .and_then(|v| v.iter().map(|&a| normalize_axis(a, rank)).collect())
            .ok_or("has axes that are not constant")?,
    };
    let pads = ctx
        .ints("pads", 1)?
        .filter(|p| p.len() == 2 * axes.len())
        .ok_or("has pads that do not fit its input")?;
    let node = ctx.node();
    let fill = match node.string("mode").unwrap_or("constant") {
        "constant" => match ctx.tensor(2) {
            None => Some(node.float("value", 0.0)),
            Some(_) => Some(
                ctx.constant(2)
                    .and_then(Tensor::scalar_f32)
                    .ok_or("has a value that is not a constant scalar")?,
            ),
        },
        // The others repeat what the tensor holds.
        _ => None,
    };
    let own = axes.iter().position(|&a| a == x.axis);
    let amount = |at: usize| pads.get(at).copied().unwrap_or(0);
    let (first, last) = own.map_or((0, 0), |p| (amount(p), amount(axes.len() + p)));
    let spatial = |i: usize| axes.get(i % axes.len().max(1)) != Some(&x.axis);
    let moves = (0..pads.len()).any(|i| spatial(i) && pads[i] > 0);
    let state = |s: State| match fill {
        Some(v) if moves => s.beside(v),
        _ => s,
    };
    if (first, last) == (0, 0) {
        return Ok(Some(Behaviour::channelwise(x, state)));
    }
    let Some(fill) = fill else {
        return Err("pads the channel axis with other channels".to_owned());
    };
    let (Ok(first), Ok(last)) = (usize::try_from(first), usize::try_from(last)) else {
        return Err("crops the channel axis".to_owned());
    };
    let channels = x.states.len();
    let count = channels
        .checked_add(first)
        .and_then(|n| n.checked_add(last));
    let count = ctx.bounded(count.ok_or("has pads that are too large")?)?;
    let inside = |j: usize| j.checked_sub(first).filter(|&i| i < channels);
    let states = (0..count).map(|j| match inside(j) {
        Some(i) => state(x.states[i]),
        None => State::exact(fill),
    });
    let place = own.unwrap_or(x.axis);
    let entry = |part, at| Parameter {
        input: 1,
        along: Along::Part(part),
        cut: Cut::Entry(at),
    };
    let written = node.ints("pads").map(|list| Implied {
        input: 1,
        value: list.to_vec(),
        attribute: Some("pads"),
        instead_of: None,
    });
    Ok(Some(Behaviour {
        parameters: vec![
            entry(0..first, place),
            entry(first + channels..count, axes.len() + place),
        ],
        implied: written.into_iter().collect(),
        ..Behaviour::of(Output {
            axis: x.axis,
            states: states.collect(),
            sources: vec![Source::input(0, (0..count).map(inside))],
            pinned: Vec::new(),
        })
    }))
}
