//! `qonnx`: weights and activations of one bit as `BipolarQuant`, which FPGA tools read.

use super::{Computed, FormError, OutputForm, ROUNDED, Shaped, is_float32, unpack, values_of};
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::Tensor;
use crate::onnx::proto::{ModelProto, NodeProto, OperatorSetIdProto};
use crate::qonnx::{self, BIPOLAR_DOMAIN, signs_and_scale};
use crate::recognize::{self, Binarizer, binarizer_of};
use ndarray::{ArrayD, arr0};

#[derive(Debug)]
pub(super) struct Quantised;

impl OutputForm for Quantised {
    fn name(&self) -> &'static str {
        "qonnx"
    }

    fn about(&self) -> &'static str {
        "QONNX: ±1 weights and binarisers as BipolarQuant, for FINN and hls4ml"
    }

    fn is_of(&self, model: &ModelProto) -> bool {
        qonnx::is_qonnx(model)
    }

    fn idle(&self, model: &ModelProto) -> Option<String> {
        self.is_of(model)
            .then(|| "is QONNX already, and stays so".to_owned())
    }

    fn is_qonnx(&self) -> bool {
        true
    }

    fn write(&self, model: &ModelProto, computed: &Computed) -> Result<Shaped, FormError> {
        let model = &*unpack(model)?;
        let graph = Graph::new(model)?;
        let facts = Facts::lean(&graph, 1)?;
        let mut shaped = Shaped::default();
        let weights = weights(&graph, &facts, computed, &mut shaped);
        let activations = activations(&graph, &facts, &mut shaped);
        if weights.is_empty() && activations.is_empty() {
            return Err(FormError::nothing(self.name(), &shaped.left));
        }
        shaped.model = model.clone();
        apply(&mut shaped.model, weights, activations);
        Ok(shaped)
    }
}

/// A weight: its name, signs and scale.
type Weight = (String, ArrayD<f32>, ArrayD<f32>);
/// A binariser: what it reads, what it writes, and its scale.
type Activation = (String, String, f32);

/// Weights of ±s, s one for all or one for each filter, that are not quantised in the file.
fn weights(
    graph: &Graph<'_>,
    facts: &Facts,
    computed: &Computed,
    shaped: &mut Shaped,
) -> Vec<Weight> {
    let mut found: Vec<Weight> = Vec::new();
    for layer in recognize::layers(graph, facts) {
        let name = graph.name(layer.weight);
        if found.iter().any(|(known, ..)| known == name) {
            shaped.changed.push(layer.name);
            continue;
        }
        let value = values_of(graph, &layer, computed);
        let split = signs_and_scale(value, layer.filter_axis);
        match (&layer.binary_weights, split) {
            (Some(_), _) if !is_float32(facts, layer.weight) => {
                let why = "only weights in float32 become BipolarQuant";
                shaped.left.insert(layer.name, why.to_owned());
            }
            (None, _) => {
                let why = layer.why_not_binary().unwrap_or("its weights are not ±1");
                shaped.left.insert(layer.name, why.to_owned());
            }
            (Some(_), None) => {
                let why = match value.iter().any(|w| *w == 0.0) {
                    true => "some of its weights are 0",
                    false => ROUNDED,
                };
                shaped.left.insert(layer.name, why.to_owned());
            }
            (Some(_), Some((signs, scale))) => {
                found.push((name.to_owned(), signs, scale));
                shaped.changed.push(layer.name);
            }
        }
    }
    found
}

/// Binarisers that give what `BipolarQuant` gives, at 0 too.
fn activations(graph: &Graph<'_>, facts: &Facts, shaped: &mut Shaped) -> Vec<Activation> {
    let mut found: Vec<Activation> = Vec::new();
    let mut inside: Vec<TensorId> = Vec::new();
    let written = graph.order().iter().rev();
    // From the back: a form of several nodes holds others.
    for t in written.filter_map(|&n| graph.output_of(n, 0)) {
        if inside.contains(&t) || !facts.is_data(t) {
            continue;
        }
        let Some(b) = binarizer_of(graph, facts, t).filter(|b| b.output == t && b.is_signed())
        else {
            continue;
        };
        inside.extend(between(graph, t, b.input));
        let name = graph.name(t).to_owned();
        let floats = is_float32(facts, b.input) && is_float32(facts, t);
        let why = match floats {
            true => why_not(&b),
            false => Some("only binarisers in float32 become BipolarQuant"),
        };
        match why {
            None => found.push((graph.name(b.input).to_owned(), name, b.scale())),
            Some(why) => {
                shaped.left.insert(name, why.to_owned());
            }
        }
    }
    found.reverse();
    found
}

/// Why `BipolarQuant` gives something else.
fn why_not(b: &Binarizer) -> Option<&'static str> {
    let s = b.scale();
    if b.values == [-s, 0.0, s] {
        return Some("the binariser gives 0 at 0, where BipolarQuant gives +1");
    }
    if b.values != [-s, s, s] {
        return Some("the binariser does not give +1 from 0 on, as BipolarQuant does");
    }
    let plain = b.threshold.iter().all(|&t| t == 0.0);
    (!plain).then_some("the binariser compares with a threshold other than 0")
}

/// Tensors between `from` and what `to` is computed of.
fn between(graph: &Graph<'_>, to: TensorId, from: TensorId) -> Vec<TensorId> {
    let mut seen = Vec::new();
    let mut open = vec![to];
    while let Some(t) = open.pop() {
        if t == from || seen.contains(&t) || seen.len() > 64 {
            continue;
        }
        seen.push(t);
        if let Some(n) = graph.producer(t) {
            open.extend(graph.inputs_of(n).into_iter().flatten());
        }
    }
    seen
}

fn apply(model: &mut ModelProto, weights: Vec<Weight>, activations: Vec<Activation>) {
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let imported = model
        .opset_import
        .iter()
        .any(|o| o.domain() == BIPOLAR_DOMAIN);
    if !imported {
        model.opset_import.push(OperatorSetIdProto {
            domain: Some(BIPOLAR_DOMAIN.to_owned()),
            version: Some(1),
        });
    }
    let mut editor = Editor::new(model);
    for (input, output, scale) in activations {
        let scale = Tensor::F32(arr0(scale).into_dyn());
        let scale = editor.add_initializer(&format!("{output}.scale"), &scale);
        editor.replace_producer(&output, bipolar(input, scale, &output));
    }
    for (name, signs, scale) in weights.into_iter().rev() {
        editor.remove_source(&name);
        let signs = editor.add_initializer(&format!("{name}.signs"), &Tensor::F32(signs));
        let scale = editor.add_initializer(&format!("{name}.scale"), &Tensor::F32(scale));
        editor.insert_node(0, bipolar(signs, scale, &name));
    }
    editor.remove_unused(&was_used);
}

fn bipolar(input: String, scale: String, output: &str) -> NodeProto {
    NodeProto::of("BipolarQuant", [input, scale], output)
        .in_domain(BIPOLAR_DOMAIN)
        .named(format!("{output}.bipolar"))
}
