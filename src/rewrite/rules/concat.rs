//! `Concat` along the channel axis.

use super::{Behaviour, Context, Output, Source};

pub(super) fn concat(ctx: &Context<'_, '_>) -> Result<Option<Behaviour>, String> {
    let rank = ctx.out_shape()?.len();
    let axis = ctx
        .node()
        .axis(0, rank)
        .ok_or("has an axis outside its inputs")?;
    let mut states = Vec::new();
    let mut sources = Vec::new();
    for k in 0..ctx.graph.inputs_of(ctx.id).len() {
        let c = ctx
            .channels(k)
            .ok_or("joins a tensor whose channels are not tracked")?;
        if c.axis != axis {
            return Err(format!(
                "joins axis {axis}, not the channel axis {}",
                c.axis
            ));
        }
        let offset = states.len();
        ctx.bounded(offset.saturating_add(c.states.len()))?;
        states.extend_from_slice(&c.states);
        sources.push((k, offset, c.states.len()));
    }
    let total = states.len();
    let sources = sources
        .into_iter()
        .map(|(input, offset, count)| {
            let place = |j: usize| j.checked_sub(offset).filter(|&i| i < count);
            Source::input(input, (0..total).map(place))
        })
        .collect();
    Ok(Some(Behaviour::of(Output {
        axis,
        states,
        sources,
        pinned: None,
    })))
}
