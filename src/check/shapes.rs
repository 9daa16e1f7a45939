//! Shapes that the file declares against those that follow from its operators.

use super::finding::Findings;
use crate::graph::{Facts, Graph};
use crate::onnx::proto::{
    GraphProto, ValueInfoProto, tensor_shape_proto::dimension::Value, type_proto,
};

/// Compares the declared shapes of inner tensors with the inferred ones: runtimes plan memory by
/// the former, but do not fail where they are wrong.
pub(super) fn inner(graph: &Graph<'_>, facts: &Facts, proto: &GraphProto, found: &mut Findings) {
    for value in &proto.value_info {
        // What is repeated is known by the shape of what is repeated.
        let found_there = graph.find(value.name());
        let Some(t) = found_there.filter(|&t| !facts.is_repeated(t)) else {
            continue;
        };
        if let (Some(declared), Some(inferred)) = (declared(value), facts.shape(t))
            && !fits(&declared, inferred)
        {
            let node = graph.producer(t).map_or("", |n| graph.label(n));
            found.warning_at(
                "shapes",
                node,
                format!(
                    "writes '{}' of shape {inferred:?}, which the file declares as {}; run onnx.shape_inference on a copy without value_info",
                    value.name(),
                    shown(&declared)
                ),
            );
        }
    }
}

/// What is wrong with a graph output's declared shape, which has turned out to be `shape`.
pub(super) fn output(proto: &GraphProto, name: &str, shape: &[usize]) -> Option<String> {
    let value = proto.output.iter().find(|v| v.name() == name)?;
    let declared = declared(value).filter(|d| !fits(d, shape))?;
    Some(format!(
        "graph output '{name}' is declared as {} but has the shape {shape:?}; correct the declaration, or export the model anew",
        shown(&declared)
    ))
}

/// The declared dimensions, `None` where free.
fn declared(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(type_proto::Value::TensorType(t)) = value.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let size = |v: &Option<Value>| match v {
        Some(Value::DimValue(n)) => usize::try_from(*n).ok().filter(|&n| n > 0),
        _ => None,
    };
    let dims = t.shape.as_ref()?.dim.iter();
    Some(dims.map(|d| size(&d.value)).collect())
}

fn fits(declared: &[Option<usize>], shape: &[usize]) -> bool {
    declared.len() == shape.len()
        && declared
            .iter()
            .zip(shape)
            .all(|(d, s)| d.is_none_or(|d| d == *s))
}

fn shown(declared: &[Option<usize>]) -> String {
    let dims: Vec<String> = declared
        .iter()
        .map(|d| d.map_or("?".to_owned(), |d| d.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
}
