//! Names for constants that people can read.

use super::{Graph, NodeId};

/// A name for a new constant at an input of a node, which says what it is there:
/// `/conv1/Conv.weight`. Behind a computed constant, the name that the file has (`/6/Mul_output_0`) says
/// how it was computed, which is no longer so.
pub fn operand_name(graph: &Graph<'_>, node: NodeId, input: usize) -> String {
    let role = match (graph.node(node).op(), input) {
        ("Conv" | "ConvTranspose" | "Gemm", 1) | ("MatMul", 0 | 1) | ("Gemm", 0) => "weight",
        ("Conv" | "ConvTranspose" | "Gemm", 2) => "bias",
        ("BatchNormalization", 1) => "scale",
        ("BatchNormalization", 2) => "bias",
        ("BatchNormalization", 3) => "mean",
        ("BatchNormalization", 4) => "variance",
        _ => "constant",
    };
    format!("{}.{role}", graph.label(node))
}
