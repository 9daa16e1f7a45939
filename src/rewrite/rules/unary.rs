//! Operators that act on each element alone.

use super::{Behaviour, Context, Outcome};
use crate::graph::scalar;
use crate::onnx::DataType;
use crate::rewrite::state::{Smoothness, State};

/// Every operator of the scalar table that has one data input.
pub(super) fn scalar(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let node = ctx.node();
    let f = scalar::unary(&node).ok_or("has no scalar function")?;
    let smoothness = match node.op() {
        "Identity" | "Relu" | "Abs" | "Neg" => Smoothness::Exact,
        "Sign" | "Floor" | "Ceil" | "Round" | "ThresholdedRelu" => Smoothness::Jumps,
        "Elu" | "Celu" => Smoothness::Scaled(node.float("alpha", 1.0)),
        "Selu" => Smoothness::Scaled(node.float("alpha", 2.0) * node.float("gamma", 2.0)),
        "HardSigmoid" => Smoothness::Scaled(node.float("beta", 0.5)),
        _ => Smoothness::Rounded,
    };
    Ok(Some(Behaviour::channelwise(x, |s| s.map(&f, smoothness))))
}

/// `Clip` with constant scalar bounds.
pub(super) fn clip(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    let node = ctx.node();
    let bound = |k: usize, name: &str, default: f32| match ctx.tensor(k) {
        None => Ok(node.float(name, default)),
        Some(_) => ctx
            .constant(k)
            .and_then(|t| t.scalar_f32())
            .ok_or_else(|| format!("has a {name} that is not a constant scalar")),
    };
    let lo = bound(1, "min", f32::NEG_INFINITY)?;
    let hi = bound(2, "max", f32::INFINITY)?;
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
        Some(DataType::F32 | DataType::F64) => s,
        Some(DataType::Bool) => s.map(|v| f32::from(u8::from(v != 0.0)), Smoothness::Jumps),
        // Integers divide differently and narrow floats round: no value is followed through them,
        // but what did not depend on the input still does not.
        Some(DataType::I32 | DataType::I64) | None => s.join(State::Fixed),
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
