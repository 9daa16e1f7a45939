//! The model with operators in the place of binary layers.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::bits::Bits;
use super::layer::Binary;
use super::{DOMAIN, VERSION};
use crate::forms::Shaped;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph};
use crate::onnx::Tensor;
use crate::onnx::proto::{AttributeProto, NodeProto, OperatorSetIdProto};
use crate::recognize::Layer;

/// What a file says of itself.
const ABOUT: &str = "Binary layers are operators of the domain onnx-bnnprune/docs/operators.md, which ONNX Runtime has from a library: docs/operators.md and docs/deployment.md of onnx-bnnprune say how to load it.";

pub(super) fn write(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Shaped {
    let mut shaped = Shaped {
        model: graph.model().clone(),
        ..Shaped::default()
    };
    let mut binary = Vec::new();
    for layer in layers {
        match Binary::of(graph, facts, layer) {
            Ok(layer) => binary.push(layer),
            Err(why) => {
                shaped.left.insert(layer.name.clone(), why.to_owned());
            }
        }
    }
    let was_used = shaped
        .model
        .graph
        .as_ref()
        .map(used_names)
        .unwrap_or_default();
    let mut edited = shaped.model.clone();
    let mut bits = Bits::new(graph, facts, binary, Editor::new(&mut edited));
    let order: Vec<(usize, String)> = bits
        .layers
        .iter()
        .map(|l| l.layer.name.clone())
        .enumerate()
        .collect();
    for (layer, name) in &order {
        match bits.input_of(*layer) {
            Ok(_) => shaped.changed.push(name.clone()),
            Err(why) => {
                shaped.left.insert(name.clone(), why.to_owned());
            }
        }
    }
    for (layer, _) in order {
        sums(&mut bits, layer);
    }
    let Bits {
        nodes, replaced, ..
    } = bits;
    let mut behind: BTreeMap<usize, Vec<NodeProto>> = BTreeMap::new();
    for (at, made) in nodes {
        behind.entry(at.0).or_default().push(made);
    }
    let gone = replaced.iter().map(|n| n.0).collect();
    let mut editor = Editor::new(&mut edited);
    editor.replace_nodes(&gone, behind);
    editor.remove_unused(&was_used);
    edited.opset_import.push(OperatorSetIdProto {
        domain: Some(DOMAIN.to_owned()),
        version: Some(VERSION),
    });
    edited.doc_string = Some(match edited.doc_string().trim_end() {
        "" => ABOUT.to_owned(),
        said => format!("{said}\n{ABOUT}"),
    });
    shaped.model = edited;
    shaped
}

/// The operator of a layer whose sums, or what is made of them, are wanted as floats.
fn sums(bits: &mut Bits<'_, '_>, layer: usize) -> Option<()> {
    if bits.signed.contains(&layer) {
        return None;
    }
    let input = bits.input_of(layer).ok()?;
    let chain = bits.chains.get(layer)?;
    let (last, residual) = (chain.last, chain.residual);
    let mut outputs = vec![bits.graph.name(chain.result).to_owned()];
    outputs.extend(bits.signs.get(&layer).cloned());
    let numbers = chain.numbers();
    let filters = numbers.len() / 4;
    let numbers = Array2::from_shape_vec((4, filters), numbers).ok()?;
    let wish = format!("{}.scales", bits.layers.get(layer)?.layer.name);
    let numbers = bits
        .editor
        .add_initializer(&wish, &Tensor::F32(numbers.into_dyn()));
    let mut made = bits.layer(layer, false, &input, numbers, outputs)?;
    made.input
        .extend(residual.map(|t| bits.graph.name(t).to_owned()));
    bits.nodes.push((last, made));
    bits.replaced.insert(last);
    Some(())
}

/// A node of the domain.
pub(super) fn node(
    operator: &str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    let name = outputs.first().map(|o| format!("{o}/{operator}"));
    NodeProto {
        name,
        output: outputs,
        attribute: attributes,
        ..NodeProto::of(operator, inputs, "").in_domain(DOMAIN)
    }
}

/// An attribute that is a number.
pub(super) fn number(name: &str, value: impl TryInto<i64>) -> AttributeProto {
    AttributeProto::int(name, value.try_into().unwrap_or(i64::MAX))
}
