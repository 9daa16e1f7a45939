//! `Concat`, along the channel axis or another one.

use super::broadcast::uniform;
use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter, Source};
use crate::rewrite::state::State;

pub(super) fn concat(ctx: &Context<'_, '_>) -> Outcome {
    let rank = ctx.out_shape()?.len();
    let axis = ctx
        .node()
        .axis(0, rank)
        .ok_or("has an axis outside its inputs")?;
    let inputs = 0..ctx.graph.inputs_of(ctx.id).len();
    let mut found = inputs.filter_map(|k| ctx.channels(k)).map(|c| c.axis);
    let channel_axis = found.next().ok_or("joins tensors that are not tracked")?;
    if found.any(|a| a != channel_axis) {
        return Err("joins tensors whose channels are not on the same axis".to_owned());
    }
    match axis == channel_axis {
        true => in_a_row(ctx, axis),
        false => side_by_side(ctx, channel_axis),
    }
}

/// Along the channel axis: channels of one input after those of the other. What is not tracked
/// stays whole; of a constant what is not needed goes.
fn in_a_row(ctx: &Context<'_, '_>, axis: usize) -> Outcome {
    let mut output = Output {
        axis,
        ..Output::default()
    };
    let mut parameters = Vec::new();
    let mut places = Vec::new();
    for k in 0..ctx.graph.inputs_of(ctx.id).len() {
        let start = output.states.len();
        let size = ctx.shape(k).and_then(|s| s.get(axis)).copied();
        let size = size.ok_or("joins a tensor of unknown shape")?;
        let end = ctx.bounded(start.saturating_add(size))?;
        if let Some(c) = ctx.channels(k) {
            output.states.extend_from_slice(&c.states);
            places.push((k, start..end));
        } else if let Some(value) = ctx.constant(k) {
            let state = |j: usize| {
                value
                    .select(axis, &[j])
                    .map_or(State::Live, |t| uniform(&t))
            };
            output.states.extend((0..size).map(state));
            parameters.push(Parameter {
                input: k,
                along: Along::Part(start..end),
                cut: Cut::Axis(axis),
            });
            let why = "joins a constant, of which something stays".to_owned();
            output.pinned.push((start..end.min(start + 1), why));
        } else {
            output.states.extend((0..size).map(|_| State::Live));
            let why = format!("joins input {k}, whose channels are not tracked");
            output.pinned.push((start..end, why));
        }
        if output.states.len() != end {
            return Err("joins a tensor whose channels are not tracked".to_owned());
        }
    }
    let total = output.states.len();
    output.sources = places
        .into_iter()
        .map(|(k, part)| {
            let place = |j: usize| part.contains(&j).then(|| j - part.start);
            Source::input(k, (0..total).map(place))
        })
        .collect();
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(output)
    }))
}

/// Along another axis: channels of the same index are one.
fn side_by_side(ctx: &Context<'_, '_>, axis: usize) -> Outcome {
    let count = ctx.out_shape()?.get(axis).copied();
    let count = ctx.bounded(count.ok_or("joins tensors of unknown shape")?)?;
    let mut columns: Vec<Vec<State>> = Vec::new();
    let (mut sources, mut parameters) = (Vec::new(), Vec::new());
    for k in 0..ctx.graph.inputs_of(ctx.id).len() {
        let states = if let Some(c) = ctx.channels(k) {
            sources.push(Source::input(k, (0..count).map(Some)));
            c.states.clone()
        } else if let Some(value) = ctx.constant(k) {
            parameters.push(Parameter {
                input: k,
                along: Along::Output(0),
                cut: Cut::Axis(axis),
            });
            let state = |j: usize| {
                value
                    .select(axis, &[j])
                    .map_or(State::Live, |t| uniform(&t))
            };
            (0..count).map(state).collect()
        } else {
            return Err(format!("joins input {k}, whose channels are not tracked"));
        };
        if states.len() != count {
            return Err("joins tensors with different numbers of channels".to_owned());
        }
        columns.push(states);
    }
    let state = |j: usize| State::merge(columns.iter().map(|c| c[j]));
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(Output {
            axis,
            states: (0..count).map(state).collect(),
            sources,
            pinned: Vec::new(),
        })
    }))
}
