//! Which tensors can never be negative, by the operators that compute them.

use std::collections::BTreeSet;

use crate::graph::{Facts, Graph, Node, NodeId, TensorId};
use crate::operators::Range;

/// When an operator's output is never negative.
enum Condition {
    /// Always.
    Always,
    /// If these inputs never are.
    Inputs(Vec<usize>),
    /// Not known ever to be.
    Unknown,
}

/// Whether every element of `t` is proven to be ≥ 0 (or NaN), whatever the model's input.
pub(super) fn never_negative(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> bool {
    let mut pending = vec![t];
    // All that is pending must be proven, so what was seen once needs no second look.
    let mut seen = BTreeSet::new();
    while let Some(t) = pending.pop() {
        if !seen.insert(t) {
            continue;
        }
        if let Some(value) = facts.value(t) {
            match value.floats().is_some_and(|a| a.iter().all(|&x| x >= 0.0)) {
                true => continue,
                false => return false,
            }
        }
        let Some(n) = graph.producer(t) else {
            return false;
        };
        match condition(graph, facts, n) {
            Condition::Always => {}
            Condition::Unknown => return false,
            Condition::Inputs(inputs) => {
                for k in inputs {
                    match graph.input_of(n, k) {
                        Some(t) => pending.push(t),
                        None => return false,
                    }
                }
            }
        }
    }
    true
}

fn condition(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Condition {
    let node = graph.node(n);
    let all = || Condition::Inputs((0..graph.inputs_of(n).len()).collect());
    let constant = |k: usize| facts.constant(graph.input_of(n, k)?)?.scalar_f32();
    let range = node.operator().map_or(Range::Any, |row| (row.range)(&node));
    match range {
        Range::Any => Condition::Unknown,
        Range::NotNegative => Condition::Always,
        Range::Inputs(inputs) => Condition::Inputs(inputs.to_vec()),
        Range::All => all(),
        Range::Largest => {
            let count = graph.inputs_of(n).len();
            match (0..count).any(|k| constant(k).is_some_and(|c| c >= 0.0)) {
                true => Condition::Always,
                false => all(),
            }
        }
        Range::Clipped => clip(&node, graph, n, constant),
        Range::Padded => pad(&node, graph, n),
    }
}

/// `Clip(x, min, max)`: where the bounds cross, the upper one wins.
fn clip(
    node: &Node<'_>,
    graph: &Graph<'_>,
    n: NodeId,
    constant: impl Fn(usize) -> Option<f32>,
) -> Condition {
    match node.clip_bounds(|k| graph.input_of(n, k).map(|_| constant(k))) {
        [_, None] => Condition::Unknown,
        [_, Some(max)] if max < 0.0 => Condition::Unknown,
        [Some(min), _] if min >= 0.0 => Condition::Always,
        _ => Condition::Inputs(vec![0]),
    }
}

/// `Pad`: what is padded, and the value it is padded with.
fn pad(node: &Node<'_>, graph: &Graph<'_>, n: NodeId) -> Condition {
    match graph.input_of(n, 2) {
        Some(_) => Condition::Inputs(vec![0, 2]),
        None if node.float("value", 0.0) >= 0.0 => Condition::Inputs(vec![0]),
        None => Condition::Unknown,
    }
}
