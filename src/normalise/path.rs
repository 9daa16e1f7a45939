//! From a binary layer's output to the binariser it ends in.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::graph::{Facts, Graph, Node, NodeId, TensorId, broadcast, scalar};
use crate::recognize::Layer;

/// The operators between a layer's output and a binariser, each monotone in its input, channel by
/// channel.
#[derive(Debug)]
pub(super) struct Path {
    steps: Vec<Step>,
    /// The tensor that is binarised.
    pub end: TensorId,
    /// What the binariser makes of 0.
    pub zero: i8,
}

/// One operator.
#[derive(Debug)]
enum Step {
    /// `MaxPool`: takes the largest of several elements of a channel.
    Pool(NodeId),
    /// `y = (x - mean) · factor + shift`, each `[C]` in the shape of a channel vector.
    Norm([ArrayD<f32>; 3]),
    /// An arithmetic operator with a constant on the right, or on the left if `reversed`.
    Arithmetic {
        f: scalar::Binary,
        constant: ArrayD<f32>,
        reversed: bool,
    },
    /// `Clip`.
    Clip(f32, f32),
    /// `PRelu`, the slope in the shape of a channel vector.
    Slope(ArrayD<f32>),
    /// A monotone function of one number.
    Unary(NodeId),
}

/// Operators that never decrease where their input increases.
const MONOTONE: &[&str] = &[
    "Identity",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Sigmoid",
    "HardSigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Erf",
];

impl Path {
    /// Follows the only reader of each tensor from the layer's output on. `ends` are the tensors
    /// that binarisers read, and what those make of 0. `None` if the output goes elsewhere, or
    /// through an operator that is not known to be monotone.
    pub(super) fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        layer: &Layer,
        ends: &BTreeMap<TensorId, i8>,
    ) -> Option<Self> {
        let mut t = graph.output_of(layer.node, 0)?;
        let shape = channel_shape(facts.shape(t)?.len(), layer);
        let mut steps = Vec::new();
        loop {
            if graph.is_output(t) {
                return None;
            }
            let [reader] = graph.consumers(t) else {
                return None;
            };
            if let Some(&zero) = ends.get(&t) {
                return Some(Self {
                    steps,
                    end: t,
                    zero,
                });
            }
            steps.push(Step::of(graph, facts, reader.node, t, &shape)?);
            t = graph.output_of(reader.node, 0)?;
        }
    }

    /// The `MaxPool`s, in order.
    pub(super) fn pools(&self) -> impl Iterator<Item = NodeId> {
        self.steps.iter().filter_map(|s| match s {
            Step::Pool(n) => Some(*n),
            _ => None,
        })
    }

    /// What reaches the binariser where a channel of the layer's output has these values; pooling
    /// takes the largest of equal ones. With `to_last_pool` only as far as that.
    pub(super) fn run(
        &self,
        graph: &Graph<'_>,
        mut x: ArrayD<f32>,
        to_last_pool: bool,
    ) -> Option<ArrayD<f32>> {
        let shape = x.shape().to_vec();
        let last_pool = self.steps.iter().rposition(|s| matches!(s, Step::Pool(_)));
        let count = match to_last_pool {
            true => last_pool.map_or(0, |i| i + 1),
            false => self.steps.len(),
        };
        for step in self.steps.iter().take(count) {
            x = step.run(graph, x)?;
            if x.shape() != shape || x.iter().any(|v| !v.is_finite()) {
                return None;
            }
        }
        Some(x)
    }
}

/// The shape of one value per channel that broadcasts against the layer's output.
pub(super) fn channel_shape(rank: usize, layer: &Layer) -> Vec<usize> {
    let axis = match layer.op {
        crate::recognize::LayerOp::Conv => 1,
        _ => rank.saturating_sub(1),
    };
    let mut shape = vec![1; rank];
    if let Some(d) = shape.get_mut(axis) {
        *d = layer.filters;
    }
    shape
}

