//! `packed`: standard ONNX with one bit a weight.
//!
//! Each weight of ±s becomes bytes, which select rows of a table of ±1 that all layers share, and a
//! scale: `Cast → Gather → Reshape (→ Slice → Reshape) (→ Mul)`. A runtime computes that once, at load,
//! and runs what it always ran. The last node writes the tensor that was the weight, so nothing else
//! in the graph changes.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use ndarray::{Array1, IxDyn};

use super::bits::{Bits, LEAST_WEIGHTS};
use super::unpacked::is_packed_whole;
use super::{
    Computed, FormError, OutputForm, ROUNDED, Shaped, is_float32, is_packed, unpack, values_of,
};
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::proto::{
    GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::onnx::{DataType, Tensor};
use crate::qonnx;
use crate::recognize::{self, Layer};

/// `Slice` takes its bounds as inputs from 10 on, `Gather` indices below 0 from 11 on: readers of
/// older opsets are not tested.
const NEEDED: i64 = 11;

/// What the file says of itself.
pub(super) const ABOUT: &str = "Weights of one bit each: NAME.bits holds eight signs a byte, the first in the least significant bit, 1 for +1 and 0 for -1, in the order of the tensor NAME. Cast, Gather in the table of ±1, Reshape (Slice) and Mul by NAME.scale make NAME of it; runtimes do so once, at load.";

/// Name of the table that bytes select rows of.
const TABLE: &str = "bits_of_byte";

#[derive(Debug)]
pub(super) struct Packed;

impl OutputForm for Packed {
    fn name(&self) -> &'static str {
        "packed"
    }

    fn about(&self) -> &'static str {
        "Standard ONNX with weights of one bit each, which runtimes unpack at load"
    }

    fn is_of(&self, model: &ModelProto) -> bool {
        is_packed(model) && !qonnx::is_qonnx(model)
    }

    fn idle(&self, model: &ModelProto) -> Option<String> {
        (self.is_of(model) && is_packed_whole(model))
            .then(|| "is packed already, and stays so".to_owned())
    }

    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
        pack(model, computed)
    }
}

/// The model in standard operators and with weights as floats: what is packed.
fn plain(model: &ModelProto) -> Result<Cow<'_, ModelProto>, FormError> {
    let lowered = qonnx::lower(model)?.model;
    Ok(match lowered {
        Cow::Borrowed(model) => unpack(model)?,
        Cow::Owned(model) => Cow::Owned(unpack(&model)?.into_owned()),
    })
}

/// A weight that is packed.
struct Plan {
    name: String,
    bits: Bits,
}

/// Packs every weight of ±s, also one that the file computes (of latents, or by a quantiser): what
/// counts is its value. Weights with zeros among others, of more values, or few, stay as they are.
///
/// # Errors
/// If nothing can be packed, in opsets below 11, and for quantisers without a form in standard
/// operators.
pub fn pack(model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
    let model = &*plain(model)?;
    let graph = Graph::new(model)?;
    if graph.opset() < NEEDED {
        return Err(FormError::Opset {
            form: Packed.name(),
            opset: graph.opset(),
            needed: NEEDED,
        });
    }
    let facts = Facts::lean(&graph, 1)?;
    let mut shaped = Shaped::default();
    let mut plans: Vec<Plan> = Vec::new();
    for layer in recognize::layers(&graph, &facts) {
        let name = graph.name(layer.weight);
        // Shared weights are packed once.
        let planned = match plans.iter().any(|p| p.name == name) {
            true => Ok(None),
            false => bits_of(&graph, &facts, &layer, computed).map(Some),
        };
        match planned {
            Ok(bits) => {
                plans.extend(bits.map(|bits| Plan {
                    name: name.to_owned(),
                    bits,
                }));
                shaped.changed.push(layer.name);
            }
            Err(why) => {
                shaped.left.insert(layer.name, why.to_owned());
            }
        }
    }
    if plans.is_empty() {
        return Err(FormError::nothing(Packed.name(), &shaped.left));
    }
    shaped.model = model.clone();
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    write(&mut shaped.model, &plans, &was_used);
    let said = shaped.model.doc_string().trim_end();
    shaped.model.doc_string = Some(match said {
        "" => ABOUT.to_owned(),
        said => format!("{said}\n{ABOUT}"),
    });
    Ok(shaped)
}

/// A layer's weights as bits, or why they are none.
pub(super) fn bits_of(
    graph: &Graph<'_>,
    facts: &Facts,
    layer: &Layer,
    computed: &Computed,
) -> Result<Bits, &'static str> {
    if !is_float32(facts, layer.weight) {
        return Err("only weights in float32 are packed");
    }
    let values = values_of(graph, layer, computed);
    Bits::of(values, layer.filter_axis).map_err(|why| match layer.binary_weights {
        Some(_) if values.len() >= LEAST_WEIGHTS && values.iter().all(|w| *w != 0.0) => ROUNDED,
        _ => why,
    })
}

