//! Operators: imported, known, and with the inputs and outputs they take.

use super::{Context, domain, label, shown};
use crate::check::finding::Findings;
use crate::graph::is_qonnx_domain;
use crate::onnx::proto::NodeProto;
use crate::operators::versions::{self, Count, Signature};

/// What the standard asks of a node; `None` for operators that it does not define.
pub(super) fn signature(node: &NodeProto, context: &Context<'_>) -> Option<&'static Signature> {
    let own = context
        .functions
        .contains(&(domain(node.domain()), node.op_type()));
    if own || !domain(node.domain()).is_empty() {
        return None;
    }
    let opset = *context.imports.get("")?;
    versions::lookup(node.op_type(), opset)?.signature.as_ref()
}

/// Checks one node, its attributes aside.
pub(super) fn apply(node: &NodeProto, context: &Context<'_>, findings: &mut Findings) {
    let name = label(node);
    if node.op_type().is_empty() {
        findings.error_at("operator", name, "has no operator; export the model anew");
        return;
    }
    if node.input.is_empty() && node.output.is_empty() {
        findings.error_at("arity", name, "has neither inputs nor outputs; remove it");
    }
    let home = domain(node.domain());
    if home != node.domain() {
        findings.error_at(
            "opset",
            name,
            "is of the domain 'ai.onnx', which operators of ONNX itself leave empty; clear node.domain",
        );
    }
    if is_quantizer(node) && !context.imports.contains_key(home) {
        // Said once, of the model.
        return;
    }
    let Some(&opset) = context.imports.get(home) else {
        let owner = if context.in_function {
            "function"
        } else {
            "model"
        };
        findings.error_at(
            "opset",
            name,
            format!(
                "is of the domain '{}', which the {owner} does not import; add it to opset_import",
                shown(home)
            ),
        );
        return;
    };
    if !home.is_empty() || context.functions.contains(&(home, node.op_type())) {
        return;
    }
    match signature(node, context) {
        Some(s) => {
            count(node, "inputs", &node.input, s.inputs, opset, findings);
            count(node, "outputs", &node.output, s.outputs, opset, findings);
        }
        None => unknown(node, opset, findings),
    }
}

/// Whether a node is one of QONNX's quantisers: Brevitas wrote them without importing their domain.
pub(super) fn is_quantizer(node: &NodeProto) -> bool {
    is_qonnx_domain(node.domain())
        && matches!(
            node.op_type(),
            "BipolarQuant" | "Quant" | "IntQuant" | "Trunc"
        )
}

fn unknown(node: &NodeProto, opset: i64, findings: &mut Findings) {
    let op = node.op_type();
    let why = match (versions::lookup(op, opset), versions::first_opset(op)) {
        (Some(_), _) => {
            format!("{op} was withdrawn from ONNX by opset {opset}; export the model anew")
        }
        (None, Some(first)) => {
            format!(
                "{op} came with opset {first}, the model uses {opset}; convert it with onnx.version_converter"
            )
        }
        (None, None) => {
            format!(
                "{op} is no operator of ONNX; if it is your own, give it a domain and import that"
            )
        }
    };
    findings.error_at("operator", label(node), why);
}

fn count(
    node: &NodeProto,
    what: &str,
    names: &[String],
    allowed: Count,
    opset: i64,
    findings: &mut Findings,
) {
    let Count { least, most } = allowed;
    let optional = match what {
        "inputs" => versions::optional_inputs(node.op_type()),
        _ => versions::optional_outputs(node.op_type()),
    };
    let mut needed = names.iter().take(least).enumerate();
    let empty = needed.any(|(k, n)| n.is_empty() && !optional.contains(&k));
    if (least..=most).contains(&names.len()) && !empty {
        return;
    }
    let wanted = match (least, most) {
        (a, b) if a == b => format!("{a}"),
        (a, usize::MAX) => format!("at least {a}"),
        (a, b) => format!("{a} to {b}"),
    };
    let found = names.iter().filter(|n| !n.is_empty()).count();
    findings.error_at(
        "arity",
        label(node),
        format!(
            "{} takes {wanted} {what} in opset {opset}, here are {found}; export the model anew",
            node.op_type()
        ),
    );
}
