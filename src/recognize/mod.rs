//! What the binary layers of a model are, whatever exporter wrote it.
//!
//! Every Conv, Gemm and MatMul with constant-derived weights becomes a [`Layer`]. Its weights are
//! evaluated and classified by value ([`weights`]), latents are found by structure ([`latent`]),
//! and its input is traced back to a binariser: one file per dialect, listed in [`BINARIZERS`]. A
//! Sign of what cannot be negative ([`range`]) gives {0, 1} and makes no binary layer.
//!
//! Places where further dialects go: a binariser is a function in a file of its own and a line in
//! [`BINARIZERS`]; a weight form is one in [`latent`].

mod compare;
mod latent;
mod range;
mod sign;
mod trace;
mod weights;

use ndarray::ArrayD;

use crate::graph::{Facts, Graph, NodeId, TensorId};

pub use latent::{Latent, LatentScale};
pub use weights::BinaryWeights;

/// The operator of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOp {
    /// `Conv`, weight `[O, I/g, k…]`.
    Conv,
    /// `Gemm`, weight `[I, O]`, or `[O, I]` with transB.
    Gemm,
    /// `MatMul` with the constant on the right, weight `[I, O]`.
    MatMul,
}

impl LayerOp {
    /// The ONNX operator's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "Conv",
            Self::Gemm => "Gemm",
            Self::MatMul => "MatMul",
        }
    }
}

/// How activations become ±1 in front of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binarizer {
    /// What `inspect` calls it: `sign`, `clip-sign`, `where-ge`, `cast-ge`; `01` for values in
    /// {0, 1} ([`Binarizer::is_signed`]).
    pub kind: &'static str,
    /// The value at an input of exactly 0: -1, 0 or +1.
    pub zero: i8,
    /// The real-valued tensor that is binarised.
    pub input: TensorId,
    /// The binarised tensor.
    pub output: TensorId,
}

/// [`Binarizer::kind`] of a binariser to {0, 1}.
const ZERO_ONE: &str = "01";

impl Binarizer {
    /// Whether it gives ±1. One that gives {0, 1} (a Sign of what is never negative) does not make
    /// a binary layer.
    pub fn is_signed(&self) -> bool {
        self.kind != ZERO_ONE
    }
}

/// A Conv, Gemm or MatMul whose weights follow from constants.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What masks files and reports call it ([`Graph::label`]).
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Its operator.
    pub op: LayerOp,
    /// Output channels.
    pub filters: usize,
    /// Input channels that one filter reads.
    pub inputs: usize,
    /// Spatial kernel size; empty for Gemm and MatMul.
    pub kernel: Vec<usize>,
    /// Convolution groups; 1 for Gemm and MatMul.
    pub group: usize,
    /// The tensor at the weight input (input 1).
    pub weight: TensorId,
    /// Which axis of the weight is the filter: 0 for Conv and Gemm with transB, else 1.
    pub filter_axis: usize,
    /// The evaluated weights, in the file's own layout.
    pub values: ArrayD<f32>,
    /// The weights as ±scale, if they are.
    pub binary_weights: Option<BinaryWeights>,
    /// What binarises the input, if anything does.
    pub binarizer: Option<Binarizer>,
}

impl Layer {
    /// Binary: ±1 weights (times a scale per filter) on a ±1 input.
    pub fn is_binary(&self) -> bool {
        self.binary_weights.is_some() && self.binarizer.as_ref().is_some_and(Binarizer::is_signed)
    }

    /// Why it is not a binary layer; `None` if it is one.
    pub fn why_not_binary(&self) -> Option<&'static str> {
        match (&self.binary_weights, &self.binarizer) {
            (_, Some(b)) if !b.is_signed() => {
                Some("its input is {0, 1}, not ±1: Sign of a tensor that is never negative")
            }
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some("its weights are not ±1 times a scale per filter"),
            (Some(_), None) => Some("its input is not binarised to ±1"),
            (None, None) => Some("float layer: neither its weights nor its input are ±1"),
        }
    }

    /// The other axis of a two-dimensional weight, or the input-channel axis of a Conv's.
    pub fn input_axis(&self) -> usize {
        1 - self.filter_axis
    }
}

/// A function that recognises the binariser which writes a tensor.
type Matcher = fn(&Graph<'_>, &Facts, TensorId) -> Option<Binarizer>;

/// Every binariser dialect, tried in order.
const BINARIZERS: &[Matcher] = &[sign::matches, compare::where_matches, compare::cast_matches];

/// The binariser that writes `t`, if one does.
pub fn binarizer_of(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    BINARIZERS.iter().find_map(|m| m(graph, facts, t))
}

/// All layers of a model, in the order of execution.
pub fn layers(graph: &Graph<'_>, facts: &Facts) -> Vec<Layer> {
    graph
        .order()
        .iter()
        .filter_map(|&n| layer(graph, facts, n))
        .collect()
}

fn layer(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Option<Layer> {
    let node = graph.node(n);
    let (op, filter_axis) = match node.op() {
        "Conv" => (LayerOp::Conv, 0),
        "Gemm" if node.int("transA", 0) == 0 => {
            (LayerOp::Gemm, usize::from(node.int("transB", 0) == 0))
        }
        "MatMul" => (LayerOp::MatMul, 1),
        _ => return None,
    };
    let data = graph.input_of(n, 0)?;
    let weight = graph.input_of(n, 1)?;
    let values = facts.constant(weight)?.as_f32()?.clone();
    // A convolution of two constants is a constant, not a layer.
    if facts.constant(data).is_some() {
        return None;
    }
    let shape = values.shape();
    let kernel = match op {
        LayerOp::Conv if shape.len() >= 3 => shape[2..].to_vec(),
        LayerOp::Gemm | LayerOp::MatMul if shape.len() == 2 => vec![],
        _ => return None,
    };
    let (filters, inputs) = (shape[filter_axis], shape[1 - filter_axis]);
    let group = usize::try_from(node.int("group", 1)).ok()?;
    let known = weights::classify(&values, filter_axis);
    let binary_weights = known.map(|mut b| {
        b.latent = latent::find(graph, facts, weight);
        b
    });
    let binarizer = trace::binarizer_behind(graph, facts, data);
    Some(Layer {
        name: graph.label(n).to_owned(),
        node: n,
        op,
        filters,
        inputs,
        kernel,
        group,
        weight,
        filter_axis,
        values,
        binary_weights,
        binarizer,
    })
}
