//! `Conv` and `ConvTranspose`.

use super::{Border, Layer, Outcome, Shift, depthwise, mix, weights};
use crate::graph::Window;
use crate::rewrite::rules::Context;

/// `Conv` with any number of groups.
pub(in crate::rewrite::rules) fn conv(ctx: &Context<'_, '_>) -> Outcome {
    convolution(ctx, false)
}

/// `ConvTranspose` with any number of groups.
pub(in crate::rewrite::rules) fn transposed(ctx: &Context<'_, '_>) -> Outcome {
    convolution(ctx, true)
}

fn convolution(ctx: &Context<'_, '_>, transposed: bool) -> Outcome {
    let node = ctx.node();
    let (layer, weight) = weights(ctx)?;
    let shape = ctx.shape(0).ok_or("reads a tensor of unknown shape")?;
    let out = ctx.out_shape()?;
    if shape.len() != weight.ndim() || out.len() != weight.ndim() {
        return Err("has weights that do not fit its input".to_owned());
    }
    if shape.get(1) != Some(&layer.inputs) || out.get(1) != Some(&layer.filters) {
        return Err("has weights that do not fit its input".to_owned());
    }
    let kernel = weight.shape().get(2..);
    let window = match transposed {
        false => Window::of(&node, shape, kernel),
        true => Window::transposed(&node, shape, kernel),
    };
    let window = window.ok_or(match transposed {
        false => "has attributes that contradict each other",
        true => "leaves its padding to the runtime (auto_pad or output_shape)",
    })?;
    let bias = match ctx.tensor(2) {
        None => vec![0.0; layer.filters],
        Some(_) => {
            let c = ctx.constant(2).filter(|c| c.data_type().is_float());
            let c = c.ok_or("has a bias that is not constant")?;
            if c.shape() != [layer.filters] {
                return Err("has a bias that is not one value a filter".to_owned());
            }
            c.to_f64().into_iter().collect()
        }
    };
    let padded = window.begin.iter().chain(&window.end).any(|&p| p > 0);
    // Transposed: windows overlap, or leave gaps between them.
    let uneven = transposed && window.kernel.iter().chain(&window.strides).any(|&n| n > 1);
    let border = (padded || uneven).then(|| Border {
        window,
        input: shape[2..].to_vec(),
        output: out[2..].to_vec(),
        transposed,
    });
    let layer = Layer {
        shape: layer,
        weight,
        data_axis: 1,
        out_axis: 1,
        scale: 1.0,
        bias,
        border,
    };
    debug_assert_eq!(layer.shape.shift, Shift::Bias);
    // One input channel a group: nothing is mixed.
    if layer.shape.groups > 1 && layer.shape.groups == layer.shape.inputs {
        return depthwise::depthwise(ctx, &layer);
    }
    mix(ctx, layer)
}
