//! Rules of ONNX that a file can break and still be decoded.

use std::collections::BTreeSet;

use super::required;
use crate::graph::{Facts, Graph};
use crate::onnx::is_default_domain;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};

/// IR versions that have been published.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 1..=13;
/// Graphs within graphs.
const MOST_NESTED: usize = 32;

/// The rules that a model breaks, a line each.
pub(super) fn broken(model: &ModelProto) -> Vec<String> {
    let mut found = Vec::new();
    match model.ir_version {
        None => found.push("has no ir_version; export the model anew".to_owned()),
        Some(v) if !IR_VERSIONS.contains(&v) => {
            found.push(format!("ir_version {v} is not one that ONNX has published"));
        }
        Some(_) => {}
    }
    let mut domains = BTreeSet::new();
    for opset in &model.opset_import {
        let domain = match is_default_domain(opset.domain()) {
            true => "",
            false => opset.domain(),
        };
        if !domains.insert(domain) {
            found.push(format!("imports the opset of domain '{domain}' twice"));
        }
        if opset.version() < 1 {
            found.push(format!(
                "imports version {} of domain '{domain}'",
                opset.version()
            ));
        }
    }
    match &model.graph {
        None => found.push("has no graph".to_owned()),
        Some(graph) => {
            let functions = model.functions.iter();
            let functions: BTreeSet<(&str, &str)> =
                functions.map(|f| (f.domain(), f.name())).collect();
            let rules = Rules { domains, functions };
            rules.graph(graph, &BTreeSet::new(), 0, &mut found);
        }
    }
    found
}

/// What a model declares.
struct Rules<'m> {
    /// Domains with an opset.
    domains: BTreeSet<&'m str>,
    /// Functions of the model's own.
    functions: BTreeSet<(&'m str, &'m str)>,
}

impl<'m> Rules<'m> {
    /// Names, order and nodes of a graph; `outer` are the tensors around a subgraph.
    fn graph(
        &self,
        graph: &'m GraphProto,
        outer: &BTreeSet<&'m str>,
        depth: usize,
        found: &mut Vec<String>,
    ) {
        if depth > MOST_NESTED {
            found.push(format!("graph '{}': is nested too deeply", graph.name()));
            return;
        }
        let mut exists = outer.clone();
        let mut own = BTreeSet::new();
        for input in &graph.input {
            if !own.insert(input.name()) {
                found.push(format!("graph input '{}': is declared twice", input.name()));
            }
        }
        let mut constants = BTreeSet::new();
        let sparse = graph.sparse_initializer.iter();
        let sparse = sparse.filter_map(|s| s.values.as_ref());
        for tensor in graph.initializer.iter().chain(sparse) {
            if !constants.insert(tensor.name()) {
                found.push(format!("initializer '{}': exists twice", tensor.name()));
            }
        }
        exists.extend(own.iter().chain(&constants).copied());
        let mut nodes = BTreeSet::new();
        for (i, node) in graph.node.iter().enumerate() {
            let label = label(node, i);
            if !node.name().is_empty() && !nodes.insert(node.name()) {
                found.push(format!("{label}: another node has the same name"));
            }
            self.node(node, &label, found);
            for input in node.input.iter().filter(|n| !n.is_empty()) {
                if !exists.contains(input.as_str()) {
                    found.push(format!(
                        "{label}: reads '{input}', which nothing before it produces"
                    ));
                }
            }
            for attribute in &node.attribute {
                for inner in attribute.g.iter().chain(&attribute.graphs) {
                    self.graph(inner, &exists, depth + 1, found);
                }
            }
            for output in node.output.iter().filter(|n| !n.is_empty()) {
                if !own.insert(output) || constants.contains(output.as_str()) {
                    found.push(format!("{label}: writes '{output}', which exists already"));
                }
                exists.insert(output);
            }
        }
        if graph.output.is_empty() {
            found.push(format!("graph '{}': has no output", graph.name()));
        }
        for output in &graph.output {
            if !exists.contains(output.name()) {
                found.push(format!(
                    "graph output '{}': is not produced by any node",
                    output.name()
                ));
            }
        }
    }

    fn node(&self, node: &NodeProto, label: &str, found: &mut Vec<String>) {
        let default = is_default_domain(node.domain());
        let domain = if default { "" } else { node.domain() };
        if node.op_type().is_empty() {
            found.push(format!("{label}: has no operator"));
        }
        let own = self.functions.contains(&(domain, node.op_type()));
        if !own && !self.domains.contains(domain) {
            found.push(format!(
                "{label}: is of domain '{domain}', of which the model imports no opset"
            ));
        }
        let mut names = BTreeSet::new();
        for attribute in &node.attribute {
            let name = attribute.name();
            if !names.insert(name) {
                found.push(format!("{label}: has the attribute '{name}' twice"));
            }
            if let Some(why) = mistyped(attribute) {
                found.push(format!("{label}: attribute '{name}' {why}"));
            }
        }
        if !default {
            return;
        }
        for required in required::attributes(node.op_type()) {
            if !names.contains(required) {
                found.push(format!(
                    "{label}: lacks the attribute '{required}', which {} must have",
                    node.op_type()
                ));
            }
        }
        if node.op_type() == "Constant" && node.attribute.len() != 1 {
            found.push(format!("{label}: a Constant must have one value"));
        }
    }
}

fn label(node: &NodeProto, index: usize) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => format!("node of '{output}' ({})", node.op_type()),
        ("", None) => format!("node {index} ({})", node.op_type()),
        (name, _) => format!("node '{name}' ({})", node.op_type()),
    }
}

/// What is wrong with the type of an attribute.
fn mistyped(a: &AttributeProto) -> Option<&'static str> {
    use AttributeType as T;
    if !a.ref_attr_name().is_empty() {
        return None;
    }
    // Before IR version 2 there was no type.
    let declared = a.r#type.filter(|t| *t != 0)?;
    let Ok(declared) = AttributeType::try_from(declared) else {
        return Some("has a type that ONNX does not know");
    };
    let holds = match declared {
        T::Float => a.f.is_some(),
        T::Int => a.i.is_some(),
        T::String => a.s.is_some(),
        T::Tensor => a.t.is_some(),
        T::Graph => a.g.is_some(),
        T::SparseTensor => a.sparse_tensor.is_some(),
        // A list may be empty.
        _ => true,
    };
    (!holds).then_some("does not hold a value of its type")
}

/// Declared shapes that cannot be, a line each.
pub(super) fn wrong_shapes(graph: &Graph<'_>, facts: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    for t in graph.tensors() {
        let (Some(declared), Some(inferred)) = (graph.declared_shape(t), facts.shape(t)) else {
            continue;
        };
        let free = usize::from(!facts.fixed_batch());
        let differs = declared.len() != inferred.len()
            || declared
                .iter()
                .zip(inferred)
                .skip(free)
                .any(|(d, i)| d.is_some_and(|d| d != *i));
        if differs {
            let text = |dims: Vec<String>| dims.join("×");
            let declared = declared.iter();
            let declared = declared.map(|d| d.map_or("?".to_owned(), |d| d.to_string()));
            found.push(format!(
                "tensor '{}': is declared as {}, but is {}",
                graph.name(t),
                text(declared.collect()),
                text(inferred.iter().map(ToString::to_string).collect())
            ));
        }
    }
    found
}
