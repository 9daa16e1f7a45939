//! QONNX: `BipolarQuant(x, scale)` and `Quant` of bit width 1. 0 gives +scale.

use ndarray::arr0;

use super::pattern::uniform;
use super::{Binarizer, Form};
use crate::graph::{Facts, Graph, TensorId};

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let n = graph.producer(t)?;
    let node = graph.node(n);
    let input = graph.input_of(n, 0).filter(|&x| facts.is_data(x))?;
    let constant = |k: usize| uniform(facts, graph.input_of(n, k)?);
    let kind = match node.op() {
        "qonnx.BipolarQuant" => "bipolar-quant",
        "qonnx.Quant" => {
            let signed = node.int("signed", 1) != 0;
            if constant(3)? != 1.0 || constant(2)? != 0.0 || !signed {
                return None;
            }
            "quant-1"
        }
        _ => return None,
    };
    let scale = constant(1).filter(|s| s.is_finite() && *s > 0.0)?;
    Some(Binarizer {
        kind,
        form: Form::Signed,
        zero: 1,
        values: [-scale, scale, scale],
        threshold: arr0(0.0).into_dyn(),
        threshold_at: None,
        input,
        output: t,
    })
}
