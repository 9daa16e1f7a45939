//! What a runtime is given: standard operators, and inputs that take `float32`.

mod double;

use std::borrow::Cow;

use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, type_proto};
use crate::onnx::{DataType, names};
pub use double::needs_single;

use crate::qonnx::{self, LowerError, Lowered};

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
    if let Some(graph) = out.graph.as_mut() {
        cast_inputs(graph);
    }
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

fn cast_inputs(graph: &mut GraphProto) {
    let mut taken = names(graph);
    let mut casts = Vec::new();
    for k in 0..graph.input.len() {
        let Some(input) = graph.input.get_mut(k) else {
            continue;
        };
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
        let wish = format!("{name}.as-{}", kind.name());
        let mut others = (2..).map(|n| format!("{wish}_{n}"));
        let free = |n: &String| !taken.contains(n);
        let inner = Some(wish.clone())
            .filter(free)
            .or_else(|| others.find(free));
        let inner = inner.unwrap_or(wish);
        taken.insert(inner.clone());
        rename(graph, &name, &inner);
        casts.push(NodeProto::cast(name, inner, kind).named_as_output());
    }
    graph.node.splice(0..0, casts);
}

/// Everything that reads `old`, in subgraphs too, reads `new`.
fn rename(graph: &mut GraphProto, old: &str, new: &str) {
    for node in &mut graph.node {
        for name in node.input.iter_mut().filter(|n| *n == old) {
            new.clone_into(name);
        }
        for a in &mut node.attribute {
            for g in a.g.iter_mut().chain(&mut a.graphs) {
                rename(g, old, new);
                let outputs = g.output.iter_mut().filter(|v| v.name() == old);
                outputs.for_each(|v| v.name = Some(new.to_owned()));
            }
        }
    }
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
        let mut graph = GraphProto {
            input: vec![half],
            node: vec![neg("x", &taken), neg(&taken, "y")],
            ..GraphProto::default()
        };
        cast_inputs(&mut graph);
        let outputs: Vec<&str> = graph.node.iter().map(|n| n.output[0].as_str()).collect();
        assert_eq!(outputs[1..], [taken.as_str(), "y"]);
        assert_ne!(outputs[0], taken);
        assert_eq!(graph.node[1].input, [outputs[0]]);
    }
}
