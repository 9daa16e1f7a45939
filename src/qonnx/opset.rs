//! A newer opset for the lowered copy.
//!
//! Quantisers need `Where` (opset 9) and `Round` (opset 11); Brevitas' first exports are of opset 9.
//! What an operator means in opset 11 is what it meant before, but for a few: those are written
//! anew, or named.

use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, NodeId};
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{DataType, Tensor, is_default_domain};
use crate::operators::versions::since;
use crate::qonnx::LowerError;

/// The oldest opset with every operator that a quantiser is written with.
pub(super) const NEEDED: i64 = 11;

/// Operators that took on other types, negative axes or further attributes by opset 11, and nothing
/// else: a node of an older opset means the same.
const WIDENED: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Compress",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Dropout",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "Greater",
    "Hardmax",
    "If",
    "Less",
    "LogSoftmax",
    "Loop",
    "LpPool",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "OneHot",
    "PRelu",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sum",
    "Unsqueeze",
];

/// A copy in opset [`NEEDED`] that computes the same.
///
/// # Errors
/// [`LowerError::Opset`] with the first operator that means something else there.
pub(super) fn raised(model: &ModelProto) -> Result<ModelProto, LowerError> {
    let graph = Graph::new(model)?;
    let old = graph.opset();
    let mut moved = Vec::new();
    for i in 0..graph.node_count() {
        let (node, label) = (graph.node(NodeId(i)), graph.label(NodeId(i)));
        match change(node.proto(), old) {
            Change::None => {}
            Change::Inputs => moved.push(i),
            Change::Other => return Err(refused(old, node.proto(), label)),
        }
        let bodies = node.proto().attribute.iter();
        for g in bodies.flat_map(|a| a.g.iter().chain(&a.graphs)) {
            inner(&g.node, old, label)?;
        }
    }
    let mut out = model.clone();
    for import in &mut out.opset_import {
        if is_default_domain(import.domain()) {
            import.version = Some(NEEDED);
        }
    }
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    out.graph
        .iter_mut()
        .for_each(|g| without_spatial(&mut g.node));
    let mut editor = Editor::new(&mut out);
    for i in 0..graph.node_count() {
        editor.remove_attribute_of(i, "BatchNormalization", "spatial");
    }
    if !moved.is_empty() {
        let facts = Facts::lean(&graph, 1)?;
        for i in moved {
            to_inputs(&graph, &facts, &mut editor, i);
        }
    }
    editor.remove_unused(&was_used);
    Ok(out)
}

fn refused(opset: i64, node: &NodeProto, label: &str) -> LowerError {
    LowerError::Opset {
        opset,
        node: label.to_owned(),
        op: node.op_type().to_owned(),
    }
}

/// Subgraphs stay as they are.
fn inner(nodes: &[NodeProto], old: i64, label: &str) -> Result<(), LowerError> {
    for node in nodes {
        if !matches!(change(node, old), Change::None) {
            return Err(refused(old, node, label));
        }
        let bodies = node.attribute.iter();
        for g in bodies.flat_map(|a| a.g.iter().chain(&a.graphs)) {
            inner(&g.node, old, label)?;
        }
    }
    Ok(())
}

/// What becomes of a node.
enum Change {
    /// It means the same.
    None,
    /// Its attributes become inputs.
    Inputs,
    /// Something else.
    Other,
}

fn change(node: &NodeProto, old: i64) -> Change {
    let op = node.op_type();
    if !is_default_domain(node.domain()) || since(op, old) == since(op, NEEDED) {
        return Change::None;
    }
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name() == name);
    match op {
        // Statistics of each position were an option.
        "BatchNormalization" if attribute("spatial").and_then(|a| a.i) == Some(0) => Change::Other,
        // The first versions did not broadcast, nor take more than one type.
        op if WIDENED.contains(&op) => Change::None,
        "Clip" | "Pad" => Change::Inputs,
        "Slice" if old < 10 => Change::Inputs,
        "Slice" => Change::None,
        "TopK" if old >= 10 => Change::None,
        _ => Change::Other,
    }
}

/// Takes an attribute that every position has alike from the nodes of subgraphs.
fn without_spatial(nodes: &mut [NodeProto]) {
    for node in nodes {
        let bodies = node.attribute.iter_mut();
        for g in bodies.flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
            for inner in &mut g.node {
                if inner.op_type() == "BatchNormalization" && is_default_domain(inner.domain()) {
                    inner.attribute.retain(|a| a.name() != "spatial");
                }
            }
            without_spatial(&mut g.node);
        }
    }
}

