//! Layers that are not followed, each with the reason.
//!
//! What has filters and is no [`Layer`] would vanish without a word: from lists, from counts, from
//! masks. Every operator of the kind is found here, whatever stands against it.

use std::collections::BTreeSet;

use super::Layer;
use crate::graph::{Facts, Graph, NodeId, OPS_DOMAIN, TensorId, WeightsAt};
use crate::onnx::proto::{FunctionProto, NodeProto};
use crate::onnx::{is_default_domain, type_name};

/// An operator with filters whose weights are not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What it would be called ([`Graph::label`]).
    pub name: String,
    /// Its operator, with the domain if that is not the default one.
    pub op: String,
    /// The type of its weights, as far as it is known.
    pub kind: Option<String>,
    /// Their shape, as far as it is known.
    pub shape: Option<Vec<usize>>,
    /// How many filters they are of, and how many channels of the input one filter reads; 0 if that is not known.
    pub filters: usize,
    /// See `filters`.
    pub inputs: usize,
    /// Why it is not followed.
    pub why: String,
}

/// Nodes of a weight chain that are looked at.
const MOST_NODES: usize = 128;

/// Every operator with filters that is not among `layers`, in the order of execution.
pub fn unread(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Vec<Unread> {
    let known: BTreeSet<NodeId> = layers.iter().map(|l| l.node).collect();
    let functions = &graph.model().functions;
    let mut found = Vec::new();
    for &n in graph.order().iter().filter(|n| !known.contains(n)) {
        let node = graph.node(n).proto();
        found.extend(of_node(graph, facts, n));
        hidden(graph.label(n), node, functions, &mut found);
    }
    found
}

/// Whether an operator has filters: those of the standard, and the fused and quantised ones of
/// runtimes.
fn has_filters(node: &NodeProto) -> bool {
    let op = node.op_type();
    match node.domain() {
        d if is_default_domain(d) => matches!(
            op,
            "Conv"
                | "ConvTranspose"
                | "Gemm"
                | "MatMul"
                | "QLinearConv"
                | "ConvInteger"
                | "QLinearMatMul"
                | "MatMulInteger"
                | "DeformConv"
        ),
        _ => ["Conv", "Gemm", "MatMul"].iter().any(|k| op.contains(k)),
    }
}

/// The input that holds the weights.
fn weight_input(op: &str) -> usize {
    match op {
        "QLinearConv" | "QLinearMatMul" | "QGemm" => 3,
        _ => 1,
    }
}

fn of_node(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Option<Unread> {
    let node = graph.node(n);
    let proto = node.proto();
    let own = graph.model().functions.iter().any(|f| calls(proto, f));
    // Operators on bits are what a network becomes in the end.
    if !has_filters(proto) || own || proto.domain() == OPS_DOMAIN {
        return None;
    }
    let weight = graph.input_of(n, weight_input(proto.op_type()));
    let data = graph.input_of(n, 0);
    // A convolution of two constants is a constant.
    if data.is_some_and(|t| !facts.is_data(t)) && weight.is_none_or(|t| !facts.is_data(t)) {
        return None;
    }
    let left = weight.is_some_and(|t| facts.is_data(t)) && data.is_some_and(|t| !facts.is_data(t));
    let shown = if left { data } else { weight };
    let kind = shown.and_then(|t| facts.element(t)).map(type_name);
    let shape = shown.and_then(|t| facts.shape(t)).map(<[usize]>::to_vec);
    let plain = matches!(node.op(), "Conv" | "Gemm" | "MatMul");
    let why = match weight {
        None => "has no weights".to_owned(),
        Some(_) if left => data.and_then(|t| reason(graph, facts, t)).unwrap_or_else(|| {
            "its weights are the left operand of a matrix, or of a Gemm: no binary layer is looked for there, but masks may name it".to_owned()
        }),
        Some(t) if plain || node.op() == "ConvTranspose" => match reason(graph, facts, t) {
            Some(why) => why,
            None if node.op() == "ConvTranspose" => {
                "a transposed convolution is not taken for a binary layer, but masks may name it".to_owned()
            }
            None if node.op() == "Gemm" && node.int("transA", 0) != 0 => {
                "it transposes its data (transA): no binary layer is looked for there, but masks may name it".to_owned()
            }
            None => format!(
                "its weights have the shape {:?}, which is not that of filters",
                shape.as_deref().unwrap_or_default()
            ),
        },
        Some(t) => {
            let kind = facts.element(t).map_or("unknown type".to_owned(), type_name);
            format!(
                "{} computes with weights of {kind}, which are not followed: export the model without this fusion or quantisation, or with QuantizeLinear and DequantizeLinear around float operators",
                node.full_op()
            )
        }
    };
    let at = if left {
        WeightsAt::Left
    } else {
        WeightsAt::Right
    };
    let axes = node.product_axes(at, 2);
    let [filter_axis, input_axis] = axes.map_or([0, 1], |axes| [axes.filters, axes.inputs]);
    let groups = node.groups().unwrap_or(1).max(1);
    let size = |axis: usize| {
        shape
            .as_ref()
            .and_then(|s| s.get(axis))
            .copied()
            .unwrap_or(0)
    };
    // Axis 0 of a convolution's weights is whole, axis 1 that of one group.
    let (filters, inputs) = match filter_axis {
        0 => (size(filter_axis), size(input_axis)),
        _ => (
            size(filter_axis).saturating_mul(groups),
            size(input_axis) / groups,
        ),
    };
    Some(Unread {
        name: graph.label(n).to_owned(),
        op: node.full_op(),
        kind,
        filters,
        inputs,
        shape,
        why,
    })
}

/// Why a weight tensor has no known value of a float type; `None` if it has one.
fn reason(graph: &Graph<'_>, facts: &Facts, weight: TensorId) -> Option<String> {
    if facts.weights_shape(weight).is_some() {
        return None;
    }
    if facts.is_data(weight) {
        return Some("its weights are computed from the model's input".to_owned());
    }
    let named = |t: TensorId| {
        facts
            .element(t)
            .map_or("an unknown type".to_owned(), type_name)
    };
    if facts.value(weight).is_some() {
        return Some(match facts.constant(weight) {
            Some(_) => format!("its weights are of {}, not floats", named(weight)),
            None => "its weights are computed from the shape of data".to_owned(),
        });
    }
    // Up the chain to the first thing that has no value.
    let mut t = weight;
    for _ in 0..MOST_NODES {
        let Some(n) = graph.producer(t) else {
            let sparse = match graph.sparse_initializer(t) {
                Some(_) => " (sparse)",
                None => "",
            };
            return Some(format!(
                "its weights come from '{}' of {}{sparse}, which is not read; store it as floats or as integers of 8 bits",
                graph.name(t),
                named(t)
            ));
        };
        let open = |t: &TensorId| facts.value(*t).is_none() && facts.weights_shape(*t).is_none();
        let inputs = graph.inputs_of(n).into_iter().flatten();
        match inputs.into_iter().find(open) {
            Some(next) => t = next,
            None => {
                let node = graph.node(n);
                let what = match node.op() {
                    "Constant" => format!("is of {}", named(t)),
                    _ => format!("is not evaluated: {COMPUTED_ONCE}"),
                };
                return Some(format!(
                    "its weights are computed by {} '{}', which {what}",
                    node.full_op(),
                    graph.label(n)
                ));
            }
        }
    }
    Some("its weights are computed by too long a chain".to_owned())
}

/// What to do about weights that the file computes by what only a runtime knows.
const COMPUTED_ONCE: &str = "have the file's constants computed once, by onnxsim or by ONNX Runtime's basic \
                             optimisation (optimized_model_filepath)";

fn calls(node: &NodeProto, f: &FunctionProto) -> bool {
    let plain = |d: &str| if is_default_domain(d) { "" } else { d }.to_owned();
    node.op_type() == f.name()
        && plain(node.domain()) == plain(f.domain())
        && node.overload() == f.overload()
}

/// Layers in the subgraphs of a node and in the function that it calls.
fn hidden(label: &str, node: &NodeProto, functions: &[FunctionProto], found: &mut Vec<Unread>) {
    let mut inside = |nodes: Vec<&NodeProto>, of: String| {
        for inner in nodes.into_iter().filter(|n| has_filters(n)) {
            let name = match inner.name() {
                "" => inner.output.first().cloned().unwrap_or_default(),
                name => name.to_owned(),
            };
            found.push(Unread {
                name,
                op: inner.op_type().to_owned(),
                kind: None,
                shape: None,
                filters: 0,
                inputs: 0,
                why: format!("it is inside {of}, which is not looked into"),
            });
        }
    };
    for f in functions.iter().filter(|f| calls(node, f)) {
        inside(
            all_nodes(&f.node),
            format!(
                "the local function '{}.{}' that '{label}' calls",
                f.domain(),
                f.name()
            ),
        );
    }
    let graphs = node
        .attribute
        .iter()
        .flat_map(|a| a.g.iter().chain(&a.graphs));
    for g in graphs {
        let of = format!("a subgraph of {} '{label}'", node.op_type());
        inside(all_nodes(&g.node), of);
    }
}

/// Nodes with those of their subgraphs.
fn all_nodes(nodes: &[NodeProto]) -> Vec<&NodeProto> {
    let mut all = Vec::new();
    for n in nodes {
        all.push(n);
        for g in n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
            all.extend(all_nodes(&g.node));
        }
    }
    all
}
