//! QONNX files: lowered to standard operators for runtimes, and weights put back into the
//! dialect's own form.
//!
//! A QONNX file stays one through the whole tool (FINN and hls4ml read it); ONNX Runtime has no
//! such operators, so what it is given is a lowered copy ([`lower`]). Names of tensors stay.

mod opset;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use ndarray::{ArrayD, Axis, IxDyn, arr0};
use thiserror::Error;

use crate::graph::edit::{Editor, used_names};
use crate::graph::{
    Facts, FactsError, Graph, GraphError, NodeId, Quantizer, TensorId, is_qonnx_domain,
};
use crate::onnx::Tensor;
use crate::onnx::proto::{ModelProto, NodeProto, OperatorSetIdProto};
use crate::recognize;
use opset::NEEDED;

/// Why a QONNX model cannot be lowered.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerError {
    /// The graph is invalid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Its shapes are not known.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// An operator that means something else in an opset with the operators that are needed.
    #[error(
        "node '{node}' ({op}): means something else in opset {NEEDED}, which lowering needs (the file uses {opset}); convert it with onnx.version_converter, or export it with opset {NEEDED} or newer"
    )]
    Opset {
        /// The file's.
        opset: i64,
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// A quantiser that standard operators are not written for.
    #[error(
        "node '{node}' ({op}): cannot be lowered to standard operators: only BipolarQuant, Quant of up to 24 bits and Trunc (of six inputs: with one scale), with constant bit widths and the rounding modes ROUND, CEIL and FLOOR, are supported"
    )]
    Unsupported {
        /// The node.
        node: String,
        /// Its operator, with the domain.
        op: String,
    },
}

/// The domain that `BipolarQuant` is written in, where a model has none in another one.
pub(crate) const BIPOLAR_DOMAIN: &str = "qonnx.custom_op.general";

/// The domain of a model's quantisers, old or new.
fn domain_of(model: &ModelProto) -> String {
    let mut nodes = model.graph.iter().flat_map(|g| &g.node);
    let found = nodes.find(|n| is_qonnx_domain(n.domain()));
    found.map_or(BIPOLAR_DOMAIN, |n| n.domain()).to_owned()
}

/// Whether a model holds QONNX's quantisers.
pub fn is_qonnx(model: &ModelProto) -> bool {
    let Ok(graph) = Graph::new(model) else {
        return false;
    };
    let found = |&n: &NodeId| graph.node(n).op().starts_with("qonnx.");
    graph.order().iter().any(found)
}

/// A model that runtimes can load.
#[derive(Debug, Clone)]
pub struct Lowered<'m> {
    /// The model itself if it is not QONNX.
    pub model: Cow<'m, ModelProto>,
    /// Tensors that were added between a quantiser's input and its output, and that output: they
    /// have the same channels.
    pub added: Vec<(String, String)>,
}

/// A copy with QONNX's quantisers written as standard operators, which compute the same numbers;
/// the model itself where it has none.
///
/// # Errors
/// If a quantiser has no such form.
pub fn lower(model: &ModelProto) -> Result<Lowered<'_>, LowerError> {
    if !is_qonnx(model) {
        return Ok(Lowered {
            model: Cow::Borrowed(model),
            added: Vec::new(),
        });
    }
    let graph = Graph::new(model)?;
    if graph.opset() < NEEDED {
        let newer = opset::raised(model)?;
        let lowered = lower(&newer)?;
        return Ok(Lowered {
            model: Cow::Owned(lowered.model.into_owned()),
            added: lowered.added,
        });
    }
    let facts = Facts::infer(&graph, 1)?;
    let mut lowered: Vec<(usize, Quantizer)> = Vec::new();
    let mut left = HashSet::new();
    for i in 0..graph.node_count() {
        let node = graph.node(NodeId(i));
        if !node.op().starts_with("qonnx.") {
            left.insert(node.proto().domain().to_owned());
            continue;
        }
        let number = |k| facts.constant(graph.input_of(NodeId(i), k)?)?.scalar_f32();
        let quantizer = Quantizer::of(&node, number).ok_or_else(|| LowerError::Unsupported {
            node: graph.label(NodeId(i)).to_owned(),
            op: node.full_op(),
        })?;
        lowered.push((i, quantizer));
    }
    let mut added = Vec::new();
    let mut out = model.clone();
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let mut editor = Editor::new(&mut out);
    // From the last one on: what is inserted moves only what comes behind it.
    for (i, quantizer) in lowered.into_iter().rev() {
        let Some(node) = editor.node_mut(i).map(|n| n.clone()) else {
            continue;
        };
        let nodes = Steps::of(&mut editor, &node).write(quantizer);
        let count = nodes.len();
        let of = node.output.first().cloned().unwrap_or_default();
        let inner = nodes.iter().take(count.saturating_sub(1));
        added.extend(
            inner
                .flat_map(|n| &n.output)
                .map(|t| (t.clone(), of.clone())),
        );
        for (k, n) in nodes.into_iter().enumerate() {
            match k + 1 == count {
                true => {
                    if let Some(old) = editor.node_mut(i + k) {
                        *old = n;
                    }
                }
                false => editor.insert_node(i + k, n),
            }
        }
    }
    editor.remove_unused(&was_used);
    out.opset_import
        .retain(|o| !is_qonnx_domain(o.domain()) || left.contains(o.domain()));
    Ok(Lowered {
        model: Cow::Owned(out),
        added,
    })
}

