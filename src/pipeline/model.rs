//! A file's model made ready to run on: sizes, order, and the scores behind classes that `ArgMax` or `TopK` chooses.

use super::{DataSource, Sizes, sizes};
use crate::error::Error;
use crate::graph::edit::Editor;
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::Model;
use crate::onnx::proto::{ModelProto, NodeProto};

/// The model of a file, as runs see it: with sizes in the place of free dimensions, nodes in the order of execution,
/// and scores as the first output where the file gives the class alone. What is written has the file's own
/// dimensions and outputs.
///
/// # Errors
/// If it cannot be read, or sizes do not fit it.
pub fn load_model(
    path: &std::path::Path,
    given: &Sizes,
    source: Option<&DataSource>,
) -> Result<Model, Error> {
    let mut model = Model::load(path)?;
    sizes::fill(&mut model, given, source)?;
    sort_nodes(&mut model.proto);
    let scores = scores_behind_first_output(&model);
    if let Some((name, graph)) = scores.zip(model.proto.graph.as_ref()) {
        model.outputs.clone_from(&graph.output);
        Editor::new(&mut model.proto).put_output_first(&name);
    }
    Ok(model)
}

/// Puts nodes in the order of execution, which the standard asks for and not every converter keeps.
fn sort_nodes(model: &mut ModelProto) {
    let order: Vec<usize> = match Graph::new(model) {
        Ok(graph) if !graph.order().is_sorted() => graph.order().iter().map(|n| n.0).collect(),
        // Faults of the graph are reported where it is looked at.
        _ => return,
    };
    let nodes = &mut model.graph.get_or_insert_default().node;
    let mut old: Vec<Option<NodeProto>> = std::mem::take(nodes).into_iter().map(Some).collect();
    nodes.extend(order.into_iter().filter_map(|n| old.get_mut(n)?.take()));
}

/// The name of the scores that a model's first output is chosen from.
fn scores_behind_first_output(model: &Model) -> Option<String> {
    let graph = Graph::new(&model.proto).ok()?;
    let &output = graph.outputs().first()?;
    choice(&graph, output)?;
    let facts = Facts::lean(&graph, 1).ok()?;
    let scores = scores_of(&graph, &facts, output)?;
    Some(graph.name(scores).to_owned())
}

/// The scores of classes, `[N, K]` or `[N, K, 1, 1]`, that an output chooses the largest of.
pub(super) fn scores_of(graph: &Graph<'_>, facts: &Facts, output: TensorId) -> Option<TensorId> {
    let (scores, axis) = choice(graph, output)?;
    let shape = facts.shape(scores).filter(|_| facts.is_data(scores))?;
    let axis = crate::graph::normalize_axis(axis, shape.len())?;
    let [_, classes, rest @ ..] = shape else {
        return None;
    };
    (axis == 1 && *classes > 1 && rest.iter().all(|&d| d == 1)).then_some(scores)
}

/// What `ArgMax` or `TopK` chooses from, and along which axis, where an output is that, but for views and casts.
fn choice(graph: &Graph<'_>, output: TensorId) -> Option<(TensorId, i64)> {
    let mut t = output;
    loop {
        let n = graph.producer(t)?;
        let node = graph.node(n);
        let input = graph.input_of(n, 0)?;
        match node.op() {
            "Cast" | "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => t = input,
            "ArgMax" => return Some((input, node.int("axis", 0))),
            "TopK" if node.int("largest", 1) != 0 => return Some((input, node.int("axis", -1))),
            _ => return None,
        }
    }
}
