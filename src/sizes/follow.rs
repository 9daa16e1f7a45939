//! Sizes of inputs that follow from the weights that read them.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, Node, NodeId, TensorId, WeightsAt};
use crate::onnx::proto::ModelProto;
use crate::operators::Shape;

/// Sizes of inputs' axes that follow from the weights that read them.
pub(crate) fn from_weights(model: &ModelProto) -> BTreeMap<(String, usize), usize> {
    let mut found = BTreeMap::new();
    let Ok(graph) = Graph::new(model) else {
        return found;
    };
    for &input in graph.inputs() {
        let Some(rank) = graph.declared_shape(input).map(|s| s.len()) else {
            continue;
        };
        let name = graph.name(input).to_owned();
        // Which axis of the input each axis of a tensor is.
        let mut pending = vec![(input, (0..rank).collect::<Vec<_>>())];
        let mut seen = BTreeSet::new();
        while let Some((t, axes)) = pending.pop() {
            if !seen.insert(t) {
                continue;
            }
            for u in graph.consumers(t).iter().filter(|u| u.input.is_some()) {
                let node = graph.node(u.node);
                if let Some((axis, size)) = asked(&graph, &node, u.node, u.input, rank)
                    && let Some(&axis) = axes.get(axis)
                {
                    found.entry((name.clone(), axis)).or_insert(size);
                }
                let behind = match node.operator().map(|row| row.shape) {
                    Some(Shape::Transpose) => node.ints("perm").and_then(|perm| {
                        let of = |&p: &i64| axes.get(usize::try_from(p).ok()?).copied();
                        perm.iter().map(of).collect::<Option<Vec<_>>>()
                    }),
                    Some(Shape::First | Shape::Broadcast) => Some(axes.clone()),
                    _ => None,
                };
                if let (Some(behind), Some(out)) = (behind, graph.output_of(u.node, 0)) {
                    pending.push((out, behind));
                }
            }
        }
    }
    found
}

/// The axis of its input `k` that a node knows the size of.
fn asked(
    graph: &Graph<'_>,
    node: &Node<'_>,
    n: NodeId,
    k: Option<usize>,
    rank: usize,
) -> Option<(usize, usize)> {
    let side = match (k, node.op()) {
        (Some(0), _) => WeightsAt::Right,
        (Some(1), "MatMul") => WeightsAt::Left,
        _ => return None,
    };
    let weight = dims_of(graph, graph.input_of(n, side.weight_input())?)?;
    let at = |k: usize| weight.get(k).copied();
    match node.op() {
        "BatchNormalization" | "InstanceNormalization" => Some((1, at(0)?)),
        "MatMul" if weight.len() != 2 => None,
        op => {
            let axes = node.product_axes(side, rank)?;
            let groups = if op == "Conv" { node.groups()? } else { 1 };
            Some((axes.data, at(axes.inputs)?.checked_mul(groups)?))
        }
    }
}

/// Products within one another that are followed: each has two sides.
const PRODUCTS: usize = 6;

/// The dimensions of a constant, seen through operators that keep them.
fn dims_of(graph: &Graph<'_>, t: TensorId) -> Option<Vec<usize>> {
    dims_within(graph, t, PRODUCTS)
}

/// The same, through at most `products` products within one another.
fn dims_within(graph: &Graph<'_>, mut t: TensorId, products: usize) -> Option<Vec<usize>> {
    for _ in 0..32 {
        if let Some(proto) = graph.initializer(t) {
            return crate::onnx::element_count(&proto.dims).map(|(shape, _)| shape);
        }
        let n = graph.producer(t)?;
        let node = graph.node(n);
        match node.op() {
            "Constant" => return node.constant().map(|v| v.shape().to_vec()),
            // A scale may stand on either side.
            "Mul" | "Div" => {
                let left = products.checked_sub(1)?;
                let side = |k| dims_within(graph, graph.input_of(n, k)?, left);
                return match (side(0)?, side(1)?) {
                    (a, b) if b.iter().all(|&d| d == 1) && b.len() <= a.len() => Some(a),
                    (a, b) if a.iter().all(|&d| d == 1) && a.len() <= b.len() => Some(b),
                    (a, b) if a.len() == b.len() => {
                        Some(a.iter().zip(&b).map(|(&a, &b)| a.max(b)).collect())
                    }
                    _ => None,
                };
            }
            _ if node.operator()?.shape == Shape::First => t = graph.input_of(n, 0)?,
            _ => return None,
        }
    }
    None
}
