//! Training and inference mode of the operators that have both.

use super::{Facts, Graph, NodeId};
use crate::onnx::Tensor;

/// Whether a `Dropout` or `BatchNormalization` is in training mode, or may be.
pub fn is_training(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> bool {
    let node = graph.node(n);
    match node.op() {
        // Before opset 12, where nothing says so, it is in inference mode.
        "Dropout" => {
            let training = match graph.input_of(n, 2) {
                None => false,
                Some(t) => match facts.constant(t) {
                    Some(Tensor::Bool(a)) => a.iter().any(|&b| b),
                    _ => true,
                },
            };
            let ratio = graph.input_of(n, 1).map(|t| facts.constant(t));
            let nothing = ratio.flatten().and_then(Tensor::scalar_f32) == Some(0.0);
            training && !nothing
        }
        "BatchNormalization" if node.opset() < 14 => {
            let named = graph.outputs_of(n).into_iter().skip(1).flatten();
            named.into_iter().any(|t| graph.is_used(t))
        }
        "BatchNormalization" => node.int("training_mode", 0) != 0,
        _ => false,
    }
}
