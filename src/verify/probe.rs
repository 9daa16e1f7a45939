//! Models rebuilt to show their intermediate tensors, and to take decisions from outside.

use crate::graph::edit::Editor;
use crate::graph::{Facts, Graph, Node, NodeId};
use crate::onnx::proto::{
    AttributeProto, ModelProto, NodeProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    type_proto,
};
use crate::operators::Kind;

/// A node whose output jumps: two runtimes may decide differently where its input lies within
/// rounding of the jump.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// Operator.
    pub op: String,
    /// What messages call the node.
    pub node: String,
    /// Tensors read.
    pub inputs: Vec<String>,
    /// The tensor written.
    pub output: String,
    /// Element type of the output, as ONNX numbers it.
    element: i32,
    /// Index of the node.
    index: usize,
}

#[cfg(test)]
impl Decision {
    /// A decision for tests that look at names alone.
    pub(super) fn named(op: &str, output: &str) -> Self {
        Self {
            op: op.to_owned(),
            node: output.to_owned(),
            inputs: Vec::new(),
            output: output.to_owned(),
            element: DataType::Float as i32,
            index: 0,
        }
    }
}

/// Every node of a graph that decides something about data.
pub(super) fn decisions(graph: &Graph<'_>, facts: &Facts) -> Vec<Decision> {
    let decision = |&id: &NodeId| {
        let node = graph.node(id);
        let row = node.operator().filter(|row| row.decides)?;
        let element = match row.kind {
            Kind::Unary(_) => graph
                .output_of(id, 0)
                .and_then(|t| facts.element(t))
                .unwrap_or(DataType::Float as i32),
            Kind::Comparison(_) => DataType::Bool as i32,
            // Between float types a Cast does not jump.
            Kind::Cast => match i32::try_from(node.int("to", 0)).ok()? {
                float if [1, 10, 11, 16].contains(&float) => return None,
                to => to,
            },
            Kind::Quantize => quantized(graph, id, &node)?,
            _ => return None,
        };
        let output = graph.output_of(id, 0)?;
        facts.is_data(output).then(|| Decision {
            op: node.op().to_owned(),
            node: graph.label(id).to_owned(),
            inputs: match row.kind {
                // The zero point moves no jump.
                Kind::Quantize => node.proto().input.iter().take(2).cloned().collect(),
                _ => node.proto().input.clone(),
            },
            output: graph.name(output).to_owned(),
            element,
            index: id.0,
        })
    };
    graph.order().iter().filter_map(decision).collect()
}

/// What type QuantizeLinear gives: its zero point's; `None` where that is not stored.
fn quantized(graph: &Graph<'_>, id: NodeId, node: &Node<'_>) -> Option<i32> {
    match graph.input_of(id, 2) {
        Some(zero) => graph.initializer(zero)?.data_type,
        None => i32::try_from(node.int("output_dtype", DataType::Uint8 as i64)).ok(),
    }
}

/// The model with `tensors` as further outputs.
pub(super) fn expose(model: &ModelProto, tensors: &[String]) -> ModelProto {
    let mut model = model.clone();
    let mut editor = Editor::new(&mut model);
    tensors.iter().for_each(|name| editor.add_output(name));
    model
}

/// The name under which a forced model takes the decision `output`.
pub(super) fn forced_input(output: &str) -> String {
    format!("{output}/forced")
}

/// The name under which a forced model gives the decision that it would have taken itself.
pub(super) fn own_decision(output: &str) -> String {
    format!("{output}/own")
}

/// The model in which each decision is taken from outside: what follows a decision reads the
/// graph input [`forced_input`], and what the model would have decided becomes the output
/// [`own_decision`]. The inputs of decisions (`tensors`) become outputs too.
pub(super) fn force(model: &ModelProto, decisions: &[Decision], tensors: &[String]) -> ModelProto {
    let mut model = model.clone();
    let mut editor = Editor::new(&mut model);
    for decision in decisions {
        let own = own_decision(&decision.output);
        let node = editor.node_mut(decision.index);
        if let Some(output) = node.and_then(|node| node.output.first_mut()) {
            output.clone_from(&own);
        }
        editor.add_input(float_value(forced_input(&decision.output)));
        editor.add_output(&own);
    }
    let casts = decisions.iter().map(|decision| {
        let to = AttributeProto::int("to", i64::from(decision.element));
        NodeProto::of("Cast", [forced_input(&decision.output)], &decision.output).with(to)
    });
    // Before everything else: they read graph inputs alone.
    editor.prepend_nodes(casts.collect());
    expose(&model, tensors)
}

/// A graph input of 32-bit floats of any shape.
fn float_value(name: String) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(DataType::Float as i32),
                shape: None,
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
