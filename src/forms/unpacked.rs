//! Packed weights as floats again, under their own names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::packed::{ABOUT, bits_of};
use super::{Computed, FormError, is_float32, values_of, with_weights};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::proto::ModelProto;
use crate::onnx::{DataType, Tensor};
use crate::recognize::{self, Layer};

/// Nodes between packed bytes and the weight that are looked at: a dozen is plenty.
const MOST_NODES: usize = 32;

/// Whether some layer's weights are packed: ±s that the file looks up by its bytes. What is looked up so
/// and is no ±s, weights of four bits or of three values, stays as the file has it.
pub fn is_packed(model: &ModelProto) -> bool {
    !packed_layers(model).is_empty()
}

/// The layers whose weights are packed.
pub fn packed_layers(model: &ModelProto) -> Vec<String> {
    by_state(model).0
}

/// Whether nothing is left in a packed file that could be packed too.
pub(super) fn is_packed_whole(model: &ModelProto) -> bool {
    let (packed, others) = by_state(model);
    !packed.is_empty() && others.is_empty()
}

/// Layers whose weights are packed, and those whose weights could be; neither where the file has no
/// packed ones.
fn by_state(model: &ModelProto) -> (Vec<String>, Vec<String>) {
    if !may_be(model) {
        return Default::default();
    }
    let found = each_layer(model, |graph, facts, layer| {
        let packed = of_bytes(graph, facts, layer.weight);
        is_bits(graph, facts, layer).then(|| (packed, layer.name.clone()))
    });
    let (packed, others): (Vec<_>, Vec<_>) = found
        .unwrap_or_default()
        .into_iter()
        .partition(|(packed, _)| *packed);
    let names = |list: Vec<(bool, String)>| list.into_iter().map(|(_, name)| name).collect();
    (names(packed), names(others))
}

/// What `look` finds of a model's layers.
fn each_layer<T>(
    model: &ModelProto,
    mut look: impl FnMut(&Graph<'_>, &Facts, &Layer) -> Option<T>,
) -> Result<Vec<T>, FormError> {
    let graph = Graph::new(model)?;
    let facts = Facts::lean(&graph, 1)?;
    let layers = recognize::layers(&graph, &facts);
    Ok(layers
        .iter()
        .filter_map(|layer| look(&graph, &facts, layer))
        .collect())
}

/// Whether one bit says each of a layer's weights.
fn is_bits(graph: &Graph<'_>, facts: &Facts, layer: &Layer) -> bool {
    bits_of(graph, facts, layer, &Computed::new()).is_ok()
}

/// A look at the file that costs nothing.
fn may_be(model: &ModelProto) -> bool {
    let byte = [DataType::U8, DataType::I8].map(DataType::to_onnx);
    model.graph.as_ref().is_some_and(|g| {
        let mut tensors = g.initializer.iter();
        g.node.iter().any(|n| n.op_type() == "Gather")
            && tensors.any(|t| byte.contains(&t.data_type()))
    })
}

/// The model with packed weights written as floats, each under the name that it has; the model itself
/// where it has none.
///
/// # Errors
/// If the graph is invalid.
pub fn unpack(model: &ModelProto) -> Result<Cow<'_, ModelProto>, FormError> {
    if !may_be(model) {
        return Ok(Cow::Borrowed(model));
    }
    let mut known = BTreeSet::new();
    let found = each_layer(model, |graph, facts, layer| {
        let name = graph.name(layer.weight);
        let packed = of_bytes(graph, facts, layer.weight) && is_bits(graph, facts, layer);
        let value = facts.constant(layer.weight).filter(|_| packed)?;
        let first = known.insert(name.to_owned());
        first.then(|| (name.to_owned(), value.clone()))
    })?;
    if found.is_empty() {
        return Ok(Cow::Borrowed(model));
    }
    let mut out = with_weights(model, found);
    let text = out.doc_string().replace(ABOUT, "");
    out.doc_string = Some(text.trim_end().to_owned()).filter(|t| !t.is_empty());
    Ok(Cow::Owned(out))
}

/// Whether some binary layer's weights are computed by nodes of the model, of its latents perhaps.
pub(super) fn computes_weights(model: &ModelProto) -> bool {
    let found = each_layer(model, |graph, facts, layer| {
        is_computed(graph, facts, layer).then_some(())
    });
    found.is_ok_and(|found| !found.is_empty())
}

/// The model with the weights of binary layers that its nodes compute written as what they compute, each under the name
/// that it has; and which layers these are.
///
/// # Errors
/// If the graph is invalid.
pub(super) fn evaluated(
    model: ModelProto,
    computed: &Computed,
) -> Result<(ModelProto, Vec<String>), FormError> {
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    let changed = each_layer(&model, |graph, facts, layer| {
        if !is_computed(graph, facts, layer) {
            return None;
        }
        let name = graph.name(layer.weight);
        if known.insert(name.to_owned()) {
            let values = values_of(graph, layer, computed).clone();
            found.push((name.to_owned(), Tensor::F32(values)));
        }
        Some(layer.name.clone())
    })?;
    Ok(match found.is_empty() {
        true => (model, changed),
        false => (with_weights(&model, found), changed),
    })
}

/// Whether nodes compute a binary layer's weights. One that is only handed on is held already, and what bytes select in
/// a table stays there where it is not packed.
fn is_computed(graph: &Graph<'_>, facts: &Facts, layer: &Layer) -> bool {
    let producer = graph.producer(layer.weight);
    layer.is_binary()
        && is_float32(facts, layer.weight)
        && producer.is_some_and(|n| !matches!(graph.node(n).op(), "Constant" | "Identity"))
        && !of_bytes(graph, facts, layer.weight)
}

/// Whether a constant is computed from what bytes of the file select in a table.
fn of_bytes(graph: &Graph<'_>, facts: &Facts, weight: TensorId) -> bool {
    let mut open = vec![weight];
    for _ in 0..MOST_NODES {
        let Some(t) = open.pop() else {
            return false;
        };
        let Some(n) = graph.producer(t) else { continue };
        if facts.is_data(t) {
            return false;
        }
        match graph.node(n).op() {
            "Gather" => {
                if graph.input_of(n, 1).is_some_and(|i| bytes(graph, i)) {
                    return true;
                }
            }
            _ => open.extend(graph.inputs_of(n).into_iter().flatten()),
        }
    }
    false
}

/// Whether a tensor is an initializer of bytes, seen through `Cast` and the like.
fn bytes(graph: &Graph<'_>, mut t: TensorId) -> bool {
    for _ in 0..MOST_NODES {
        if let Some(held) = graph.initializer(t) {
            let byte = [DataType::U8, DataType::I8].map(DataType::to_onnx);
            return byte.contains(&held.data_type());
        }
        let before = graph.producer(t).filter(|&n| {
            matches!(
                graph.node(n).op(),
                "Cast" | "Identity" | "Reshape" | "Flatten"
            )
        });
        match before.and_then(|n| graph.input_of(n, 0)) {
            Some(input) => t = input,
            None => return false,
        }
    }
    false
}
