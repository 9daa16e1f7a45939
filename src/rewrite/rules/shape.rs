//! `Shape` where the number of channels is not used.

use super::{Behaviour, Context};
use crate::graph::normalize_axis;
use crate::onnx::Tensor;

/// Declined unless every reader picks other dimensions (`x.size(0)` in front of a Reshape).
pub(super) fn shape(ctx: &Context<'_, '_>) -> Result<Option<Behaviour>, String> {
    let (x, dims) = ctx.data()?;
    let rank = dims.len() as i64;
    let place = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank);
    let node = ctx.node();
    let (start, end) = (place(node.int("start", 0)), place(node.int("end", rank)));
    let at = x.axis as i64 - start;
    if at < 0 || x.axis as i64 >= end {
        return Ok(None);
    }
    let length = usize::try_from(end - start).unwrap_or(0);
    let out = ctx.graph.output_of(ctx.id, 0).ok_or("has no output")?;
    let picks_other = |u: &crate::graph::Use| {
        let reader = ctx.graph.node(u.node);
        let indices = ctx.graph.input_of(u.node, 1);
        let indices = indices
            .and_then(|t| ctx.facts.constant(t))
            .and_then(Tensor::to_ints);
        reader.op() == "Gather"
            && u.input == Some(0)
            && indices.is_some_and(|v| {
                v.iter()
                    .all(|&i| normalize_axis(i, length).is_some_and(|i| i as i64 != at))
            })
    };
    match ctx.graph.consumers(out).iter().all(picks_other) && !ctx.graph.is_output(out) {
        true => Ok(None),
        false => Err("reads the number of channels".to_owned()),
    }
}
