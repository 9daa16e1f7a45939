//! Operators that give a tensor another size: `Resize`, `Upsample`, `Expand`.

use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter};
use crate::graph::scaled_axes;
use crate::onnx::Tensor;
use crate::rewrite::state::{State, ULP};

/// `Resize` and `Upsample` over other axes than the channel axis.
pub(super) fn resize(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let out = ctx.out_shape()?;
    let node = ctx.node();
    if node.string("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
        return Err("crops (tf_crop_and_resize), which is not supported".to_owned());
    }
    let axes = scaled_axes(&node, shape.len()).ok_or("has axes outside its input")?;
    let own = axes.iter().position(|&a| a == x.axis);
    let by_size = node.op() == "Resize" && node.opset() >= 11 && has_values(ctx, 3);
    let unscaled = match own {
        None => true,
        Some(_) if by_size => out.get(x.axis) == Some(&x.states.len()),
        Some(p) => {
            let at = match node.op() == "Upsample" || node.opset() < 11 {
                true => 1,
                false => 2,
            };
            let scale = match node.floats("scales") {
                Some(list) => list.get(p).copied(),
                None => {
                    let value = ctx.constant(at).and_then(Tensor::floats);
                    value.and_then(|a| a.iter().nth(p).copied())
                }
            };
            scale.ok_or("has scales that are not constant")? == 1.0
        }
    };
    if !unscaled {
        return Err("resizes the channel axis".to_owned());
    }
    let antialias = node.int("antialias", 0) != 0;
    let state = |s: State| match (node.string("mode").unwrap_or("nearest"), s) {
        ("nearest", s) => s,
        // Weights that add up to 1, within rounding.
        ("linear" | "bilinear", State::Constant(k)) if !antialias && !s.is_exact_zero() => {
            let v = f64::from(k.value);
            State::known(v, f64::from(k.slack) + 16.0 * ULP * v.abs())
        }
        (_, s) => s.beside(0.0),
    };
    let parameters = match own {
        Some(p) if by_size => vec![Parameter {
            input: 3,
            along: Along::Output(0),
            cut: Cut::Entry(p),
        }],
        _ => Vec::new(),
    };
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::channelwise(x, state)
    }))
}

/// Whether an input is there and not empty (which stands for left out).
fn has_values(ctx: &Context<'_, '_>, k: usize) -> bool {
    ctx.shape(k).is_some_and(|s| s != [0])
}

/// `Expand`: a target that names the number of channels follows it.
pub(super) fn expand(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let out = ctx.out_shape()?;
    let added = out.len().checked_sub(shape.len());
    let axis = x.axis + added.ok_or("changes the rank of its input")?;
    let target = ctx.tensor(1).and_then(|t| ctx.facts.value(t));
    let target = target
        .and_then(Tensor::to_ints)
        .ok_or("has a target shape that is not known")?;
    let entry = (axis + target.len()).checked_sub(out.len());
    let count = ctx.bounded(out.get(axis).copied().unwrap_or(0))?;
    let index: Vec<usize> = match x.states.len() {
        n if n == count => (0..count).collect(),
        1 => vec![0; count],
        _ => return Err("has a target shape that does not fit its input".to_owned()),
    };
    let mut output = Output::rearranged(x, axis, &index);
    let mut blocked = Vec::new();
    if count != x.states.len() {
        output.sources.clear();
        blocked.push((0, "repeats its channel".to_owned()));
    }
    let named = entry.filter(|&e| target.get(e).is_some_and(|&t| t != 1));
    let parameters = named.map(|e| Parameter {
        input: 1,
        along: Along::Output(0),
        cut: Cut::Entry(e),
    });
    Ok(Some(Behaviour {
        parameters: parameters.into_iter().collect(),
        blocked,
        ..Behaviour::of(output)
    }))
}
