//! Small ONNX models for tests.

use ndarray::ArrayD;

use crate::onnx::Tensor;
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::ops::testing::random;

/// A model from lines `output = Op(input, …)`; a node's name is its output's.
pub struct ModelBuilder(GraphProto);

impl ModelBuilder {
    /// With one input `x`; a dimension of 0 is dynamic.
    pub fn new(input: &[i64]) -> Self {
        let dim = |&d: &i64| tensor_shape_proto::Dimension {
            value: (d > 0).then_some(tensor_shape_proto::dimension::Value::DimValue(d)),
            ..Default::default()
        };
        let tensor = type_proto::Tensor {
            elem_type: Some(1),
            shape: Some(TensorShapeProto {
                dim: input.iter().map(dim).collect(),
            }),
        };
        Self(GraphProto {
            input: vec![ValueInfoProto {
                name: Some("x".into()),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(tensor)),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    /// Adds an initializer.
    pub fn constant(self, name: &str, value: ArrayD<f32>) -> Self {
        self.tensor(name, &Tensor::F32(value))
    }

    /// Adds an initializer of any type.
    pub fn tensor(mut self, name: &str, value: &Tensor) -> Self {
        self.0.initializer.push(value.to_proto(name));
        self
    }

    /// Adds a `Split` of the channels into two.
    pub fn split(mut self, first: &str, second: &str, input: &str) -> Self {
        self = self.node(first, "Split", &[input], &[("axis", &[1])]);
        if let Some(node) = self.0.node.last_mut() {
            node.output.push(second.into());
        }
        self
    }

    /// Adds a node with integer attributes.
    pub fn node(
        mut self,
        output: &str,
        op: &str,
        inputs: &[&str],
        ints: &[(&str, &[i64])],
    ) -> Self {
        let attribute = |(name, v): &(&str, &[i64])| AttributeProto {
            name: Some((*name).into()),
            r#type: Some(if v.len() == 1 { 2 } else { 7 }),
            i: (v.len() == 1).then(|| v[0]),
            ints: if v.len() == 1 { vec![] } else { v.to_vec() },
            ..Default::default()
        };
        self.0.node.push(NodeProto {
            name: Some(output.into()),
            op_type: Some(op.into()),
            input: inputs.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            attribute: ints.iter().map(attribute).collect(),
            ..Default::default()
        });
        self
    }

    /// A binary 3×3 convolution of `sign(input)` on live latents, scaled by their mean.
    pub fn binary_conv(self, output: &str, input: &str, filters: usize, channels: usize) -> Self {
        let w = format!("{output}.w");
        let part = |p: &str| format!("{output}.{p}");
        self.constant(&w, random(&[filters, channels, 3, 3], filters as u64))
            .node(&part("s"), "Sign", &[input], &[])
            .node(&part("ws"), "Sign", &[&w], &[])
            .node(&part("wa"), "Abs", &[&w], &[])
            .node(
                &part("wm"),
                "ReduceMean",
                &[&part("wa")],
                &[("axes", &[1, 2, 3]), ("keepdims", &[1])],
            )
            .node(&part("we"), "Mul", &[&part("ws"), &part("wm")], &[])
            .node(
                output,
                "Conv",
                &[&part("s"), &part("we")],
                &[("pads", &[1, 1, 1, 1])],
            )
    }

    /// Adds a BatchNormalization with parameters of its own.
    pub fn batch_norm(self, output: &str, input: &str, channels: usize) -> Self {
        let p = |p: &str| format!("{output}.{p}");
        let c = [channels];
        self.constant(&p("g"), random(&c, 11).mapv(|x| 1.0 + 0.3 * x))
            .constant(&p("b"), random(&c, 12).mapv(|x| 0.3 * x))
            .constant(&p("m"), random(&c, 13).mapv(|x| 0.3 * x))
            .constant(&p("v"), random(&c, 14).mapv(|x| 1.0 + 0.5 * x))
            .node(
                output,
                "BatchNormalization",
                &[input, &p("g"), &p("b"), &p("m"), &p("v")],
                &[],
            )
    }

    /// The model, whose output is the last node's.
    pub fn build(mut self) -> ModelProto {
        let last = self.0.node.last().and_then(|n| n.output.first().cloned());
        self.0.output.push(ValueInfoProto {
            name: last,
            ..Default::default()
        });
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                version: Some(17),
                ..Default::default()
            }],
            graph: Some(self.0),
            ..Default::default()
        }
    }
}
