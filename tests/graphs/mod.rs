//! Small models for tests of the rewrite: a builder, random networks whose arithmetic is exact, and
//! ONNX Runtime to run them.
#![allow(dead_code)] // each test file uses a part of it

pub mod around;
pub mod endless;
mod large;
mod network;
pub mod random;

use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::Tensor;
use onnx_bnnprune::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value, type_proto,
};
use onnx_bnnprune::onnx::to_bytes;
use onnx_bnnprune::verify::{Optimization, OrtRuntime, Runtime as _, SessionOptions};

#[allow(unused_imports)] // see above
pub use large::large;
use network::Dice;
#[allow(unused_imports)] // see above
pub use network::{Activation, Block, Head, Network, Pool};

/// An attribute's value.
pub enum Attr {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Text(&'static str),
}

/// A model under construction, opset 17.
#[derive(Clone, Default)]
pub struct Builder {
    pub graph: GraphProto,
    count: usize,
}

impl Builder {
    /// With one input `x` `[N, shape…]`.
    pub fn new(shape: &[i64]) -> Self {
        let mut b = Self::default();
        b.graph.name = Some("test".to_owned());
        b.graph.input.push(declare("x", shape));
        b
    }

    /// Adds a node; its output (and name) is returned.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> String {
        self.count += 1;
        let output = format!("{}{}", op.to_lowercase(), self.count);
        let attribute = attributes
            .into_iter()
            .map(|(name, value)| {
                let mut a = AttributeProto {
                    name: Some(name.to_owned()),
                    ..AttributeProto::default()
                };
                match value {
                    Attr::Int(i) => (a.r#type, a.i) = (Some(AttributeType::Int as i32), Some(i)),
                    Attr::Float(f) => {
                        (a.r#type, a.f) = (Some(AttributeType::Float as i32), Some(f));
                    }
                    Attr::Ints(v) => (a.r#type, a.ints) = (Some(AttributeType::Ints as i32), v),
                    Attr::Floats(v) => {
                        (a.r#type, a.floats) = (Some(AttributeType::Floats as i32), v);
                    }
                    Attr::Text(s) => {
                        (a.r#type, a.s) = (Some(AttributeType::String as i32), Some(s.into()));
                    }
                }
                a
            })
            .collect();
        self.graph.node.push(NodeProto {
            name: Some(output.clone()),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.clone()],
            attribute,
            ..NodeProto::default()
        });
        output
    }

    /// Adds a node with several outputs; their names are returned.
    pub fn split(
        &mut self,
        op: &str,
        inputs: &[&str],
        count: usize,
        attributes: Vec<(&str, Attr)>,
    ) -> Vec<String> {
        let first = self.node(op, inputs, attributes);
        let names: Vec<String> = (0..count).map(|i| format!("{first}.{i}")).collect();
        if let Some(node) = self.graph.node.last_mut() {
            node.output.clone_from(&names);
        }
        names
    }

    /// Adds an `f32` initializer; its name is returned.
    pub fn weight(&mut self, shape: &[usize], data: Vec<f32>) -> String {
        let t = Tensor::F32(ArrayD::from_shape_vec(IxDyn(shape), data).unwrap());
        self.constant(&t)
    }

    /// Adds an initializer; its name is returned.
    pub fn constant(&mut self, t: &Tensor) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        self.graph.initializer.push(t.to_proto(&name));
        name
    }

    /// An `i64` initializer.
    pub fn ints(&mut self, v: &[i64]) -> String {
        let t = Tensor::I64(ndarray::Array1::from(v.to_vec()).into_dyn());
        self.constant(&t)
    }

    /// The model with these outputs.
    pub fn model(mut self, outputs: &[&str]) -> ModelProto {
        self.graph
            .output
            .extend(outputs.iter().map(|o| undeclared(o)));
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

pub fn declare(name: &str, shape: &[i64]) -> ValueInfoProto {
    let batch = Value::DimParam("N".to_owned());
    let dims = shape.iter().map(|&d| Value::DimValue(d));
    value_info(
        name,
        Some(TensorShapeProto {
            dim: std::iter::once(batch)
                .chain(dims)
                .map(|value| Dimension {
                    value: Some(value),
                    ..Dimension::default()
                })
                .collect(),
        }),
    )
}

/// An `f32` tensor of that shape.
pub fn sized(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = shape.iter().map(|&d| Dimension {
        value: Some(Value::DimValue(d as i64)),
        ..Dimension::default()
    });
    value_info(name, Some(TensorShapeProto { dim: dim.collect() }))
}

/// A graph output whose shape is not declared.
pub fn undeclared(name: &str) -> ValueInfoProto {
    value_info(name, None)
}

fn value_info(name: &str, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(1),
                shape,
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// All outputs of a model in ONNX Runtime.
pub fn run(model: &ModelProto, x: &ArrayD<f32>, optimization: Optimization) -> Vec<ArrayD<f32>> {
    let runtime = OrtRuntime::new(None)
        .expect("ONNX Runtime is needed: run scripts/test.sh, which installs it");
    let options = SessionOptions {
        optimization,
        threads: 1,
    };
    let mut session = runtime.load(&to_bytes(model), &options).unwrap();
    let name = session.inputs()[0].name.clone();
    let outputs = session.run(&[(name, x.clone())]).unwrap();
    outputs.into_iter().map(|(_, a)| a).collect()
}

/// The model with further tensors as outputs, to look inside.
pub fn with_outputs(model: &ModelProto, tensors: &[&str]) -> ModelProto {
    let mut model = model.clone();
    if let Some(g) = model.graph.as_mut() {
        g.output.extend(tensors.iter().map(|t| undeclared_any(t)));
    }
    model
}

/// An output of whatever type it has.
pub fn undeclared_any(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        ..ValueInfoProto::default()
    }
}
