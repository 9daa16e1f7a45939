//! Models that take long, or never end.

use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto::dimension::Value,
    type_proto,
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
    looping(|b| b.constant(&Tensor::I64(ndarray::arr0(1_000_000_000_000).into_dyn())))
}

/// x `[1, w]` plus what a loop of w^5 rounds gives: it ends soon only where w is small.
pub fn slow_when_wide() -> ModelProto {
    let mut model = looping(|b| {
        let size = b.node("Size", &["x"], vec![]);
        let mut rounds = size.clone();
        for _ in 0..4 {
            rounds = b.node("Mul", &[&rounds, &size], vec![]);
        }
        rounds
    });
    let graph = model.graph.as_mut().unwrap();
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(type_proto::Value::TensorType(t)) = &mut value.r#type.as_mut().unwrap().value {
            let dims = &mut t.shape.as_mut().unwrap().dim;
            dims[0].value = Some(Value::DimValue(1));
            dims[1].value = Some(Value::DimParam("w".to_owned()));
        }
    }
    model
}

fn looping(rounds: impl FnOnce(&mut Builder) -> String) -> ModelProto {
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
    let rounds = rounds(&mut b);
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
