//! The type of each tensor's elements.

use super::{Graph, Node, NodeId, TensorId};
use crate::onnx::proto::{TensorProto, tensor_proto::DataType as D};
use crate::operators::Kind;

/// The element type of each tensor, as ONNX numbers it: what the file holds and what follows from
/// its operators; what it declares where an operator is not known.
pub(super) fn infer(graph: &Graph<'_>) -> Vec<Option<i32>> {
    let mut types = vec![None; graph.tensor_count()];
    for t in graph.tensors().filter(|&t| graph.producer(t).is_none()) {
        let sparse = || graph.sparse_initializer(t)?.values.as_ref();
        let held = graph.initializer(t).or_else(sparse);
        types[t.0] = match held {
            Some(t) => t.data_type,
            None => graph.declared_type(t),
        };
    }
    for &n in graph.order() {
        let found = of_output(graph, n, &types);
        for (k, t) in graph.outputs_of(n).into_iter().enumerate() {
            let Some(t) = t else { continue };
            // Further outputs (indices, masks) have types of their own.
            let known = if k == 0 { found } else { None };
            types[t.0] = known.or_else(|| graph.declared_type(t));
        }
    }
    types
}

fn of_output(graph: &Graph<'_>, n: NodeId, types: &[Option<i32>]) -> Option<i32> {
    let node = graph.node(n);
    let input = |k: usize| -> Option<i32> {
        let t: TensorId = graph.input_of(n, k)?;
        types[t.0]
    };
    let attribute = |name: &str| i32::try_from(node.int(name, 0)).ok().filter(|&v| v != 0);
    let row = node.operator();
    if row.is_some_and(|row| matches!(row.kind, Kind::Comparison(_) | Kind::Logic)) {
        return Some(D::Bool as i32);
    }
    match node.op() {
        "" | "If" | "Loop" | "Scan" | "SequenceAt" | "Optional" | "OptionalGetElement" => None,
        "Constant" => constant(&node),
        "Cast" => attribute("to"),
        "CastLike" | "Where" => input(1),
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => Some(D::Int64 as i32),
        "ConstantOfShape" => match node.has("value") {
            true => value_type(node.proto(), "value"),
            false => Some(D::Float as i32),
        },
        "DequantizeLinear" => attribute("output_dtype").or_else(|| input(1)),
        "QuantizeLinear" => {
            let asked = attribute("output_dtype").unwrap_or(D::Uint8 as i32);
            input(2).or(Some(asked))
        }
        "DynamicQuantizeLinear" => Some(D::Uint8 as i32),
        "ConvInteger" | "MatMulInteger" => Some(D::Int32 as i32),
        "QLinearConv" | "QLinearMatMul" => input(7),
        _ => (0..graph.inputs_of(n).len()).find_map(input),
    }
}

fn constant(node: &Node<'_>) -> Option<i32> {
    let found = node.proto().attribute.iter().find_map(|a| {
        Some(match a.name() {
            "value" => a.t.as_ref()?.data_type(),
            "sparse_value" => a.sparse_tensor.as_ref()?.values.as_ref()?.data_type(),
            "value_float" | "value_floats" => D::Float as i32,
            "value_int" | "value_ints" => D::Int64 as i32,
            "value_string" | "value_strings" => D::String as i32,
            _ => return None,
        })
    });
    found.filter(|&k| k != 0)
}

fn value_type(node: &crate::onnx::proto::NodeProto, name: &str) -> Option<i32> {
    let a = node.attribute.iter().find(|a| a.name() == name)?;
    a.t.as_ref().map(TensorProto::data_type)
}