impl Step {
    fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        n: NodeId,
        data: TensorId,
        shape: &[usize],
    ) -> Option<Self> {
        let node = graph.node(n);
        let at = |k: usize| graph.input_of(n, k) == Some(data);
        let constant = |k: usize| -> Option<ArrayD<f32>> {
            let t = graph.input_of(n, k)?;
            Some(facts.constant(t)?.as_f32()?.clone())
        };
        // One value per channel, as the operators with a parameter [C] take it.
        let per_channel = |k: usize| -> Option<ArrayD<f32>> {
            let value = constant(k)?;
            value.into_shape_with_order(shape.to_vec()).ok()
        };
        match node.op() {
            "MaxPool" if at(0) && graph.output_of(n, 1).is_none() => Some(Self::Pool(n)),
            "BatchNormalization" if at(0) && node.int("training_mode", 0) == 0 => {
                let (gamma, beta) = (per_channel(1)?, per_channel(2)?);
                let (mean, variance) = (per_channel(3)?, per_channel(4)?);
                let epsilon = node.float("epsilon", 1e-5);
                let factor = gamma / variance.mapv(|v| (v + epsilon).sqrt());
                Some(Self::Norm([mean, factor, beta]))
            }
            op @ ("Add" | "Sub" | "Mul" | "Div") => {
                let f = scalar::binary(op)?;
                let reversed = at(1);
                if reversed && (at(0) || op == "Div") {
                    return None;
                }
                Some(Self::Arithmetic {
                    f,
                    constant: constant(usize::from(!reversed))?,
                    reversed,
                })
            }
            "Clip" if at(0) => {
                let bound = |k: usize, or: f32| match graph.input_of(n, k) {
                    None => Some(or),
                    Some(_) => constant(k)?.first().copied(),
                };
                let (low, high) = (bound(1, f32::MIN)?, bound(2, f32::MAX)?);
                (low <= high).then_some(Self::Clip(low, high))
            }
            "PRelu" if at(0) => {
                let slope = constant(1)?;
                let fits = broadcast(slope.shape(), shape).as_deref() == Some(shape);
                (fits && slope.iter().all(|&s| s >= 0.0)).then_some(Self::Slope(slope))
            }
            "Dropout" if at(0) && is_off(&node, graph, facts, n) => {
                Some(Self::Clip(f32::MIN, f32::MAX))
            }
            op if MONOTONE.contains(&op) && at(0) => {
                // A negative slope would turn back.
                (node.float("alpha", 0.0) >= 0.0).then_some(Self::Unary(n))
            }
            _ => None,
        }
    }

    fn run(&self, graph: &Graph<'_>, x: ArrayD<f32>) -> Option<ArrayD<f32>> {
        Some(match self {
            Self::Pool(_) => x,
            Self::Norm([mean, factor, shift]) => (x - mean) * factor + shift,
            Self::Arithmetic {
                f,
                constant,
                reversed,
            } => {
                let shape = broadcast(x.shape(), constant.shape())?;
                let (a, b) = match reversed {
                    false => (x.broadcast(shape.clone())?, constant.broadcast(shape)?),
                    true => (constant.broadcast(shape.clone())?, x.broadcast(shape)?),
                };
                ndarray::Zip::from(&a).and(&b).map_collect(|&a, &b| f(a, b))
            }
            Self::Clip(low, high) => x.mapv(|v| v.max(*low).min(*high)),
            Self::Slope(slope) => {
                let slope = slope.broadcast(x.raw_dim())?;
                ndarray::Zip::from(&x)
                    .and(&slope)
                    .map_collect(|&x, &s| if x < 0.0 { s * x } else { x })
            }
            Self::Unary(n) => x.mapv(scalar::unary(&graph.node(*n))?),
        })
    }
}

/// Whether a Dropout does nothing.
fn is_off(node: &Node<'_>, graph: &Graph<'_>, facts: &Facts, n: NodeId) -> bool {
    graph.output_of(n, 1).is_none()
        && (node.opset() < 12
            || match graph.input_of(n, 2) {
                None => true,
                Some(t) => matches!(
                    facts.constant(t),
                    Some(crate::onnx::Tensor::Bool(b)) if b.iter().all(|on| !on)
                ),
            })
}
