//! How each operator treats channels: one file per family, one table.
//!
//! A rule looks at one node and says where the channels of its output come from, what is known of
//! them, and which of the node's constants follow them when channels are cut. It decides nothing
//! and changes nothing. A function of one number needs no more than its row in [`crate::operators`];
//! a new operator with a channel flow of its own is such a row, a function in a file of its family
//! and a line in [`TABLE`]. An operator without a rule blocks the channels that it reads.

mod broadcast;
mod concat;
mod context;
mod layer;
mod normalization;
mod pad;
mod parts;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod shape;
mod shuffle;
mod sizes;
mod unary;
mod view;

use std::collections::BTreeMap;
use std::ops::Range;

use super::classes::ChannelClass;
use super::state::{Known, State};
use crate::graph::{Graph, Node, NodeId, TensorId};

pub(crate) use context::Context;
pub(crate) use layer::{Border, Kernels, LayerShape, Mixing, Shift};

/// A function that says what one node does to channels: `None` if it reads nothing of them that a
/// cut would change, an error (why not) if it is declined.
pub(crate) type Rule = fn(&Context<'_, '_>) -> Outcome;

type Outcome = Result<Option<Behaviour>, String>;

/// Every operator with a rule of its own.
const TABLE: &[(Rule, &[&str])] = &[
    (layer::conv, &["Conv"]),
    (layer::transposed, &["ConvTranspose"]),
    (layer::gemm, &["Gemm"]),
    (layer::matmul, &["MatMul"]),
    (normalization::batch, &["BatchNormalization"]),
    (normalization::instance, &["InstanceNormalization"]),
    (normalization::softmax, &["Softmax", "LogSoftmax"]),
    (unary::clip, &["Clip"]),
    (unary::cast, &["Cast"]),
    (unary::not, &["Not"]),
    (unary::dropout, &["Dropout"]),
    (
        broadcast::arithmetic,
        &[
            "Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Pow",
        ],
    ),
    (broadcast::logic, &["And", "Or", "Xor"]),
    (
        broadcast::comparison,
        &["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"],
    ),
    (broadcast::select, &["Where"]),
    (broadcast::prelu, &["PRelu"]),
    (pool::max, &["MaxPool", "GlobalMaxPool"]),
    (pool::average, &["AveragePool"]),
    (pool::norm, &["LpPool"]),
    (reduce::global, &["GlobalAveragePool", "GlobalLpPool"]),
    (
        reduce::reduce,
        &[
            "ReduceMean",
            "ReduceSum",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSum",
            "ReduceLogSumExp",
        ],
    ),
    (reduce::running_sum, &["CumSum"]),
    (resize::resize, &["Resize", "Upsample"]),
    (resize::expand, &["Expand"]),
    (
        view::reshape,
        &["Reshape", "Flatten", "Squeeze", "Unsqueeze"],
    ),
    (view::transpose, &["Transpose"]),
    (concat::concat, &["Concat"]),
    (pad::pad, &["Pad"]),
    (parts::split, &["Split"]),
    (parts::slice, &["Slice"]),
    (parts::gather, &["Gather"]),
    (parts::tile, &["Tile"]),
    (parts::depth_to_space, &["DepthToSpace"]),
    (parts::space_to_depth, &["SpaceToDepth"]),
    (quantize::quantize, &["QuantizeLinear"]),
    (quantize::dequantize, &["DequantizeLinear"]),
    (
        broadcast::qonnx,
        &["qonnx.BipolarQuant", "qonnx.Quant", "qonnx.Trunc"],
    ),
    (shape::shape, &["Shape", "Size"]),
];

/// The rule of a node's operator, or why there is none.
pub(crate) fn find(node: &Node<'_>) -> Result<Rule, String> {
    let op = node.op();
    if let Some((rule, _)) = TABLE.iter().find(|(_, ops)| ops.contains(&op)) {
        return Ok(*rule);
    }
    Err(match node.operator() {
        Some(row) if row.unary().is_some() => return Ok(unary::scalar),
        Some(row) if row.mixes => "mixes channels and has no columns to cut".to_owned(),
        _ => "has no channel rule".to_owned(),
    })
}

/// The name of every operator with a rule.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let listed = TABLE.iter().flat_map(|(_, ops)| ops.iter().copied());
    let functions = crate::operators::all().filter(|row| row.unary().is_some());
    listed.chain(functions.map(|row| row.name))
}

/// The channels of a tensor: an axis, and for each index on it what is known and which class it is.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    pub axis: usize,
    pub states: Vec<State>,
    pub classes: Vec<ChannelClass>,
}

/// Filters that are taken to be zero: by node, for each filter.
pub(crate) type Zeroed = BTreeMap<NodeId, Vec<bool>>;

