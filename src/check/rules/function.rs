//! Functions: their operators mean what they mean in the model.

use std::collections::BTreeMap;

use super::{domain, shown};
use crate::check::finding::Findings;
use crate::onnx::proto::{FunctionProto, NodeProto};
use crate::operators::versions;

/// A function may import another version of an operator set than the model only where the operators
/// that it uses are the same in both.
pub(super) fn opsets(
    f: &FunctionProto,
    main: &BTreeMap<&str, i64>,
    own: &BTreeMap<&str, i64>,
    findings: &mut Findings,
) {
    visit(f.name(), &f.node, main, own, findings);
}

fn visit(
    function: &str,
    nodes: &[NodeProto],
    main: &BTreeMap<&str, i64>,
    own: &BTreeMap<&str, i64>,
    findings: &mut Findings,
) {
    for node in nodes {
        let home = domain(node.domain());
        if let (Some(&inside), Some(&outside)) = (own.get(home), main.get(home))
            && inside != outside
        {
            let since = |opset| versions::since(node.op_type(), opset);
            let same = home.is_empty() && since(inside) == since(outside);
            if !same {
                findings.error(
                    "opset",
                    format!(
                        "function '{function}': imports opset {inside} of '{}' where the model has {outside}, and {} is another operator there; convert it with onnx.version_converter",
                        shown(home),
                        node.op_type()
                    ),
                );
            }
        }
        for g in node
            .attribute
            .iter()
            .flat_map(|a| a.g.iter().chain(&a.graphs))
        {
            visit(function, &g.node, main, own, findings);
        }
    }
}
