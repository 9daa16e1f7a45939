//! A file's model made ready to run on: sizes, order, and the scores behind classes that `ArgMax` or `TopK` chooses.

use std::collections::BTreeSet;
use std::path::Path;

use super::{DataSource, Sizes, sizes};
use crate::error::Error;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::onnx::Model;
use crate::onnx::proto::{ModelProto, NodeProto};

/// The model of a file, as runs see it: with sizes in the place of free dimensions, without nodes that no output
/// depends on, the others in the order of execution, and scores as the first output where the file gives the class
/// alone. What is written has the file's own dimensions and outputs.
///
/// # Errors
/// If it cannot be read, or sizes do not fit it.
pub fn load_model(path: &Path, given: &Sizes, source: Option<&DataSource>) -> Result<Model, Error> {
    let mut model = Model::load(path)?;
    sizes::fill(&mut model, given, source)?;
    let said = arrange(&mut model.proto);
    model.warnings.extend(said);
    put_scores_first(&mut model);
    Ok(model)
}

/// Leaves out nodes that no output depends on, and puts the others in the order of execution, which the standard
/// asks for and not every converter keeps; says what it did.
fn arrange(model: &mut ModelProto) -> Vec<String> {
    // Faults of the graph are reported where it is looked at.
    let Ok(graph) = Graph::new(model) else {
        return Vec::new();
    };
    let needed = nodes_of_outputs(&graph);
    let order: Vec<usize> = graph
        .order()
        .iter()
        .filter(|n| needed.contains(n))
        .map(|n| n.0)
        .collect();
    let (idle, sorted) = (graph.node_count() - order.len(), order.is_sorted());
    if idle == 0 && sorted {
        return Vec::new();
    }
    let proto = model.graph.get_or_insert_default();
    let was_used = used_names(proto);
    let nodes = &mut proto.node;
    let mut old: Vec<Option<NodeProto>> = std::mem::take(nodes).into_iter().map(Some).collect();
    nodes.extend(order.into_iter().filter_map(|n| old.get_mut(n)?.take()));
    let mut said = Vec::new();
    if idle > 0 {
        Editor::new(model).remove_unused(&was_used);
        said.push(format!(
            "{idle} of its nodes are left out, also of what is written of a changed model: no output depends on them"
        ));
    }
    if !sorted {
        said.push(
            "its nodes are not in the order of execution, which ONNX asks for; a changed model is written in it".to_owned(),
        );
    }
    said
}

/// The nodes that some output of a graph depends on.
fn nodes_of_outputs(graph: &Graph<'_>) -> BTreeSet<NodeId> {
    let mut needed = BTreeSet::new();
    for &n in graph.order().iter().rev() {
        let mut outputs = graph.outputs_of(n).into_iter().flatten();
        let read = |t| {
            let mut readers = graph.consumers(t).iter();
            graph.is_output(t) || readers.any(|reader| needed.contains(&reader.node))
        };
        if outputs.any(read) {
            needed.insert(n);
        }
    }
    needed
}

/// Makes the scores of classes the first output, where the file gives the class alone.
pub fn put_scores_first(model: &mut Model) {
    let scores = scores_behind_first_output(model);
    if let Some((name, graph)) = scores.zip(model.proto.graph.as_ref()) {
        model.outputs.clone_from(&graph.output);
        Editor::new(&mut model.proto).put_output_first(&name);
    }
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
fn scores_of(graph: &Graph<'_>, facts: &Facts, output: TensorId) -> Option<TensorId> {
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