/// `Clip`, `Pad` and `Slice` with inputs in place of their attributes.
fn to_inputs(graph: &Graph<'_>, facts: &Facts, editor: &mut Editor<'_>, i: usize) {
    let node = graph.node(NodeId(i));
    let label = graph.label(NodeId(i)).to_owned();
    // Numbers have the type of what they go with.
    let kind = graph.input_of(NodeId(i), 0).and_then(|t| facts.element(t));
    let kind = kind.and_then(DataType::from_onnx).unwrap_or(DataType::F32);
    let number = |v: f32| Tensor::of(kind, &ndarray::arr0(f64::from(v)).into_dyn());
    let list = |v: &[i64]| Tensor::I64(ndarray::Array1::from(v.to_vec()).into_dyn());
    let wanted: Vec<(&str, Option<Tensor>)> = match node.op() {
        "Clip" => vec![
            (
                "min",
                node.has("min").then(|| number(node.float("min", 0.0))),
            ),
            (
                "max",
                node.has("max").then(|| number(node.float("max", 0.0))),
            ),
        ],
        "Pad" => vec![
            ("pads", node.ints("pads").map(list)),
            ("value", Some(number(node.float("value", 0.0)))),
        ],
        _ => vec![
            ("starts", node.ints("starts").map(list)),
            ("ends", node.ints("ends").map(list)),
            ("axes", node.ints("axes").map(list)),
        ],
    };
    for (k, (name, value)) in wanted.into_iter().enumerate() {
        editor.remove_attribute(i, name);
        if let Some(value) = value {
            let tensor = editor.add_initializer(&format!("{label}.{name}"), &value);
            editor.set_input(i, k + 1, &tensor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{
        AttributeProto, GraphProto, OperatorSetIdProto, TypeProto, ValueInfoProto, type_proto,
    };

    fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        }
    }

    fn value(name: &str, kind: DataType) -> ValueInfoProto {
        let shape = [1, 2].map(|n| crate::onnx::proto::tensor_shape_proto::Dimension {
            value: Some(crate::onnx::proto::tensor_shape_proto::dimension::Value::DimValue(n)),
            ..Default::default()
        });
        ValueInfoProto {
            name: Some(name.to_owned()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(kind.to_onnx()),
                    shape: Some(crate::onnx::proto::TensorShapeProto { dim: shape.into() }),
                })),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        }
    }

    fn model(nodes: Vec<NodeProto>, kind: DataType) -> ModelProto {
        let last = nodes.last().unwrap().output[0].clone();
        ModelProto {
            ir_version: Some(4),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(9),
            }],
            graph: Some(GraphProto {
                node: nodes,
                input: vec![value("x", kind)],
                output: vec![value(&last, kind)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    fn float(name: &str, v: f32) -> AttributeProto {
        AttributeProto {
            name: Some(name.to_owned()),
            f: Some(v),
            r#type: Some(1),
            ..AttributeProto::default()
        }
    }

    #[test]
    fn bounds_have_the_type_of_what_they_bound() {
        for kind in [DataType::F32, DataType::F16, DataType::F64] {
            let pads = AttributeProto {
                name: Some("pads".to_owned()),
                ints: vec![0, 1, 0, 1],
                r#type: Some(7),
                ..AttributeProto::default()
            };
            let clip = node(
                "Clip",
                &["x"],
                "c",
                vec![float("min", -1.5), float("max", 1.5)],
            );
            let pad = node("Pad", &["c"], "y", vec![pads, float("value", 0.5)]);
            let newer = raised(&model(vec![clip, pad], kind)).unwrap();
            let graph = newer.graph.unwrap();
            let of = |n: &str| graph.initializer.iter().find(|t| t.name() == n).unwrap();
            let numbers = [
                &graph.node[0].input[1],
                &graph.node[0].input[2],
                &graph.node[1].input[2],
            ];
            for (name, wanted) in numbers.into_iter().zip([-1.5, 1.5, 0.5]) {
                let tensor = Tensor::from_proto(of(name)).unwrap();
                assert_eq!(tensor.data_type(), kind, "{name}");
                assert_eq!(tensor.scalar_f32(), Some(wanted));
            }
        }
    }

    #[test]
    fn what_is_gone_is_gone_in_subgraphs_too() {
        let spatial = AttributeProto {
            name: Some("spatial".to_owned()),
            i: Some(1),
            r#type: Some(2),
            ..AttributeProto::default()
        };
        let inputs = ["x", "s", "b", "m", "v"];
        let inner = node("BatchNormalization", &inputs, "n", vec![spatial]);
        let body = GraphProto {
            node: vec![inner],
            output: vec![value("n", DataType::F32)],
            ..GraphProto::default()
        };
        let branch = |name: &str| AttributeProto {
            name: Some(name.to_owned()),
            g: Some(body.clone()),
            r#type: Some(5),
            ..AttributeProto::default()
        };
        let both = vec![branch("then_branch"), branch("else_branch")];
        let mut old = model(vec![node("If", &["go"], "y", both)], DataType::F32);
        let numbers = Tensor::F32(ndarray::arr1(&[1.0, 1.0]).into_dyn());
        let graph = old.graph.as_mut().unwrap();
        graph.initializer = ["s", "b", "m", "v"].map(|n| numbers.to_proto(n)).into();
        let go = Tensor::Bool(ndarray::arr0(true).into_dyn());
        graph.initializer.push(go.to_proto("go"));
        let newer = raised(&old).unwrap();
        for a in &newer.graph.unwrap().node[0].attribute {
            assert!(a.g.as_ref().unwrap().node[0].attribute.is_empty());
        }
    }
}
