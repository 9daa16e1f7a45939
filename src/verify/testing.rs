//! Small models for the tests of this folder.

use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// A model under construction: opset 17, f32.
#[derive(Default)]
pub(super) struct Build {
    graph: GraphProto,
}

impl Build {
    pub(super) fn input(mut self, name: &str, shape: &[i64]) -> Self {
        self.graph.input.push(value(name, Some(shape)));
        self
    }

    pub(super) fn output(mut self, name: &str) -> Self {
        self.graph.output.push(value(name, None));
        self
    }

    pub(super) fn weight(mut self, name: &str, shape: &[i64], data: &[f32]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            data_type: Some(1),
            dims: shape.to_vec(),
            float_data: data.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub(super) fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(op, inputs, output, &[])
    }

    /// A `Cast` to 32-bit floats.
    pub(super) fn cast(mut self, input: &str, output: &str) -> Self {
        self = self.node("Cast", &[input], output);
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.push(AttributeProto {
                name: Some("to".into()),
                r#type: Some(AttributeType::Int as i32),
                i: Some(1),
                ..AttributeProto::default()
            });
        }
        self
    }

    pub(super) fn node_with(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        ints: &[(&str, &[i64])],
    ) -> Self {
        let attribute = ints.iter().map(|(name, values)| AttributeProto {
            name: Some((*name).into()),
            r#type: Some(AttributeType::Ints as i32),
            ints: values.to_vec(),
            ..AttributeProto::default()
        });
        self.graph.node.push(NodeProto {
            op_type: Some(op.into()),
            name: Some(format!("{op}_{output}")),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.into()],
            attribute: attribute.collect(),
            ..NodeProto::default()
        });
        self
    }

    pub(super) fn model(mut self) -> ModelProto {
        self.graph.name = Some("test".into());
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(17),
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }
}

/// A float tensor's declaration; -1 is the batch.
fn value(name: &str, shape: Option<&[i64]>) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension {
        value: Some(if size < 0 {
            dimension::Value::DimParam("N".into())
        } else {
            dimension::Value::DimValue(size)
        }),
        ..Dimension::default()
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(1),
                shape: shape.map(|shape| TensorShapeProto {
                    dim: shape.iter().map(dim).collect(),
                }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
