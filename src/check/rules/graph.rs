//! Names: unique, written once, and before they are read.

use std::collections::HashSet;

use super::{Context, attribute, label, node, tensor};
use crate::check::finding::Findings;
use crate::graph::{Graph, GraphError};
use crate::onnx::proto::{
    FunctionProto, GraphProto, NodeProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value, type_proto,
};

/// Before this version every initializer was listed as a graph input too.
const IR_WITH_FREE_INITIALIZERS: i64 = 4;

/// The names that exist at one place, innermost graph last.
#[derive(Default)]
struct Scopes<'m>(Vec<HashSet<&'m str>>);

impl<'m> Scopes<'m> {
    fn has(&self, name: &str) -> bool {
        self.0.iter().rev().any(|s| s.contains(name))
    }

    /// Adds a name to the innermost graph; `false` if it exists.
    fn add(&mut self, name: &'m str) -> bool {
        let new = !self.has(name);
        if let Some(innermost) = self.0.last_mut() {
            innermost.insert(name);
        }
        new
    }
}

/// Checks the main graph and everything in it.
pub(super) fn main(graph: &GraphProto, context: &Context<'_>, findings: &mut Findings) {
    if graph.name().is_empty() {
        findings.error("graph", "has a graph without a name; set graph.name");
    }
    for (what, list) in [("input", &graph.input), ("output", &graph.output)] {
        for value in list {
            interface(what, value, findings);
        }
    }
    if graph.output.is_empty() {
        findings.error("graph", "has no output; export it anew");
    }
    let mut names = HashSet::new();
    for node in &graph.node {
        if !node.name().is_empty() && !names.insert(node.name()) {
            findings.warning_at(
                "node-names",
                node.name(),
                "has a name that another node has too; masks files call such layers by their output",
            );
        }
    }
    inner(graph, context, &mut Scopes::default(), findings);
}

/// Checks the body of a function.
pub(super) fn function(f: &FunctionProto, context: &Context<'_>, findings: &mut Findings) {
    let mut scopes = Scopes::default();
    scopes.0.push(HashSet::new());
    for name in &f.input {
        if !scopes.add(name) {
            findings.error(
                "unique-names",
                format!(
                    "function '{}': has the parameter '{name}' twice; export it anew",
                    f.name()
                ),
            );
        }
    }
    body(&f.node, context, &mut scopes, findings);
    for name in &f.output {
        if !scopes.has(name) {
            findings.error(
                "outputs",
                format!(
                    "function '{}': nothing produces its result '{name}'; export it anew",
                    f.name()
                ),
            );
        }
    }
}

/// A graph input or output: a name, a type and a shape.
fn interface(what: &str, value: &ValueInfoProto, findings: &mut Findings) {
    let mut wrong = |why: &str| {
        findings.error(
            "interface",
            format!("graph {what} '{}' {why}", value.name()),
        );
    };
    if value.name().is_empty() {
        wrong("has no name; export the model anew");
    }
    match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        None => wrong("has no type; run onnx.shape_inference, or export the model anew"),
        Some(type_proto::Value::TensorType(t)) => {
            let known = DataType::try_from(t.elem_type()).is_ok_and(|d| d != DataType::Undefined);
            if !known {
                wrong("has no known element type; export the model anew");
            }
            if t.shape.is_none() {
                wrong("has no shape; run onnx.shape_inference, or export the model anew");
            }
        }
        Some(_) => {}
    }
}

/// The dimensions that are declared of a graph's input or output, or of an inner tensor.
fn dimensions(what: &str, value: &ValueInfoProto, findings: &mut Findings) {
    let Some(type_proto::Value::TensorType(t)) =
        value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return;
    };
    let dims = t.shape.iter().flat_map(|s| &s.dim);
    for (axis, dim) in dims.enumerate() {
        match &dim.value {
            // Some exporters wrote -1 for a free size.
            Some(Value::DimValue(-1)) => findings.warning(
                "interface",
                format!(
                    "{what} '{}' declares axis {axis} as -1; a free dimension has a name or nothing: clear it",
                    value.name()
                ),
            ),
            Some(Value::DimValue(n)) if *n < 0 => findings.error(
                "interface",
                format!(
                    "{what} '{}' declares axis {axis} as {n}, which no tensor has; correct the declaration, or export the model anew",
                    value.name()
                ),
            ),
            _ => {}
        }
    }
}