/// What one node does to channels.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// For each of the node's outputs, from the first on, its channels.
    pub outputs: Vec<Output>,
    /// Constants of the node that follow the channels.
    pub parameters: Vec<Parameter>,
    /// Values of such constants where the node has no input that holds them.
    pub implied: Vec<Implied>,
    /// For Conv, Gemm and MatMul.
    pub mixing: Option<Mixing>,
    /// For a sum over all channels of input 0.
    pub total: Option<Total>,
    /// Inputs whose channels cannot be cut because of this node, and why.
    pub blocked: Vec<(usize, String)>,
}

/// A sum over all channels: what is constant can be added behind it instead, but it has no columns
/// that masks could zero.
#[derive(Debug)]
pub(crate) struct Total {
    pub data: TensorId,
    /// Values of one channel that are summed up in one value of the output, where that is known.
    pub copies: Option<usize>,
}

impl Total {
    /// Whether a channel can go because of what is known of it.
    pub fn absorbs(&self, state: State) -> bool {
        let absorbed = |k: Known| k.value == 0.0 || self.copies.is_some();
        state.constant().is_some_and(absorbed)
    }
}

/// The channels of one of a node's outputs.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The axis they lie on.
    pub axis: usize,
    /// What is known of each.
    pub states: Vec<State>,
    /// Where they come from; empty if the node makes new ones.
    pub sources: Vec<Source>,
    /// Those of them that cannot be cut, and why.
    pub pinned: Vec<(Range<usize>, String)>,
}

/// The output's channel `j` is (also) channel `index[j]` of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub input: usize,
    /// Of this tensor instead, further up: the node becomes a `Gather` of it if channels go.
    pub via: Option<TensorId>,
    pub index: Vec<Option<usize>>,
}

impl Source {
    /// Channels of an input.
    fn input(input: usize, index: impl Iterator<Item = Option<usize>>) -> Self {
        Self {
            input,
            via: None,
            index: index.collect(),
        }
    }

    /// The tensor that the channels are of.
    pub fn tensor(&self, graph: &Graph<'_>, n: NodeId) -> Option<TensorId> {
        self.via.or_else(|| graph.input_of(n, self.input))
    }
}

/// A constant input that is cut together with channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub input: usize,
    pub along: Along,
    pub cut: Cut,
}

/// Whose channels a parameter follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Along {
    Input(usize),
    /// Of the node's outputs this one.
    Output(usize),
    /// This part of the first output's channels.
    Part(Range<usize>),
}

/// A list of integers that an attribute holds, or that follows from the shape of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Implied {
    /// The input that holds it in [`Parameter`]s, and in newer opsets.
    pub input: usize,
    pub value: Vec<i64>,
    /// Where it is written to: an attribute, or else the input.
    pub attribute: Option<&'static str>,
    /// An attribute that would contradict it.
    pub instead_of: Option<&'static str>,
}

/// What of a constant is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The slices along an axis.
    Axis(usize),
    /// The element at this index holds the number of channels (a Reshape target).
    Entry(usize),
    /// Not the constant: the node's `group` is the number of channels.
    Groups,
    /// All elements are equal: one stands for them.
    Uniform,
    /// Nothing: it stands in the place of what the program repeats, and broadcasts to any number of channels.
    Whole,
}

impl Behaviour {
    /// A node with one output and no constants.
    fn of(output: Output) -> Self {
        Self {
            outputs: vec![output],
            ..Self::default()
        }
    }

    /// A node whose output has the channels of input 0, index by index, on the same axis.
    fn channelwise(x: &Channels, f: impl Fn(State) -> State) -> Self {
        Self::of(Output::channelwise(x, f))
    }
}

impl Output {
    /// The channels of input 0, index by index, on the same axis.
    fn channelwise(x: &Channels, f: impl Fn(State) -> State) -> Self {
        Self {
            axis: x.axis,
            states: x.states.iter().map(|&s| f(s)).collect(),
            sources: vec![Source::input(0, (0..x.states.len()).map(Some))],
            pinned: Vec::new(),
        }
    }

    /// Channel `j` is channel `index[j]` of input 0.
    fn rearranged(x: &Channels, axis: usize, index: &[usize]) -> Self {
        let state = |&i: &usize| x.states.get(i).copied().unwrap_or(State::Live);
        Self {
            axis,
            states: index.iter().map(state).collect(),
            sources: vec![Source::input(0, index.iter().copied().map(Some))],
            pinned: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names;
    use crate::operators::operator;

    #[test]
    fn every_operator_with_a_rule_has_a_row() {
        let without: Vec<&str> = names().filter(|name| operator(name).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
        assert!(names().count() > 80);
    }
}
