//! Attributes: known, required, of the right type, with one value.

use std::collections::HashSet;

use super::{Context, domain, label, node, tensor};
use crate::check::finding::Findings;
use crate::onnx::element_count;
use crate::onnx::proto::{AttributeProto, NodeProto, attribute_proto::AttributeType};

/// Before this version an attribute did not say its type.
const IR_WITH_TYPES: i64 = 2;

/// Checks one attribute of `n`.
pub(super) fn apply(
    a: &AttributeProto,
    n: &NodeProto,
    context: &Context<'_>,
    findings: &mut Findings,
) {
    let name = a.name();
    let mut wrong = |why: String| {
        findings.error_at("attribute", label(n), format!("attribute '{name}' {why}"));
    };
    if name.is_empty() {
        wrong("has no name; export the model anew".to_owned());
    }
    let held = held(a);
    if held.len() > 1 {
        let kinds: Vec<&str> = held.iter().map(|k| k.as_str_name()).collect();
        wrong(format!(
            "has several values ({}); keep one",
            kinds.join(", ")
        ));
    }
    let declared = a.r#type();
    let kind = match (declared, held.first()) {
        (AttributeType::Undefined, Some(&k)) => k,
        (d, _) => d,
    };
    let reference = !a.ref_attr_name().is_empty();
    if reference && !context.in_function {
        wrong(format!(
            "refers to '{}', which only functions have; export the model anew",
            a.ref_attr_name()
        ));
    } else if !reference {
        if declared == AttributeType::Undefined && context.ir >= IR_WITH_TYPES {
            wrong("does not say its type; export the model anew".to_owned());
        }
        match held.first() {
            Some(&k) if k != kind && held.len() == 1 => wrong(format!(
                "is declared as {} but holds {}; export the model anew",
                kind.as_str_name(),
                k.as_str_name()
            )),
            None if matches!(kind, AttributeType::Tensor | AttributeType::Graph) => {
                wrong("has no value; export the model anew".to_owned());
            }
            _ => {}
        }
    }
    // Names with two underscores are a tool's own notes.
    if let Some(s) = node::signature(n, context).filter(|_| !name.starts_with("__")) {
        match s.attributes.iter().find(|known| known.name == name) {
            None => wrong(format!(
                "is none that {} has in this opset; remove it, or convert the model with onnx.version_converter",
                n.op_type()
            )),
            Some(known) if known.kind != kind => wrong(format!(
                "is {}, {} asks for {}; export the model anew",
                kind.as_str_name(),
                n.op_type(),
                known.kind.as_str_name()
            )),
            Some(_) => {}
        }
    }
    for t in a.t.iter().chain(&a.tensors) {
        tensor::dense(t, Some(n), findings);
    }
    for t in a.sparse_tensor.iter().chain(&a.sparse_tensors) {
        tensor::sparse(t, Some(n), findings);
    }
}

/// Checks that no attribute occurs twice and that none is missing.
pub(super) fn complete(n: &NodeProto, context: &Context<'_>, findings: &mut Findings) {
    let mut names = HashSet::new();
    for a in &n.attribute {
        if !names.insert(a.name()) {
            findings.error_at(
                "attribute",
                label(n),
                format!("has the attribute '{}' twice; keep one", a.name()),
            );
        }
    }
    if domain(n.domain()).is_empty() {
        constant(n, findings);
    }
    let required = node::signature(n, context)
        .into_iter()
        .flat_map(|s| &s.attributes);
    for known in required.filter(|a| a.required && !names.contains(a.name)) {
        findings.error_at(
            "attribute",
            label(n),
            format!(
                "lacks the attribute '{}' ({}), which {} needs; export the model anew",
                known.name,
                known.kind.as_str_name(),
                n.op_type()
            ),
        );
    }
}

/// A `Constant` has one value, and so has what a `ConstantOfShape` fills with.
fn constant(n: &NodeProto, findings: &mut Findings) {
    let mut wrong = |why: String| findings.error_at("attribute", label(n), why);
    let values = n.attribute.iter().filter(|a| {
        a.name() == "value" || a.name() == "sparse_value" || a.name().starts_with("value_")
    });
    let values: Vec<&AttributeProto> = values.collect();
    let numbers = values.iter().flat_map(|a| a.f.iter().chain(&a.floats));
    if numbers.filter(|v| v.is_nan()).count() > 0 {
        wrong("holds values that are NaN; export the model anew".to_owned());
    }
    match (n.op_type(), &values[..]) {
        ("Constant", []) => {
            wrong("is a Constant without a value; export the model anew".to_owned())
        }
        ("Constant", [_, _, ..]) => {
            let names: Vec<&str> = values.iter().map(|a| a.name()).collect();
            wrong(format!(
                "is a Constant with several values ({}); keep one",
                names.join(", ")
            ));
        }
        ("ConstantOfShape", [a]) => {
            let count = a.t.as_ref().map(|t| element_count(&t.dims).map(|(_, n)| n));
            if count.is_some_and(|n| n != Some(1)) && a.ref_attr_name().is_empty() {
                wrong(
                    "fills with a tensor that has not one element; export the model anew"
                        .to_owned(),
                );
            }
        }
        _ => {}
    }
}

/// The kinds of value that an attribute holds.
fn held(a: &AttributeProto) -> Vec<AttributeType> {
    use AttributeType as T;
    [
        (a.f.is_some(), T::Float),
        (a.i.is_some(), T::Int),
        (a.s.is_some(), T::String),
        (a.t.is_some(), T::Tensor),
        (a.g.is_some(), T::Graph),
        (a.sparse_tensor.is_some(), T::SparseTensor),
        (a.tp.is_some(), T::TypeProto),
        (!a.floats.is_empty(), T::Floats),
        (!a.ints.is_empty(), T::Ints),
        (!a.strings.is_empty(), T::Strings),
        (!a.tensors.is_empty(), T::Tensors),
        (!a.graphs.is_empty(), T::Graphs),
        (!a.sparse_tensors.is_empty(), T::SparseTensors),
        (!a.type_protos.is_empty(), T::TypeProtos),
    ]
    .into_iter()
    .filter_map(|(held, kind)| held.then_some(kind))
    .collect()
}
