//! A chain of monotone functions of one number that takes two values.
//!
//! | nodes | at 0 |
//! |---|---|
//! | `Sign(Relu(x)) · 2 - 1` | -1 |
//! | `Round(Sigmoid(x)) · 2 - 1` | -1 |
//! | `Ceil(Clip(x, 0, 1)) · 2 - 1`, `Cast(Cast(Clip(x, 0, 1), int64), float) · 2 - 1`, and whatever else | what it computes |
//!
//! What is monotone and gives -s at one end and s at the other is a binariser if it jumps once: where, is found
//! by bisection over the floats. The forms that have a name of their own are looked for before this one.

use ndarray::arr0;

use super::pattern::{through_identity, uniform_number};
use super::{Binarizer, levels, range};
use crate::bisection::{float_of_key, key_of_float, least};
use crate::graph::{Facts, Graph, Node, NodeId, TensorId, evaluate, integer_range};
use crate::onnx::{DataType, Tensor};
use crate::operators::{How, Kind, Trend};

/// Nodes that a chain may have: nobody writes more.
const MOST_NODES: usize = 8;

pub(super) fn matches(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let mut chain = Chain {
        graph,
        facts,
        links: Vec::new(),
    };
    let mut input = t;
    while chain.links.len() < MOST_NODES {
        let link = chain.link(input)?;
        // What only scales another binariser belongs to the way to the layer.
        if chain.links.is_empty() && matches!(graph.node(link.node).op(), "Mul" | "Div") {
            return None;
        }
        input = link.data;
        chain.links.push(link);
        // Of few values the jump may lie between two of them, or beyond them all.
        let single = facts.element(input) == Some(DataType::F32.to_onnx());
        if !single || levels::takes_few_values(graph, facts, input) {
            continue;
        }
        if let Some(step) = chain.step(range::never_negative(graph, facts, input)) {
            let input = through_identity(graph, input);
            let Step { threshold, values } = step;
            return Some(Binarizer::at("stepped", threshold, values, input, t));
        }
    }
    None
}

/// Numbers between the least and the largest at which a chain is looked at beside its jump.
const LOOKED_AT: i64 = 256;

/// A monotone node.
struct Link {
    node: NodeId,
    /// The one input that is not constant.
    data: TensorId,
    /// All inputs in order, as far as they are numbers; `None` in the place of the data, and of what is left out.
    constants: Vec<Option<Tensor>>,
    place: usize,
}

/// Monotone nodes, the last one first.
struct Chain<'a, 'g> {
    graph: &'a Graph<'g>,
    facts: &'a Facts,
    links: Vec<Link>,
}

/// A function that jumps once.
struct Step {
    threshold: f32,
    /// Below the threshold, at it, and above it.
    values: [f32; 3],
}

impl Chain<'_, '_> {
    /// The node that writes `t`, if it is monotone in one tensor and everything else that it reads is a number.
    fn link(&self, t: TensorId) -> Option<Link> {
        let id = self.graph.producer(t).filter(|_| self.facts.is_data(t))?;
        let node = self.graph.node(id);
        let inputs = self.graph.inputs_of(id);
        let is_data = |t: &Option<TensorId>| t.is_some_and(|t| self.facts.is_data(t));
        let place = inputs.iter().position(is_data)?;
        let alone = self.graph.outputs_of(id).first() == Some(&Some(t))
            && !inputs[place + 1..].iter().any(is_data);
        // Before constants are looked at: weights are large.
        if !alone || !is_monotone(&node, place) {
            return None;
        }
        let data = inputs[place]?;
        let numbers = inputs.into_iter().enumerate().map(|(k, t)| match t {
            Some(t) if k != place => self.number(t).map(Some),
            _ => Some(None),
        });
        Some(Link {
            node: id,
            data,
            constants: numbers.collect::<Option<_>>()?,
            place,
        })
    }

    /// A constant of one value, in the type that it has.
    fn number(&self, t: TensorId) -> Option<Tensor> {
        let kind = self.facts.value(t)?.data_type();
        uniform_number(self.facts, t).map(|number| Tensor::of(kind, &arr0(number).into_dyn()))
    }