/// The nodes that replace one quantiser.
struct Steps<'e, 'm> {
    editor: &'e mut Editor<'m>,
    node: NodeProto,
    written: Vec<NodeProto>,
    current: String,
}

impl<'e, 'm> Steps<'e, 'm> {
    fn of(editor: &'e mut Editor<'m>, node: &NodeProto) -> Self {
        Self {
            editor,
            node: node.clone(),
            written: Vec::new(),
            current: node.input.first().cloned().unwrap_or_default(),
        }
    }

    fn input(&self, k: usize) -> String {
        self.node.input.get(k).cloned().unwrap_or_default()
    }

    fn number(&mut self, wish: &str, value: f32) -> String {
        let name = format!(
            "{}.{wish}",
            self.node.output.first().map_or("", String::as_str)
        );
        let value = Tensor::F32(arr0(value).into_dyn());
        self.editor.add_initializer(&name, &value)
    }

    /// One more node, of those inputs.
    fn apply(&mut self, op: &str, inputs: Vec<String>) {
        let out = self.node.output.first().map_or("", String::as_str);
        let out = self
            .editor
            .fresh_name(&format!("{out}.{}", op.to_lowercase()));
        let node = NodeProto::of(op, inputs, out.clone()).named_as_output();
        self.written.push(node);
        self.current = out;
    }

    /// One more node, of the last one's output and `operand`.
    fn then(&mut self, op: &str, operand: String) {
        let inputs = vec![self.current.clone(), operand];
        self.apply(op, inputs);
    }

    fn sign(&mut self) {
        let (zero, plus) = (self.number("zero", 0.0), self.number("plus", 1.0));
        let minus = self.number("minus", -1.0);
        self.then("Less", zero);
        // Less is in every opset; GreaterOrEqual came with 12.
        let inputs = vec![self.current.clone(), minus, plus];
        self.apply("Where", inputs);
    }

    fn scaled(&mut self) {
        self.then("Div", self.input(1));
        self.then("Add", self.input(2));
    }

    fn back(&mut self) {
        self.then("Sub", self.input(2));
        self.then("Mul", self.input(1));
    }

    fn rounded(&mut self, op: &str) {
        let inputs = vec![self.current.clone()];
        self.apply(op, inputs);
    }

    fn write(mut self, quantizer: Quantizer) -> Vec<NodeProto> {
        match quantizer {
            Quantizer::Bipolar => {
                self.sign();
                self.then("Mul", self.input(1));
            }
            Quantizer::SignedBit => {
                self.scaled();
                self.sign();
                self.back();
            }
            Quantizer::Integers {
                low,
                high,
                rounding,
            } => {
                self.scaled();
                let (low, high) = (self.number("low", low), self.number("high", high));
                self.then("Min", high);
                self.then("Max", low);
                self.rounded(rounding.op());
                self.back();
            }
            Quantizer::Truncated { step, rounding } => {
                self.scaled();
                self.rounded("Round");
                let step = self.number("step", step);
                self.then("Div", step);
                self.rounded(rounding.op());
                self.back();
            }
            Quantizer::Rescaled {
                step,
                low,
                high,
                rounding,
                coarse,
                zero,
            } => {
                self.scaled();
                self.rounded("Round");
                for (op, wish, value) in [
                    ("Div", "step", step),
                    ("Min", "high", high),
                    ("Max", "low", low),
                ] {
                    let operand = self.number(wish, value);
                    self.then(op, operand);
                }
                self.rounded(rounding.op());
                for (op, wish, value) in [("Sub", "offset", zero), ("Mul", "coarse", coarse)] {
                    let operand = self.number(wish, value);
                    self.then(op, operand);
                }
            }
        }
        if let Some(last) = self.written.last_mut() {
            last.output.clone_from(&self.node.output);
            last.name.clone_from(&self.node.name);
            last.doc_string.clone_from(&self.node.doc_string);
            last.metadata_props.clone_from(&self.node.metadata_props);
        }
        self.written
    }
}

