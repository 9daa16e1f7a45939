//! Nodes that an exporter left in training mode: what they make of a model, and how they leave it.

use super::RewriteError;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, NodeId, is_training};
use crate::onnx::proto::ModelProto;

/// Refuses a model with a `Dropout` in training mode: its outputs are random, so that it does not
/// even equal itself.
pub fn check_deterministic(graph: &Graph<'_>, facts: &Facts) -> Result<(), RewriteError> {
    let random = |n: &&NodeId| graph.node(**n).op() == "Dropout" && is_training(graph, facts, **n);
    match graph.order().iter().find(random) {
        Some(&n) => Err(RewriteError::Random {
            node: graph.label(n).to_owned(),
        }),
        None => Ok(()),
    }
}

/// The model with every `Dropout` and `BatchNormalization` in inference mode, the latter with its
/// running statistics, and the names of the nodes that were not. The rest stays as it is.
///
/// # Errors
/// [`RewriteError::Statistics`] where something reads what only training mode gives.
pub fn to_inference_mode(model: &ModelProto) -> Result<(ModelProto, Vec<String>), RewriteError> {
    let graph = Graph::new(model)?;
    let facts = Facts::infer(&graph, 1)?;
    let training = graph.order().iter().copied();
    let training: Vec<NodeId> = training
        .filter(|&n| is_training(&graph, &facts, n))
        .collect();
    let mut out = model.clone();
    if training.is_empty() {
        return Ok((out, Vec::new()));
    }
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let mut editor = Editor::new(&mut out);
    for &n in &training {
        let is_norm = graph.node(n).op() == "BatchNormalization";
        let mut others = graph.outputs_of(n).into_iter().skip(1).flatten();
        if is_norm && others.any(|t| graph.is_used(t)) {
            return Err(RewriteError::Statistics {
                node: graph.label(n).to_owned(),
            });
        }
        if is_norm {
            editor.remove_attribute(n.0, "training_mode");
        }
        if let Some(node) = editor.node_mut(n.0) {
            match is_norm {
                true => node.output.truncate(1),
                // Without a mode it is inference.
                false => node.input.truncate(2),
            }
        }
    }
    editor.remove_unused(&was_used);
    let names = training.iter().map(|&n| graph.label(n).to_owned());
    let names = names.collect();
    Graph::new(&out)?;
    Ok((out, names))
}