    /// What the chain makes of a number; `None` where an integer may wrap around: runtimes differ there, and the
    /// order is lost.
    fn value(&self, x: f32) -> Option<f32> {
        let mut value = Tensor::F32(arr0(x).into_dyn());
        for link in self.links.iter().rev() {
            let constants = link.constants.iter().flatten();
            if !fits_integers(&self.graph.node(link.node), &value, constants) {
                return None;
            }
            let mut inputs: Vec<Option<&Tensor>> =
                link.constants.iter().map(Option::as_ref).collect();
            *inputs.get_mut(link.place)? = Some(&value);
            value = evaluate(&self.graph.node(link.node), &inputs)?;
        }
        value.scalar_f32().filter(|v| v.is_finite())
    }

    /// Where it jumps from -s to s or back, if that is all it does of numbers (that are not negative).
    fn step(&self, not_negative: bool) -> Option<Step> {
        let most = key_of_float(f32::MAX);
        let from = if not_negative { 0 } else { -most };
        let value = |key: i64| self.value(float_of_key(key));
        let (below, above) = (value(from)?, value(most)?);
        if above != -below || above == 0.0 {
            return None;
        }
        let leaves = least(from, most, |key| Some(value(key)? != below))?;
        let arrives = least(from, most, |key| Some(value(key)? == above))?;
        let (threshold, at) = match arrives - leaves {
            // Between two neighbours: the rounder of them is what was meant.
            0 => match (leaves - 1).trailing_zeros() > leaves.trailing_zeros() {
                true => (leaves - 1, below),
                false => (leaves, above),
            },
            1 => (leaves, value(leaves).filter(|&at| at == 0.0)?),
            _ => return None,
        };
        // A chain that turns in between is none, whatever its parts promise.
        let looked = (0..=LOOKED_AT).map(|i| from + (most - from) / LOOKED_AT * i);
        for key in looked.filter(|key| !(leaves..=arrives).contains(key)) {
            if value(key)? != if key < leaves { below } else { above } {
                return None;
            }
        }
        Some(Step {
            threshold: float_of_key(threshold),
            values: [below, at, above],
        })
    }
}

/// Magnitudes up to which sums and products of two 32-bit integers are exact.
const SMALL: f64 = 32_768.0;

/// Whether no integer wraps around where a node reads `value` and numbers.
fn fits_integers<'t>(
    node: &Node<'_>,
    value: &'t Tensor,
    constants: impl Iterator<Item = &'t Tensor>,
) -> bool {
    let number = |t: &Tensor| t.to_f64().first().copied().unwrap_or(f64::NAN);
    let row = node.operator().map(|row| row.kind);
    match row {
        Some(Kind::Cast) => {
            let to = i32::try_from(node.int("to", 0)).ok();
            let Some((low, high)) = to.and_then(DataType::from_onnx).and_then(bounds) else {
                return true;
            };
            (low..=high).contains(&number(value))
        }
        Some(Kind::Arithmetic(_)) if !value.data_type().is_float() => {
            let wide = matches!(value.data_type(), DataType::I32 | DataType::I64);
            let mut all = std::iter::once(value).chain(constants);
            wide && all.all(|t| number(t).abs() <= SMALL)
        }
        _ => true,
    }
}

/// What an integer type holds for sure; `None` of other types.
fn bounds(kind: DataType) -> Option<(f64, f64)> {
    if let Some((low, high)) = integer_range(kind) {
        return Some((f64::from(low), f64::from(high)));
    }
    let signed = f64::from(1 << 30);
    match kind {
        DataType::I32 | DataType::I64 => Some((-signed, signed)),
        DataType::Bool => None,
        kind if kind.is_float() => None,
        _ => Some((0.0, signed)),
    }
}

/// Whether a node never turns as its input `place` rises, numbers in the place of all others.
fn is_monotone(node: &Node<'_>, place: usize) -> bool {
    let Some(row) = node.operator() else {
        return false;
    };
    match row.kind {
        Kind::Unary(_) => place == 0 && (row.trend)(node) != Trend::Turns,
        Kind::Clip | Kind::Same => place == 0,
        Kind::Arithmetic(a) => match a.how {
            How::Add | How::Sub | How::Mul | How::Sum | How::Extreme => true,
            How::Div => place == 0,
            How::Pow => false,
        },
        Kind::Comparison(_) => node.op() != "Equal",
        Kind::Choice => place == 0,
        Kind::Logic => node.op() == "Not",
        // What is not 0 is true on both sides of it.
        Kind::Cast => node.int("to", 0) != i64::from(DataType::Bool.to_onnx()),
        _ => false,
    }
}
