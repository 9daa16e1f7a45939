//! `Round(Clip((x+1)/2, 0, 1)) · 2 - 1`: ONNX rounds halves to even, so 0 gives -1.

use ndarray::arr0;

use super::pattern::{affine, node_of};
use super::{Binarizer, Form, levels};
use crate::graph::{Facts, Graph, TensorId};

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let (rounded, factor, offset) = affine(graph, facts, t);
    let n = node_of(graph, rounded, "Round")?;
    let clipped = graph.input_of(n, 0)?;
    let (low, high, source) = levels::bounds(graph, facts, clipped)?;
    if (low, high) != (0.0, 1.0) {
        return None;
    }
    let (below, above) = (offset, factor + offset);
    let form = match below == -above {
        true => Form::Signed,
        false if below * above == 0.0 => Form::ZeroOne,
        false => return None,
    };
    // Where the data are 0.
    let (_, _, start) = affine(graph, facts, source);
    let unit = |v: f32| if v == 0.0 { 0 } else { v.signum() as i8 };
    Some(Binarizer {
        kind: if form == Form::Signed {
            "round-clip"
        } else {
            "01"
        },
        form,
        zero: unit(if start > 0.5 { above } else { below }),
        values: [below, below, above],
        threshold: arr0(0.5).into_dyn(),
        threshold_at: None,
        input: clipped,
        output: t,
    })
}
