//! Packed weights as floats again, under their own names.

use std::borrow::Cow;

use super::FormError;
use super::packed::ABOUT;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::proto::ModelProto;
use crate::onnx::{DataType, Tensor};
use crate::recognize;

/// Nodes between packed bytes and the weight that are looked at: a dozen is plenty.
const MOST_NODES: usize = 32;

/// Whether some layer's weights are looked up in a table by bytes of the file.
pub fn is_packed(model: &ModelProto) -> bool {
    if !may_be(model) {
        return false;
    }
    let found = || -> Result<bool, FormError> {
        let graph = Graph::new(model)?;
        let facts = Facts::lean(&graph, 1)?;
        let packed = |t| of_bytes(&graph, &facts, t);
        Ok(recognize::layers(&graph, &facts)
            .iter()
            .any(|l| packed(l.weight)))
    };
    found().unwrap_or(false)
}

/// A look at the file that costs nothing.
fn may_be(model: &ModelProto) -> bool {
    let byte = [DataType::U8, DataType::I8].map(DataType::to_onnx);
    model.graph.as_ref().is_some_and(|g| {
        let mut tensors = g.initializer.iter();
        g.node.iter().any(|n| n.op_type() == "Gather")
            && tensors.any(|t| byte.contains(&t.data_type()))
    })
}

/// The model with packed weights written as floats, each under the name that it has; the model itself
/// where it has none.
///
/// # Errors
/// If the graph is invalid.
pub fn unpack(model: &ModelProto) -> Result<Cow<'_, ModelProto>, FormError> {
    if !may_be(model) {
        return Ok(Cow::Borrowed(model));
    }
    let mut found: Vec<(String, Tensor)> = Vec::new();
    {
        let graph = Graph::new(model)?;
        let facts = Facts::lean(&graph, 1)?;
        for layer in recognize::layers(&graph, &facts) {
            let name = graph.name(layer.weight);
            let known = found.iter().any(|(n, _)| n == name);
            if !known
                && of_bytes(&graph, &facts, layer.weight)
                && let Some(value) = facts.constant(layer.weight)
            {
                found.push((name.to_owned(), value.clone()));
            }
        }
    }
    if found.is_empty() {
        return Ok(Cow::Borrowed(model));
    }
    let mut out = model.clone();
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let mut editor = Editor::new(&mut out);
    for (name, value) in found {
        editor.remove_source(&name);
        editor.put_initializer(&name, &value);
    }
    editor.remove_unused(&was_used);
    let text = out.doc_string().replace(ABOUT, "");
    out.doc_string = Some(text.trim_end().to_owned()).filter(|t| !t.is_empty());
    Ok(Cow::Owned(out))
}

/// Whether a constant is computed from what bytes of the file select in a table.
fn of_bytes(graph: &Graph<'_>, facts: &Facts, weight: TensorId) -> bool {
    let mut open = vec![weight];
    for _ in 0..MOST_NODES {
        let Some(t) = open.pop() else {
            return false;
        };
        let Some(n) = graph.producer(t) else { continue };
        if facts.is_data(t) {
            return false;
        }
        match graph.node(n).op() {
            "Gather" => {
                if graph.input_of(n, 1).is_some_and(|i| bytes(graph, i)) {
                    return true;
                }
            }
            _ => open.extend(graph.inputs_of(n).into_iter().flatten()),
        }
    }
    false
}

/// Whether a tensor is an initializer of bytes, seen through `Cast` and the like.
fn bytes(graph: &Graph<'_>, mut t: TensorId) -> bool {
    for _ in 0..MOST_NODES {
        if let Some(held) = graph.initializer(t) {
            let byte = [DataType::U8, DataType::I8].map(DataType::to_onnx);
            return byte.contains(&held.data_type());
        }
        let before = graph.producer(t).filter(|&n| {
            matches!(
                graph.node(n).op(),
                "Cast" | "Identity" | "Reshape" | "Flatten"
            )
        });
        match before.and_then(|n| graph.input_of(n, 0)) {
            Some(input) => t = input,
            None => return false,
        }
    }
    false
}
