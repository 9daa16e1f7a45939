//! Nodes and attributes as the tool writes them.

use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::{DataType, Tensor};

impl NodeProto {
    /// A node of an operator of the standard with one output.
    pub fn of<I: Into<String>>(
        operator: &str,
        inputs: impl IntoIterator<Item = I>,
        output: impl Into<String>,
    ) -> Self {
        Self {
            op_type: Some(operator.to_owned()),
            input: inputs.into_iter().map(Into::into).collect(),
            output: vec![output.into()],
            ..Self::default()
        }
    }

    /// A `Cast` to a type.
    pub fn cast(input: impl Into<String>, output: impl Into<String>, to: DataType) -> Self {
        let to = AttributeProto::int("to", i64::from(to.to_onnx()));
        Self::of("Cast", [input.into()], output).with(to)
    }

    /// The same with a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// The same with the name of its first output.
    #[must_use]
    pub fn named_as_output(self) -> Self {
        Self {
            name: self.output.first().cloned(),
            ..self
        }
    }

    /// The same, its operator being of a domain other than the standard's.
    #[must_use]
    pub fn in_domain(self, domain: &str) -> Self {
        Self {
            domain: Some(domain.to_owned()),
            ..self
        }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

impl AttributeProto {
    /// A whole number.
    pub fn int(name: &str, value: i64) -> Self {
        Self {
            i: Some(value),
            ..Self::typed(name, AttributeType::Int)
        }
    }

    /// Whole numbers.
    pub fn ints(name: &str, values: impl Into<Vec<i64>>) -> Self {
        Self {
            ints: values.into(),
            ..Self::typed(name, AttributeType::Ints)
        }
    }

    /// A number in single precision.
    pub fn float(name: &str, value: f32) -> Self {
        Self {
            f: Some(value),
            ..Self::typed(name, AttributeType::Float)
        }
    }

    /// A tensor.
    pub fn tensor(name: &str, value: &Tensor) -> Self {
        let value: TensorProto = value.to_proto("");
        Self {
            t: Some(value),
            ..Self::typed(name, AttributeType::Tensor)
        }
    }

    fn typed(name: &str, kind: AttributeType) -> Self {
        Self {
            name: Some(name.to_owned()),
            r#type: Some(kind as i32),
            ..Self::default()
        }
    }
}
