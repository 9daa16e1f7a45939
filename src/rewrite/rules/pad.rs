//! `Pad` on axes other than the channel axis.

use super::{Behaviour, Context};
use crate::onnx::Tensor;
use crate::rewrite::state::State;

pub(super) fn pad(ctx: &Context<'_, '_>) -> Result<Option<Behaviour>, String> {
    let (x, shape) = ctx.data()?;
    let rank = shape.len();
    if ctx.tensor(3).is_some() {
        return Err("pads a list of axes, which is not supported".to_owned());
    }
    let pads = ctx
        .ints("pads", 1)?
        .filter(|p| p.len() == 2 * rank)
        .ok_or("has pads that do not fit its input")?;
    if pads[x.axis] != 0 || pads[rank + x.axis] != 0 {
        return Err("pads the channel axis".to_owned());
    }
    let moves = pads.iter().any(|&p| p > 0);
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
    Ok(Some(Behaviour::channelwise(x, |s| match (s, fill) {
        (State::Constant(k), Some(v)) if moves && (k.value != v || k.slack != 0.0) => State::Fixed,
        _ => s,
    })))
}
