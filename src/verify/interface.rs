//! Two models that call the same inputs and outputs otherwise, as two exporters do.

use std::collections::HashSet;

use crate::graph::edit::{Editor, used_names};
use crate::onnx::fed_inputs;
use crate::onnx::proto::{GraphProto, ModelProto, ValueInfoProto};

/// Gives `candidate` the names of `reference`'s inputs and outputs, where that says which is which: those of the
/// same names in another order are put in order, and others are taken by their place. Returns what was done, a
/// line each; what does not fit stays as it is, and is an error when the two are compared.
pub fn share_names(reference: &ModelProto, candidate: &mut ModelProto) -> Vec<String> {
    let (Some(of), Some(graph)) = (&reference.graph, &candidate.graph) else {
        return Vec::new();
    };
    let fed =
        |g: &GraphProto| -> Vec<String> { fed_inputs(g).map(|v| v.name().to_owned()).collect() };
    let given =
        |g: &GraphProto| -> Vec<String> { g.output.iter().map(|v| v.name().to_owned()).collect() };
    let (inputs, outputs) = ([fed(of), fed(graph)], [given(of), given(graph)]);
    let mut said = share(&INPUTS, inputs, candidate);
    said.extend(share(&OUTPUTS, outputs, candidate));
    said
}

/// The inputs of a graph, or its outputs.
struct Side {
    name: &'static str,
    values: fn(&mut GraphProto) -> &mut Vec<ValueInfoProto>,
    /// Gives a value of the old name the new one.
    rename: fn(&mut Editor<'_>, old: &str, new: &str),
}

const INPUTS: Side = Side {
    name: "input",
    values: |graph| &mut graph.input,
    rename: |editor, old, new| editor.rename_input(old, new),
};

const OUTPUTS: Side = Side {
    name: "output",
    values: |graph| &mut graph.output,
    rename: |editor, old, new| editor.rename_output(old, new),
};

fn share(side: &Side, [wanted, found]: [Vec<String>; 2], model: &mut ModelProto) -> Vec<String> {
    let name = side.name;
    let graph = model.graph.get_or_insert_default();
    match matched(&wanted, &found, graph) {
        Matched::Same | Matched::Not => Vec::new(),
        Matched::Reordered => {
            order((side.values)(graph), &wanted);
            vec![format!("the {name}s are in another order: taken by name")]
        }
        Matched::ByPlace(pairs) => {
            let mut editor = Editor::new(model);
            let mut said = Vec::new();
            for (new, old) in pairs {
                (side.rename)(&mut editor, &old, &new);
                said.push(format!(
                    "{name} '{new}' is called '{old}' in the other model: taken by its place"
                ));
            }
            said
        }
    }
}

enum Matched {
    Same,
    Reordered,
    /// The names wanted, and those that stand in their places.
    ByPlace(Vec<(String, String)>),
    Not,
}

fn matched(wanted: &[String], found: &[String], graph: &GraphProto) -> Matched {
    if wanted == found {
        return Matched::Same;
    }
    let sets = [wanted, found].map(|names| names.iter().collect::<HashSet<_>>());
    let [of_wanted, of_found] = &sets;
    if wanted.len() != found.len() || of_wanted.len() != wanted.len() {
        return Matched::Not;
    }
    if of_wanted == of_found {
        return Matched::Reordered;
    }
    let pairs = wanted.iter().zip(found).filter(|(a, b)| a != b);
    let pairs: Vec<(String, String)> = pairs.map(|(a, b)| (a.clone(), b.clone())).collect();
    // A name that both have, at different places, says that places say nothing; and one that the graph uses for
    // something else is taken.
    let used = taken(graph);
    let clear = pairs
        .iter()
        .all(|(a, b)| !of_found.contains(a) && !of_wanted.contains(b) && !used.contains(a));
    match clear {
        true => Matched::ByPlace(pairs),
        false => Matched::Not,
    }
}

/// Every name that a graph gives a tensor, or that is read in it or inside of its nodes.
fn taken(graph: &GraphProto) -> HashSet<String> {
    let mut names = used_names(graph);
    names.extend(graph.input.iter().map(|v| v.name().to_owned()));
    names.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
    let sparse = graph.sparse_initializer.iter();
    names.extend(sparse.filter_map(|s| s.values.as_ref()?.name.clone()));
    names.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    names
}

/// Puts values in the order of these names; others stay behind them.
fn order(values: &mut [ValueInfoProto], names: &[String]) {
    let place = |v: &ValueInfoProto| {
        let place = names.iter().position(|n| n == v.name());
        place.unwrap_or(names.len())
    };
    values.sort_by_key(place);
}