/// Layers that were written as constants, back in the dialect's own form: where `original` computes
/// a layer's weight with `BipolarQuant`, and all its weights in `model` still are ±s, they become
/// `BipolarQuant(±1, s)`, which gives the same bits. Returns the names of those layers, and of those
/// that had to stay constants.
///
/// # Errors
/// If a graph is invalid.
pub fn restore(original: &ModelProto, model: &mut ModelProto) -> Result<Restored, LowerError> {
    let mut restored = Restored::default();
    let mut planned = Vec::new();
    {
        let before = Graph::new(original)?;
        let before_facts = Facts::infer(&before, 1)?;
        let after = Graph::new(model)?;
        let after_facts = Facts::infer(&after, 1)?;
        let old: Vec<_> = recognize::layers(&before, &before_facts);
        for layer in recognize::layers(&after, &after_facts) {
            let was = old.iter().find(|o| o.name == layer.name);
            let was_quantized = was.is_some_and(|o| {
                behind(&before, o.weight).is_some_and(|n| is_bipolar(before.node(n).op()))
            });
            if !was_quantized || after.producer(layer.weight).is_some() {
                continue;
            }
            match signs_and_scale(&layer.values, layer.filter_axis) {
                Some((signs, scale)) => {
                    let place = (layer.node, layer.weights_at.weight_input());
                    planned.push((place, layer.weight, signs, scale));
                    restored.quantized.push(layer.name);
                }
                None => restored.constant.push(layer.name),
            }
        }
    }
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    planned.sort_by_key(|((n, _), ..)| *n);
    let any = !planned.is_empty();
    let domain = domain_of(original);
    let imports = |m: &ModelProto| m.opset_import.iter().any(|o| o.domain() == domain);
    // Brevitas did not import its own: then the file stays as it was.
    if any && imports(original) && !imports(model) {
        model.opset_import.push(OperatorSetIdProto {
            domain: Some(domain.clone()),
            version: Some(1),
        });
    }
    let mut editor = Editor::new(model);
    let mut quantizers: BTreeMap<TensorId, String> = BTreeMap::new();
    let mut new = Vec::new();
    for ((node, input), weight, signs, scale) in planned {
        // Layers that share a weight share its quantiser.
        if let Some(known) = quantizers.get(&weight) {
            editor.set_input(node.0, input, known);
            continue;
        }
        let Some(old) = editor
            .node_mut(node.0)
            .and_then(|n| n.input.get(input).cloned())
        else {
            continue;
        };
        let signs = editor.add_initializer(&format!("{old}.signs"), &Tensor::F32(signs));
        let scale = editor.add_initializer(&format!("{old}.scale"), &Tensor::F32(scale));
        let out = editor.fresh_name(&format!("{old}.bipolar"));
        editor.set_input(node.0, input, &out);
        quantizers.insert(weight, out.clone());
        let bipolar = NodeProto::of("BipolarQuant", [signs, scale], out).in_domain(&domain);
        new.push((node.0, bipolar.named_as_output()));
    }
    // From the end, so that earlier indices stay true.
    for (index, bipolar) in new.into_iter().rev() {
        editor.insert_node(index, bipolar);
    }
    if any {
        editor.remove_unused(&was_used);
    }
    Ok(restored)
}

/// What [`restore`] did, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Written as `BipolarQuant` of ±1.
    pub quantized: Vec<String>,
    /// Left as constants: some of their weights are 0.
    pub constant: Vec<String>,
}

impl Restored {
    /// What the report says of it; `form`: the standard form that the file is written in, if it does
    /// not stay QONNX.
    pub fn notes(&self, form: Option<&str>) -> Vec<String> {
        let mut notes = vec![match form {
            Some(form) => {
                format!("the input is QONNX; the output is standard ONNX (--to {form})")
            }
            None => "the input is QONNX, and so is the output: runtimes need it lowered, which --to onnx does; it was verified lowered".to_owned(),
        }];
        if !self.quantized.is_empty() {
            notes.push(format!(
                "written as BipolarQuant of ±1 with their scale, without latents: {}",
                self.quantized.join(", ")
            ));
        }
        if !self.constant.is_empty() {
            notes.push(format!(
                "written as constants, as some of their weights are 0: {}",
                self.constant.join(", ")
            ));
        }
        notes
    }
}

fn is_bipolar(op: &str) -> bool {
    matches!(op, "qonnx.BipolarQuant" | "qonnx.Quant")
}

/// The node that computes a weight, through transposes.
fn behind(graph: &Graph<'_>, t: crate::graph::TensorId) -> Option<NodeId> {
    let mut n = graph.producer(t)?;
    while matches!(graph.node(n).op(), "Transpose" | "Identity" | "Reshape") {
        n = graph.producer(graph.input_of(n, 0)?)?;
    }
    Some(n)
}

/// Weights as signs and a positive scale (one, or one for each filter) whose product they are, to
/// the bit.
pub(crate) fn signs_and_scale(
    values: &ArrayD<f32>,
    axis: usize,
) -> Option<(ArrayD<f32>, ArrayD<f32>)> {
    let mut scales = Vec::with_capacity(values.len_of(Axis(axis)));
    for filter in values.axis_iter(Axis(axis)) {
        let s = filter.first()?.abs();
        let same = filter.iter().all(|w| w.abs() == s);
        if !(same && s > 0.0 && s.is_finite()) {
            return None;
        }
        scales.push(s);
    }
    let first = *scales.first()?;
    let scale = match scales.iter().all(|&s| s == first) {
        true => ArrayD::from_elem(IxDyn(&[1]), first),
        false => {
            let mut shape = vec![1; values.ndim()];
            *shape.get_mut(axis)? = scales.len();
            ArrayD::from_shape_vec(IxDyn(&shape), scales).ok()?
        }
    };
    Some((values.mapv(f32::signum), scale))
}
