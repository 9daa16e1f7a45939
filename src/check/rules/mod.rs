//! The rules of the ONNX standard (IR and operators), as `onnx.checker` has them.

mod attribute;
mod function;
mod graph;
mod model;
mod node;
mod tensor;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::finding::Findings;
use crate::onnx::proto::{ModelProto, NodeProto};

/// What a model declares for all its graphs, or one of its functions for its body.
pub(super) struct Context<'m> {
    model: &'m ModelProto,
    ir: i64,
    /// Version of each operator set imported; the default domain is the empty one.
    imports: BTreeMap<&'m str, i64>,
    /// Domain and name of the model's own functions.
    functions: Rc<BTreeSet<(&'m str, &'m str)>>,
    /// Whether it is a function's body.
    in_function: bool,
}

/// Holds a model, its external data inline, against the rules.
pub(super) fn apply(model: &ModelProto, findings: &mut Findings) {
    let context = model::apply(model, findings);
    let main = context.imports.clone();
    if let Some(graph) = &model.graph {
        graph::main(graph, &context, findings);
    }
    for function in &model.functions {
        let imports = function.opset_import.iter();
        let context = Context {
            imports: imports.map(|i| (domain(i.domain()), i.version())).collect(),
            functions: Rc::clone(&context.functions),
            in_function: true,
            ..context
        };
        graph::function(function, &context, findings);
        function::opsets(function, &main, &context.imports, findings);
    }
}

/// The domain as imports name it: `ai.onnx` is the default one.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// A domain for messages.
fn shown(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

/// What messages call a node: its name, else its first output, else its operator.
fn label(node: &NodeProto) -> &str {
    let named = Some(node.name()).filter(|n| !n.is_empty());
    let output = || {
        node.output
            .iter()
            .map(String::as_str)
            .find(|o| !o.is_empty())
    };
    named.or_else(output).unwrap_or(node.op_type())
}
