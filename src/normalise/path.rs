//! From a binary layer's output to the binariser that it ends in.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayD;

use crate::graph::{Facts, Graph, NodeId, TensorId, broadcast, is_training, scalar};
use crate::operators::{Smoothness, Trend};
use crate::recognize::{Layer, binarizer_of};

/// The operators between a layer's output and a binariser, each monotone in its input, channel by
/// channel.
#[derive(Debug)]
pub(super) struct Path {
    steps: Vec<Step>,
    /// What it ends in.
    pub end: End,
}

/// A binariser to ±1, seen as the sign of its input minus a threshold.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The binarised tensor.
    pub output: TensorId,
    /// Its value where the input is at the threshold: -1, 0 or +1.
    pub zero: i8,
    /// What the input is compared with; broadcasts to it.
    threshold: ArrayD<f32>,
    /// -1 where what is above the threshold becomes -1.
    turn: f32,
}

impl End {
    /// The binarisers of a graph, by the tensor they read. Only those are listed that nothing else
    /// takes part in: every reader of the input serves the binariser alone.
    pub(super) fn all(graph: &Graph<'_>, facts: &Facts) -> BTreeMap<TensorId, Self> {
        let found = graph
            .tensors()
            .filter_map(|t| binarizer_of(graph, facts, t))
            .filter(|b| b.is_signed() && is_alone(graph, b.input, b.output))
            .filter(|b| facts.same_shape(b.input, b.output))
            .filter_map(|b| {
                let [below, at, above] = b.values;
                let unit = above.abs() == 1.0 && below == -above && [-1.0, 0.0, 1.0].contains(&at);
                let end = Self {
                    output: b.output,
                    zero: at as i8,
                    threshold: b.threshold,
                    turn: above,
                };
                unit.then_some((b.input, end))
            });
        found.collect()
    }

    /// Positive where the binariser gives +1, negative where it gives -1, 0 at the threshold.
    fn signed(&self, x: ArrayD<f32>) -> Option<ArrayD<f32>> {
        let threshold = self.threshold.broadcast(x.raw_dim())?;
        Some((x - threshold) * self.turn)
    }
}

/// Whether everything that is computed of `input` leads to `output` and nowhere else, and `output`
/// is not one of the graph's.
fn is_alone(graph: &Graph<'_>, input: TensorId, output: TensorId) -> bool {
    let mut open = vec![input];
    let mut seen = BTreeSet::new();
    while let Some(t) = open.pop() {
        if graph.is_output(t) {
            return false;
        }
        if t == output || !seen.insert(t) {
            continue;
        }
        // No binariser is so long; something else is in the way.
        if seen.len() > 64 || graph.consumers(t).is_empty() {
            return false;
        }
        for reader in graph.consumers(t) {
            if reader.input.is_none() {
                return false;
            }
            open.extend(graph.outputs_of(reader.node).into_iter().flatten());
        }
    }
    true
}

/// One operator.
#[derive(Debug)]
enum Step {
    /// `MaxPool`: takes the largest of several elements of a channel.
    Pool(NodeId),
    /// `y = (x - mean) · factor + shift`, each `[C]` in the shape of a channel vector.
    Norm(Box<[ArrayD<f32>; 3]>),
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

impl Path {
    /// Follows the only reader of each tensor from the layer's output on. `ends` are the tensors
    /// that binarisers read, and what those make of 0. `None` if the output goes elsewhere, or
    /// through an operator that is not known to be monotone.
    pub(super) fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        layer: &Layer,
        ends: &BTreeMap<TensorId, End>,
    ) -> Option<Self> {
        let mut t = graph.output_of(layer.node, 0)?;
        let shape = channel_shape(graph, facts.shape(t)?.len(), layer);
        let mut steps = Vec::new();
        loop {
            if graph.is_output(t) {
                return None;
            }
            if let Some(end) = ends.get(&t) {
                let end = end.clone();
                return Some(Self { steps, end });
            }
            let [reader] = graph.consumers(t) else {
                return None;
            };
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

    /// What has the sign of the binarised tensor, where a channel of the layer's output has these
    /// values; pooling takes the largest of equal ones. With `to_last_pool` what leaves that.
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
        match to_last_pool {
            true => Some(x),
            false => self.end.signed(x).filter(|x| x.shape() == shape),
        }
    }
}

/// The shape of one value per channel that broadcasts against the layer's output.
pub(super) fn channel_shape(graph: &Graph<'_>, rank: usize, layer: &Layer) -> Vec<usize> {
    let axes = graph.node(layer.node).product_axes(layer.weights_at, rank);
    let mut shape = vec![1; rank];
    if let Some(d) = axes.and_then(|axes| shape.get_mut(axes.output)) {
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
        if graph.output_of(n, 1).is_some_and(|t| graph.is_used(t)) || is_training(graph, facts, n) {
            return None;
        }
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
            "MaxPool" if at(0) => Some(Self::Pool(n)),
            // Its channels are on axis 1, those of a MatMul on the last one.
            "BatchNormalization" if at(0) && shape.get(1) == Some(&shape.iter().product()) => {
                let (gamma, beta) = (per_channel(1)?, per_channel(2)?);
                let (mean, variance) = (per_channel(3)?, per_channel(4)?);
                let epsilon = node.epsilon();
                let factor = gamma / variance.mapv(|v| (v + epsilon).sqrt());
                Some(Self::Norm(Box::new([mean, factor, beta])))
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
                let given = |k| graph.input_of(n, k).map(|_| constant(k)?.first().copied());
                let [low, high] = node.clip_bounds(given);
                let (low, high) = (low?, high?);
                (low <= high).then_some(Self::Clip(low, high))
            }
            "PRelu" if at(0) => {
                let slope = constant(1)?;
                let fits = broadcast(slope.shape(), shape).as_deref() == Some(shape);
                (fits && slope.iter().all(|&s| s >= 0.0)).then_some(Self::Slope(slope))
            }
            "Dropout" if at(0) => Some(Self::Clip(f32::NEG_INFINITY, f32::INFINITY)),
            _ if at(0) => {
                let row = node.operator()?;
                let smooth = row.unary().is_some() && !row.decides;
                let smooth = smooth && (row.smoothness)(&node) != Smoothness::Jumps;
                (smooth && (row.trend)(&node) == Trend::Rises).then_some(Self::Unary(n))
            }
            _ => None,
        }
    }

    fn run(&self, graph: &Graph<'_>, x: ArrayD<f32>) -> Option<ArrayD<f32>> {
        Some(match self {
            Self::Pool(_) => x,
            Self::Norm(norm) => {
                let [mean, factor, shift] = &**norm;
                (x - mean) * factor + shift
            }
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
