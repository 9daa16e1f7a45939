//! A newer opset for the lowered copy.
//!
//! Quantisers need `Where` (opset 9) and `Round` (opset 11); Brevitas' first exports are of opset 9.
//! What an operator means in opset 11 is what it meant before, but for a few: those are written
//! anew, or named.

use crate::check::operators::since;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Graph, NodeId};
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{Tensor, is_default_domain};
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
    let mut editor = Editor::new(&mut out);
    for i in 0..graph.node_count() {
        editor.remove_attribute_of(i, "BatchNormalization", "spatial");
    }
    for i in moved {
        to_inputs(&graph, &mut editor, i);
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

/// `Clip`, `Pad` and `Slice` with inputs in place of their attributes.
fn to_inputs(graph: &Graph<'_>, editor: &mut Editor<'_>, i: usize) {
    let node = graph.node(NodeId(i));
    let label = graph.label(NodeId(i)).to_owned();
    let number = |v: f32| Tensor::F32(ndarray::arr0(v).into_dyn());
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
