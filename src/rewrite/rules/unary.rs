//! Operators that act on each element alone.

use super::{Behaviour, Context, Outcome};
use crate::onnx::DataType;
use crate::operators::Smoothness;
use crate::rewrite::state::State;

/// Every function of one number that has a row.
pub(super) fn scalar(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let node = ctx.node();
    let row = node.operator().ok_or("has no row")?;
    let f = (row.unary().ok_or("is no function of one number")?.single)(&node);
    let smoothness = (row.smoothness)(&node);
    Ok(Some(Behaviour::channelwise(x, |s| s.map(&f, smoothness))))
}

/// `Clip` with constant scalar bounds.
pub(super) fn clip(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let given = |k| ctx.tensor(k).map(|_| ctx.constant(k)?.scalar_f32());
    let [Some(lo), Some(hi)] = ctx.node().clip_bounds(given) else {
        return Err("has a bound that is not a constant scalar".to_owned());
    };
    let f = move |v: f32| v.max(lo).min(hi);
    Ok(Some(Behaviour::channelwise(x, |s| {
        s.map(f, Smoothness::Exact)
    })))
}

/// `Cast`: between bool and float types the value stays.
pub(super) fn cast(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let to = i32::try_from(ctx.node().int("to", 0)).ok();
    let f = |s: State| match to.and_then(DataType::from_onnx) {
        Some(kind) if kind.is_float() => s,
        Some(DataType::Bool) => s.map(|v| f32::from(u8::from(v != 0.0)), Smoothness::Jumps),
        // Integers divide differently and narrow floats round: no value is followed through them,
        // but what did not depend on the input still does not.
        Some(_) | None => s.join(State::Fixed),
    };
    Ok(Some(Behaviour::channelwise(x, f)))
}

/// `Not` of a boolean tensor.
pub(super) fn not(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let flip = |s: State| s.map(|v| 1.0 - v, Smoothness::Exact);
    Ok(Some(Behaviour::channelwise(x, flip)))
}

/// `Dropout` in inference mode.
pub(super) fn dropout(ctx: &Context<'_, '_>) -> Outcome {
    ctx.only_first_output()?;
    ctx.in_inference_mode()?;
    let (x, _) = ctx.data()?;
    Ok(Some(Behaviour::channelwise(x, |s| s)))
}