/// A graph within `scopes`: the main one, or a subgraph.
fn inner<'m>(
    graph: &'m GraphProto,
    context: &Context<'_>,
    scopes: &mut Scopes<'m>,
    findings: &mut Findings,
) {
    let main = scopes.0.is_empty();
    scopes.0.push(HashSet::new());
    for (what, list) in [
        ("input", &graph.input),
        ("output", &graph.output),
        ("tensor", &graph.value_info),
    ] {
        list.iter().for_each(|v| dimensions(what, v, findings));
    }
    let mut inputs = HashSet::new();
    for value in &graph.input {
        inputs.insert(value.name());
        if !scopes.add(value.name()) {
            findings.error(
                "unique-names",
                format!(
                    "graph input '{}' has a name that exists already; rename it",
                    value.name()
                ),
            );
        }
    }
    let dense = graph.initializer.iter().map(|t| t.name());
    let sparse = graph
        .sparse_initializer
        .iter()
        .map(|s| s.values.as_ref().map_or("", |v| v.name()));
    let mut initializers = HashSet::new();
    for name in dense.chain(sparse) {
        if name.is_empty() {
            findings.error(
                "unique-names",
                "has an initializer without a name; export it anew",
            );
        } else if !initializers.insert(name) || !(inputs.contains(name) || scopes.add(name)) {
            findings.error(
                "unique-names",
                format!(
                    "initializer '{name}' exists twice, or another tensor has its name; rename it"
                ),
            );
        }
        if main && context.ir < IR_WITH_FREE_INITIALIZERS && !inputs.contains(name) {
            findings.error(
                "initializers",
                format!(
                    "initializer '{name}' is no graph input, which IR version {} asks for; set ir_version to {IR_WITH_FREE_INITIALIZERS} or more",
                    context.ir
                ),
            );
        }
    }
    for t in &graph.initializer {
        tensor::dense(t, None, findings);
    }
    for t in &graph.sparse_initializer {
        tensor::sparse(t, None, findings);
    }
    let sorted = body(&graph.node, context, scopes, findings);
    if main && !sorted {
        unsorted(context, findings);
    }
    for value in &graph.output {
        if !value.name().is_empty() && !scopes.has(value.name()) {
            findings.error(
                "outputs",
                format!("nothing produces the graph output '{}'; the model is cut short: export it anew", value.name()),
            );
        }
    }
    scopes.0.pop();
}

/// The nodes of a graph or function, in file order; whether each comes after what it reads.
fn body<'m>(
    nodes: &'m [NodeProto],
    context: &Context<'_>,
    scopes: &mut Scopes<'m>,
    findings: &mut Findings,
) -> bool {
    let written: HashSet<&str> = nodes
        .iter()
        .flat_map(|n| &n.output)
        .map(String::as_str)
        .collect();
    let mut sorted = true;
    for n in nodes {
        for name in n.input.iter().filter(|i| !i.is_empty()) {
            if scopes.has(name) {
                continue;
            }
            if written.contains(name.as_str()) {
                sorted = false;
                findings.error_at(
                    "order",
                    label(n),
                    format!("reads '{name}', which nothing before it produces; sort the nodes topologically"),
                );
            } else {
                findings.error_at(
                    "dangling",
                    label(n),
                    format!("reads '{name}', which nothing produces; the model is cut short: export it anew"),
                );
            }
        }
        node::apply(n, context, findings);
        attribute::complete(n, context, findings);
        for a in &n.attribute {
            attribute::apply(a, n, context, findings);
            for g in a.g.iter().chain(&a.graphs) {
                inner(g, context, scopes, findings);
            }
        }
        for name in n.output.iter().filter(|o| !o.is_empty()) {
            if !scopes.add(name) {
                findings.error_at(
                    "ssa",
                    label(n),
                    format!("writes '{name}', which exists already; each tensor is written once: rename it"),
                );
            }
        }
    }
    sorted
}

/// Nodes out of order can still be sorted, unless they form a cycle.
fn unsorted(context: &Context<'_>, findings: &mut Findings) {
    if let Err(GraphError::Cycle(node)) = Graph::new(context.model) {
        findings.error_at(
            "cycle",
            &node,
            "is part of a cycle, so no order runs it; export the model anew",
        );
    }
}
