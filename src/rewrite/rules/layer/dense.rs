//! `Gemm` and `MatMul`, with the constant matrix on either side.

use super::{Layer, LayerShape, Outcome, Shift, mix, weights};
use crate::graph::WeightsAt;
use crate::rewrite::rules::Context;

/// `Gemm`: any transposes, `alpha` and `beta`.
pub(in crate::rewrite::rules) fn gemm(ctx: &Context<'_, '_>) -> Outcome {
    let node = ctx.node();
    let (shape, weight) = weights(ctx)?;
    let bias = match ctx.tensor(2) {
        None => vec![0.0; shape.filters],
        Some(_) => {
            let beta = f64::from(node.float("beta", 1.0));
            let c = per_filter(ctx, &shape)?;
            c.into_iter().map(|v| beta * v).collect()
        }
    };
    let out_axis = match shape.weights_at {
        WeightsAt::Right => 1,
        WeightsAt::Left => 0,
    };
    let scale = node.float("alpha", 1.0);
    let layer = Layer {
        shape,
        weight,
        data_axis: shape.data_axis(&node, 2),
        out_axis,
        scale,
        bias,
        border: None,
    };
    mix(ctx, layer)
}

/// `MatMul`.
pub(in crate::rewrite::rules) fn matmul(ctx: &Context<'_, '_>) -> Outcome {
    let (shape, weight) = weights(ctx)?;
    let data = ctx.shape(shape.weights_at.data_input());
    let rank = data.ok_or("reads a tensor of unknown shape")?.len();
    if rank < 2 {
        return Err("reads a vector, which has no channel rule".to_owned());
    }
    let axis = shape.data_axis(&ctx.node(), rank);
    let layer = Layer {
        shape,
        weight,
        data_axis: axis,
        out_axis: axis,
        scale: 1.0,
        bias: vec![0.0; shape.filters],
        border: None,
    };
    mix(ctx, layer)
}

/// Input 2 as one value a filter: given so, or one for all.
fn per_filter(ctx: &Context<'_, '_>, layer: &LayerShape) -> Result<Vec<f64>, String> {
    let c = ctx.constant(2).filter(|c| c.data_type().is_float());
    let c = c.ok_or("has a bias that is not constant")?;
    let values: Vec<f64> = c.to_f64().into_iter().collect();
    let filters = layer.filters;
    let left = matches!(layer.shift, Shift::Behind(_));
    match (c.shape(), values.as_slice()) {
        (_, &[one]) => Ok(vec![one; filters]),
        ([n] | [1, n], _) if *n == filters && !left => Ok(values),
        ([n, 1], _) if *n == filters && left => Ok(values),
        _ => Err("has a bias that is not one value a filter".to_owned()),
    }
}
