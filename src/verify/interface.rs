//! Two models that call the same inputs and outputs otherwise, as two exporters do.

use std::collections::HashSet;

use crate::graph::edit::used_names;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

/// Gives `candidate` the names of `reference`'s inputs and outputs, where that says which is which: those of the
/// same names in another order are put in order, and others are taken by their place. Returns what was done, a
/// line each; what does not fit stays as it is, and is an error when the two are compared.
pub fn share_names(reference: &ModelProto, candidate: &mut ModelProto) -> Vec<String> {
    let (Some(of), Some(graph)) = (&reference.graph, &mut candidate.graph) else {
        return Vec::new();
    };
    // Initializers may be listed as inputs too.
    let held = |g: &GraphProto, name: &str| g.initializer.iter().any(|t| t.name() == name);
    let fed = |g: &GraphProto| -> Vec<String> {
        let inputs = g.input.iter().filter(|v| !held(g, v.name()));
        inputs.map(|v| v.name().to_owned()).collect()
    };
    let given =
        |g: &GraphProto| -> Vec<String> { g.output.iter().map(|v| v.name().to_owned()).collect() };
    let inputs = Side {
        name: "input",
        values: |g| &mut g.input,
        join: |g, new, old| g.node.insert(0, NodeProto::of("Identity", [new], old)),
    };
    let outputs = Side {
        name: "output",
        values: |g| &mut g.output,
        join: |g, new, old| g.node.push(NodeProto::of("Identity", [old], new)),
    };
    let mut said = share(&inputs, [&fed(of), &fed(graph)], graph);
    said.extend(share(&outputs, [&given(of), &given(graph)], graph));
    said
}

/// The inputs of a graph, or its outputs.
struct Side {
    name: &'static str,
    values: fn(&mut GraphProto) -> &mut Vec<ValueInfoProto>,
    /// Joins a value of the new name with the tensor of the old one.
    join: fn(&mut GraphProto, &str, &str),
}

fn share(side: &Side, [wanted, found]: [&[String]; 2], graph: &mut GraphProto) -> Vec<String> {
    let name = side.name;
    match matched(wanted, found, graph) {
        Matched::Same | Matched::Not => Vec::new(),
        Matched::Reordered => {
            order((side.values)(graph), wanted);
            vec![format!("the {name}s are in another order: taken by name")]
        }
        Matched::ByPlace(pairs) => {
            let mut said = Vec::new();
            for (new, old) in pairs {
                let values = (side.values)(graph).iter_mut();
                let values = values.filter(|v| v.name() == old);
                values.for_each(|v| v.name = Some(new.clone()));
                (side.join)(graph, &new, &old);
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
