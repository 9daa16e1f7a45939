//! Networks in `float64`, for runtimes without convolutions of that type.

use crate::graph::{Facts, Graph};
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    type_proto,
};
use crate::onnx::{DataType, Tensor};

/// Operators that ONNX Runtime computes in `float32` alone (or in 16 bits).
const SINGLE: [&str; 5] = [
    "Conv",
    "ConvTranspose",
    "AveragePool",
    "GlobalAveragePool",
    "LpPool",
];

/// Whether a model asks for a layer in `float64` that ONNX Runtime does not have.
pub fn needs_single(model: &ModelProto) -> bool {
    let graph = model.graph.iter();
    let double = DataType::F64.to_onnx();
    let holds = |t: &TensorProto| t.data_type() == double;
    // Most models hold no double at all.
    if !graph.clone().any(|g| anywhere(g, &holds)) {
        return false;
    }
    let Ok(graph) = Graph::new(model) else {
        return false;
    };
    let Ok(facts) = Facts::lean(&graph, 1) else {
        return false;
    };
    let asks = |&n: &crate::graph::NodeId| {
        let output = graph.output_of(n, 0);
        SINGLE.contains(&graph.node(n).op())
            && output.and_then(|t| facts.element(t)) == Some(double)
    };
    graph.order().iter().any(asks)
}

fn anywhere(g: &GraphProto, holds: &impl Fn(&TensorProto) -> bool) -> bool {
    let double = DataType::F64.to_onnx();
    let declared = g.input.iter().any(|v| elem_type(v) == Some(double));
    let of_node = |n: &NodeProto| {
        n.attribute.iter().any(|a| {
            a.t.as_ref().is_some_and(holds)
                || a.i == Some(i64::from(double))
                || a.g.iter().chain(&a.graphs).any(|g| anywhere(g, holds))
        })
    };
    declared || g.initializer.iter().any(holds) || g.node.iter().any(of_node)
}

fn elem_type(v: &ValueInfoProto) -> Option<i32> {
    match v.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => t.elem_type,
        _ => None,
    }
}

/// `float32` in place of every `float64` of a graph.
pub(super) fn to_single(graph: &mut GraphProto) {
    graph.initializer.iter_mut().for_each(tensor);
    let sparse = graph.sparse_initializer.iter_mut();
    sparse.flat_map(|s| &mut s.values).for_each(tensor);
    let values = graph.input.iter_mut().chain(&mut graph.output);
    for v in values.chain(&mut graph.value_info) {
        v.r#type.iter_mut().for_each(declared);
    }
    for node in &mut graph.node {
        let cast = matches!(
            node.op_type(),
            "Cast" | "EyeLike" | "RandomNormal" | "RandomUniform"
        );
        for a in &mut node.attribute {
            attribute(a, cast);
        }
    }
}

fn attribute(a: &mut AttributeProto, cast: bool) {
    a.t.iter_mut().for_each(tensor);
    let sparse = a.sparse_tensor.iter_mut();
    sparse.flat_map(|s| &mut s.values).for_each(tensor);
    let double = i64::from(DataType::F64.to_onnx());
    if cast && matches!(a.name(), "to" | "dtype") && a.i == Some(double) {
        a.i = Some(i64::from(DataType::F32.to_onnx()));
    }
    for g in a.g.iter_mut().chain(&mut a.graphs) {
        to_single(g);
    }
}

fn declared(t: &mut TypeProto) {
    if let Some(type_proto::Value::TensorType(t)) = &mut t.value
        && t.elem_type == Some(DataType::F64.to_onnx())
    {
        t.elem_type = Some(DataType::F32.to_onnx());
    }
}

fn tensor(t: &mut TensorProto) {
    if t.data_type() != DataType::F64.to_onnx() {
        return;
    }
    if let Some(values) = Tensor::from_proto(t).ok().as_ref().and_then(Tensor::floats) {
        *t = Tensor::F32(values.into_owned()).to_proto(t.name());
    }
}
