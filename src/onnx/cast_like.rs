//! `CastLike` as the `Cast` that it is: its second input is read for its type alone, and would tie constants to
//! the data.

use std::collections::HashMap;

use super::is_default_domain;
use super::proto::{AttributeProto, GraphProto, ModelProto, ValueInfoProto, type_proto};

/// Writes each `CastLike` of the main graph whose type the file says as a `Cast`.
pub(super) fn resolve(model: &mut ModelProto) {
    let Some(graph) = model.graph.as_mut() else {
        return;
    };
    let is_like = |op: &str, domain: &str| op == "CastLike" && is_default_domain(domain);
    if !graph.node.iter().any(|n| is_like(n.op_type(), n.domain())) {
        return;
    }
    let types = declared(graph);
    for node in &mut graph.node {
        let like = is_like(node.op_type(), node.domain())
            .then(|| node.input.get(1))
            .flatten();
        let Some(&to) = like.and_then(|name| types.get(name)) else {
            continue;
        };
        node.op_type = Some("Cast".to_owned());
        node.input.truncate(1);
        node.attribute
            .push(AttributeProto::int("to", i64::from(to)));
    }
}

/// The element types that a graph declares, by the names of tensors.
fn declared(graph: &GraphProto) -> HashMap<String, i32> {
    let of_value = |v: &ValueInfoProto| match v.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => Some((v.name().to_owned(), t.elem_type())),
        _ => None,
    };
    let values = graph
        .input
        .iter()
        .chain(&graph.output)
        .chain(&graph.value_info);
    let mut types: HashMap<String, i32> = values.filter_map(of_value).collect();
    let held = graph.initializer.iter();
    types.extend(held.map(|t| (t.name().to_owned(), t.data_type())));
    types.retain(|_, &mut kind| kind != 0);
    types
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::NodeProto;

    #[test]
    fn the_type_is_read_and_the_tensor_is_not() {
        let typed = |name: &str, kind| ValueInfoProto {
            name: Some(name.to_owned()),
            r#type: Some(crate::onnx::proto::TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(kind),
                    shape: None,
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        let graph = GraphProto {
            input: vec![typed("x", 1)],
            node: vec![
                NodeProto::of("CastLike", ["c", "x"], "a"),
                NodeProto::of("CastLike", ["c", "unknown"], "b"),
            ],
            ..Default::default()
        };
        let mut model = ModelProto {
            graph: Some(graph),
            ..Default::default()
        };
        resolve(&mut model);
        let nodes = model.graph.unwrap().node;
        assert_eq!(nodes[0].op_type(), "Cast");
        assert_eq!(nodes[0].input, ["c"]);
        assert_eq!(nodes[0].attribute[0].i(), 1);
        assert_eq!(nodes[1], NodeProto::of("CastLike", ["c", "unknown"], "b"));
    }
}
