//! A model that never ends.

use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};

use super::{Builder, sized};

fn scalar(name: &str, kind: DataType) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(kind as i32),
                shape: Some(Default::default()),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// x `[1, 3]` plus what a loop of 10^12 rounds gives.
pub fn endless() -> ModelProto {
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(output.to_owned()),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let body = GraphProto {
        name: Some("body".to_owned()),
        node: vec![node("Identity", &["go"], "on"), node("Cos", &["v"], "w")],
        input: vec![
            scalar("round", DataType::Int64),
            scalar("go", DataType::Bool),
            scalar("v", DataType::Float),
        ],
        output: vec![scalar("on", DataType::Bool), scalar("w", DataType::Float)],
        ..GraphProto::default()
    };
    let mut b = Builder::new(&[3]);
    let rounds = b.constant(&Tensor::I64(ndarray::arr0(1_000_000_000_000).into_dyn()));
    let go = b.constant(&Tensor::Bool(ndarray::arr0(true).into_dyn()));
    let start = b.weight(&[], vec![0.5]);
    let term = b.node("Loop", &[&rounds, &go, &start], vec![]);
    let body = AttributeProto {
        name: Some("body".to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(body),
        ..AttributeProto::default()
    };
    b.graph.node.last_mut().unwrap().attribute.push(body);
    let y = b.node("Add", &["x", &term], vec![]);
    let mut model = b.model(&[]);
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(sized(&y, &[1, 3]));
    model
}