fn write(model: &mut ModelProto, plans: &[Plan], was_used: &HashSet<String>) {
    let mut editor = Editor::new(model);
    let rows = Array1::from_iter((0..256 * 8).map(|k| {
        let (byte, bit) = (k / 8, k % 8);
        if (byte >> bit) & 1 == 1 { 1i8 } else { -1 }
    }));
    let rows = rows.into_dyn().into_shape_with_order(IxDyn(&[256, 8]));
    // 2048 elements are 256 × 8.
    let rows = Tensor::I8(rows.unwrap_or_default());
    let rows = editor.add_initializer(&format!("{TABLE}.int8"), &rows);
    let table = editor.fresh_name(TABLE);
    let mut nodes = vec![NodeProto::cast(&rows, &table, DataType::F32).named_as_output()];
    for plan in plans {
        // The name is free for the last node that is written.
        editor.remove_source(&plan.name);
        nodes.extend(unpacking(&mut editor, plan, &table));
    }
    for node in nodes.into_iter().rev() {
        editor.insert_node(0, node);
    }
    editor.remove_unused(was_used);
}

/// The nodes that make a weight of its bits.
fn unpacking(editor: &mut Editor<'_>, plan: &Plan, table: &str) -> Vec<NodeProto> {
    let Plan { name, bits } = plan;
    let bytes = Tensor::U8(Array1::from(bits.bytes.clone()).into_dyn());
    let bytes = editor.add_initializer(&format!("{name}.bits"), &bytes);
    let indices = editor.fresh_name(&format!("{name}.indices"));
    let rows = editor.fresh_name(&format!("{name}.rows"));
    let mut nodes = vec![
        NodeProto::cast(&bytes, &indices, DataType::I32).named_as_output(),
        node("Gather", &[table, &indices], &rows),
    ];
    let mut last = rows;
    if !bits.count().is_multiple_of(8) {
        let flat = editor.add_initializer(&format!("{name}.flat"), &list(&[-1]));
        let from = editor.add_initializer(&format!("{name}.from"), &list(&[0]));
        let count = i64::try_from(bits.count()).unwrap_or(i64::MAX);
        let to = editor.add_initializer(&format!("{name}.count"), &list(&[count]));
        let all = editor.fresh_name(&format!("{name}.all"));
        let some = editor.fresh_name(&format!("{name}.used"));
        nodes.push(node("Reshape", &[&last, &flat], &all));
        nodes.push(node("Slice", &[&all, &from, &to], &some));
        last = some;
    }
    let dims: Vec<i64> = bits.shape.iter().map(|&d| d as i64).collect();
    let shape = editor.add_initializer(&format!("{name}.shape"), &list(&dims));
    match &bits.scale {
        None => nodes.push(node("Reshape", &[&last, &shape], name)),
        Some(scale) => {
            let signs = editor.fresh_name(&format!("{name}.signs"));
            let scale = Tensor::F32(scale.clone());
            let scale = editor.add_initializer(&format!("{name}.scale"), &scale);
            nodes.push(node("Reshape", &[&last, &shape], &signs));
            nodes.push(node("Mul", &[&signs, &scale], name));
        }
    }
    nodes
}

fn list(values: &[i64]) -> Tensor {
    Tensor::I64(Array1::from(values.to_vec()).into_dyn())
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto::of(op, inputs.iter().copied(), output).named_as_output()
}

/// A model without inputs that computes the weights which `model` computes, as its outputs; `None`
/// where it computes none. What a runtime gives for it is what it would use.
pub fn computed_weights(model: &ModelProto) -> Option<ModelProto> {
    let model = &*plain(model).ok()?;
    let graph = Graph::new(model).ok()?;
    let facts = Facts::lean(&graph, 1).ok()?;
    let layers = recognize::layers(&graph, &facts);
    let float = Some(DataType::F32.to_onnx());
    let weights: BTreeSet<TensorId> = layers.iter().map(|l| l.weight).collect();
    let weights = weights.into_iter();
    let weights: Vec<TensorId> = weights
        .filter(|&t| graph.producer(t).is_some() && facts.element(t) == float)
        .collect();
    if weights.is_empty() {
        return None;
    }
    let mut needed = BTreeSet::new();
    let mut open = weights.clone();
    while let Some(t) = open.pop() {
        if let Some(n) = graph.producer(t)
            && needed.insert(n.0)
        {
            open.extend(graph.inputs_of(n).into_iter().flatten());
            open.extend(graph.captured_by(n));
        }
    }
    let main = model.graph.as_ref()?;
    let mut apart = GraphProto {
        name: main.name.clone(),
        node: needed
            .iter()
            .filter_map(|&i| main.node.get(i).cloned())
            .collect(),
        output: weights
            .iter()
            .map(|&t| ValueInfoProto {
                name: Some(graph.name(t).to_owned()),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                        elem_type: float,
                        shape: None,
                    })),
                    ..TypeProto::default()
                }),
                ..ValueInfoProto::default()
            })
            .collect(),
        ..GraphProto::default()
    };
    let read = used_names(&apart);
    let held = main.initializer.iter().filter(|t| read.contains(t.name()));
    apart.initializer = held.cloned().collect();
    let sparse = main.sparse_initializer.iter();
    let sparse = sparse.filter(|s| s.values.as_ref().is_some_and(|v| read.contains(v.name())));
    apart.sparse_initializer = sparse.cloned().collect();
    Some(ModelProto {
        graph: Some(apart),
        ..ModelProto {
            graph: None,
            ..model.clone()
        }
    })
}
