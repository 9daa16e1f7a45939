//! What a runtime is given: standard operators, and inputs that take `float32`.

mod double;

use std::borrow::Cow;

use crate::graph::edit::Editor;
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, type_proto};
use crate::qonnx::{self, LowerError, Lowered};
pub use double::needs_single;

/// [`qonnx::lower`], and `float32` in place of the other float types of the model's inputs: a `Cast`
/// behind each gives what the model asks for. Images and made-up inputs are `float32`. A network
/// with convolutions in `float64`, which ONNX Runtime does not have, is one of `float32` throughout
/// ([`needs_single`]).
///
/// # Errors
/// As [`qonnx::lower`].
pub fn runnable(model: &ModelProto) -> Result<Lowered<'_>, LowerError> {
    let mut lowered = qonnx::lower(model)?;
    if needs_single(&lowered.model) {
        let mut single = lowered.model.into_owned();
        single.graph.iter_mut().for_each(double::to_single);
        lowered.model = Cow::Owned(single);
    }
    Ok(with_float_inputs(lowered))
}

/// The second half of [`runnable`].
pub fn with_float_inputs(mut lowered: Lowered<'_>) -> Lowered<'_> {
    let inputs = lowered.model.graph.iter().flat_map(|g| &g.input);
    if !inputs
        .filter_map(|v| v.r#type.as_ref())
        .any(|t| other_float(t.value.as_ref()).is_some())
    {
        return lowered;
    }
    let mut out = lowered.model.into_owned();
    cast_inputs(&mut out);
    lowered.model = Cow::Owned(out);
    lowered
}

/// The float type of an input that is not `float32`.
fn other_float(value: Option<&type_proto::Value>) -> Option<DataType> {
    let Some(type_proto::Value::TensorType(t)) = value else {
        return None;
    };
    let kind = DataType::from_onnx(t.elem_type())?;
    (kind.is_float() && kind != DataType::F32).then_some(kind)
}

fn cast_inputs(model: &mut ModelProto) {
    let inputs = retyped_inputs(model.graph.get_or_insert_default());
    let mut editor = Editor::new(model);
    let mut casts = Vec::new();
    for (name, kind) in inputs {
        let inner = editor.fresh_name(&format!("{name}.as-{}", kind.name()));
        editor.redirect(&name, &inner, None);
        casts.push(NodeProto::cast(name, inner, kind).named_as_output());
    }
    editor.prepend_nodes(casts);
}

/// Makes inputs of another float type `float32`; their names, and the types that they had.
fn retyped_inputs(graph: &mut GraphProto) -> Vec<(String, DataType)> {
    let mut found = Vec::new();
    for input in &mut graph.input {
        let name = input.name().to_owned();
        let held = graph.initializer.iter().any(|t| t.name() == name);
        // Handed through, it keeps its type.
        if held || graph.output.iter().any(|o| o.name() == name) {
            continue;
        }
        let value = input.r#type.as_mut().and_then(|t| t.value.as_mut());
        let Some(kind) = other_float(value.as_deref()) else {
            continue;
        };
        if let Some(type_proto::Value::TensorType(t)) = value {
            t.elem_type = Some(DataType::F32.to_onnx());
        }
        found.push((name, kind));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{TypeProto, ValueInfoProto};

    #[test]
    fn a_cast_has_a_name_of_its_own() {
        let half = ValueInfoProto {
            name: Some("x".to_owned()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(DataType::F16.to_onnx()),
                    shape: None,
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        };
        let neg = |input: &str, output: &str| NodeProto {
            op_type: Some("Neg".to_owned()),
            input: vec![input.to_owned()],
            output: vec![output.to_owned()],
            ..NodeProto::default()
        };
        let taken = format!("x.as-{}", DataType::F16.name());
        let graph = GraphProto {
            input: vec![half],
            node: vec![neg("x", &taken), neg(&taken, "y")],
            ..GraphProto::default()
        };
        let mut model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        cast_inputs(&mut model);
        let graph = model.graph.unwrap();
        let outputs: Vec<&str> = graph.node.iter().map(|n| n.output[0].as_str()).collect();
        assert_eq!(outputs[1..], [taken.as_str(), "y"]);
        assert_ne!(outputs[0], taken);
        assert_eq!(graph.node[1].input, [outputs[0]]);
    }
}
