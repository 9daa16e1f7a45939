//! `Resize` and the older `Upsample`.

use super::{Inputs, sizes};
use crate::graph::{Node, normalize_axis};

/// The axes that `Resize` has scales or sizes for, of a tensor with `rank` axes.
pub fn scaled_axes(node: &Node<'_>, rank: usize) -> Option<Vec<usize>> {
    match node.ints("axes") {
        None => Some((0..rank).collect()),
        Some(list) => list.iter().map(|&a| normalize_axis(a, rank)).collect(),
    }
}

pub(super) fn resize(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let shape = x.shape(0)?;
    let mut out = shape.to_vec();
    let axes = scaled_axes(node, shape.len())?;
    // Upsample and the first Resize have scales as input 1, the others as input 2.
    let at = match node.op() == "Upsample" || node.opset() < 11 {
        true => 1,
        false => 2,
    };
    let given = |k: usize| x.shape(k).is_some_and(|s| s != [0]);
    if at == 2 && given(3) {
        let wanted = sizes(&x.ints(3)?)?;
        // Other policies change the sizes.
        let stretched = node.string("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
        if wanted.len() != axes.len() || !stretched {
            return None;
        }
        axes.iter().zip(wanted).for_each(|(&a, size)| out[a] = size);
        return Some(out);
    }
    let scales: Vec<f32> = match node.floats("scales") {
        Some(list) => list.to_vec(),
        None => {
            let value = x.values.get(at).copied().flatten()?;
            value.as_f32()?.iter().copied().collect()
        }
    };
    if scales.len() != axes.len() || scales.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return None;
    }
    for (&a, scale) in axes.iter().zip(scales) {
        // In single precision, as runtimes compute it.
        let size = (out[a] as f32 * scale).floor();
        out[a] = (size < 1e9).then_some(size as usize)?;
    }
    Some(out)
}
