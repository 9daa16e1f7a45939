//! The layers that mix channels: `Conv`, `Gemm`, `MatMul` with constant weights.

use ndarray::{ArrayD, Axis};

use super::{Along, Behaviour, Channels, Context, Cut, Parameter};
use crate::graph::{Facts, Graph, NodeId, TensorId, Window};
use crate::onnx::Tensor;
use crate::rewrite::state::{State, ULP};

type Outcome = Result<Option<Behaviour>, String>;

/// Where a layer keeps its filters: what masks need to know of any Conv, Gemm or MatMul with
/// constant `f32` weights, whether or not its channels can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerShape {
    pub weight: TensorId,
    pub filters: usize,
    pub filter_axis: usize,
    pub input_axis: usize,
    pub shift: Shift,
}

/// Where a layer adds a constant for each filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Conv: input 2, one value a filter.
    Bias,
    /// Gemm: input 2 times `beta`.
    Scaled,
    /// MatMul: only a node behind it can.
    Behind,
}

impl LayerShape {
    /// Of a node, if it is such a layer and reads data.
    pub fn of(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        let (filter_axis, shift) = match node.op() {
            "Conv" => (0, Shift::Bias),
            "Gemm" => (usize::from(node.int("transB", 0) == 0), Shift::Scaled),
            "MatMul" => (1, Shift::Behind),
            _ => return None,
        };
        let weight = graph.input_of(id, 1)?;
        let rank = facts.constant(weight)?.as_f32()?.ndim();
        let fits = match shift {
            Shift::Bias => rank >= 3,
            _ => rank == 2,
        };
        if !fits || !facts.is_data(graph.input_of(id, 0)?) {
            return None;
        }
        Some(Self {
            weight,
            filters: facts.shape(weight)?[filter_axis],
            filter_axis,
            input_axis: 1 - filter_axis,
            shift,
        })
    }
}

/// A layer's arithmetic: `output = scale · (weight · input) + bias`.
#[derive(Debug)]
pub(crate) struct Mixing {
    pub layer: LayerShape,
    /// The tensor it reads, if that has its channels on the axis that is mixed.
    pub data: Option<TensorId>,
    /// Input channels.
    pub inputs: usize,
    /// Weights of a filter for each of them.
    pub kernel: usize,
    /// `alpha` of a Gemm, else 1.
    pub scale: f32,
    /// What is added to each filter (`beta · C` of a Gemm).
    pub bias: Vec<f32>,
    /// The window of a convolution that pads with zeros, and the input's spatial size.
    pub padding: Option<(Window, Vec<usize>)>,
    /// Whether filter `o` reads input `i`: at `o * inputs + i`.
    reads: Vec<bool>,
}

impl Mixing {
    /// Whether filter `o` has a weight other than 0 for input channel `i`.
    pub fn reads(&self, o: usize, i: usize) -> bool {
        self.reads.get(o * self.inputs + i).copied().unwrap_or(true)
    }
}

/// `Conv` with one group.
pub(super) fn conv(ctx: &Context<'_, '_>) -> Outcome {
    let node = ctx.node();
    let (layer, weight) = weights(ctx)?;
    if node.int("group", 1) != 1 {
        return Err("is a grouped convolution, which has no channel rule".to_owned());
    }
    let shape = ctx.shape(0).ok_or("reads a tensor of unknown shape")?;
    if shape.len() != weight.ndim() || shape.get(1) != weight.shape().get(1) {
        return Err("has weights that do not fit its input".to_owned());
    }
    let window = Window::of(&node, shape, weight.shape().get(2..))
        .ok_or("has attributes that contradict each other")?;
    let bias = match ctx.tensor(2) {
        None => vec![0.0; layer.filters],
        Some(_) => per_filter(ctx, layer.filters)?,
    };
    let padded = window.begin.iter().chain(&window.end).any(|&p| p > 0);
    let padding = padded.then(|| (window, shape[2..].to_vec()));
    mix(ctx, layer, weight, 1, 1.0, bias, padding)
}

/// `Gemm` with the data on the left, not transposed.
pub(super) fn gemm(ctx: &Context<'_, '_>) -> Outcome {
    let node = ctx.node();
    let (layer, weight) = weights(ctx)?;
    if node.int("transA", 0) != 0 {
        return Err("transposes its data (transA), which has no channel rule".to_owned());
    }
    let bias = match ctx.tensor(2) {
        None => vec![0.0; layer.filters],
        Some(_) => {
            let beta = node.float("beta", 1.0);
            let c = per_filter(ctx, layer.filters)?;
            c.into_iter().map(|v| beta * v).collect()
        }
    };
    mix(ctx, layer, weight, 1, node.float("alpha", 1.0), bias, None)
}

/// `MatMul` with a constant matrix on the right.
pub(super) fn matmul(ctx: &Context<'_, '_>) -> Outcome {
    let (layer, weight) = weights(ctx)?;
    let rank = ctx.shape(0).ok_or("reads a tensor of unknown shape")?.len();
    let axis = rank.checked_sub(1).ok_or("reads a scalar")?;
    if rank < 2 {
        return Err("reads a vector, which has no channel rule".to_owned());
    }
    let bias = vec![0.0; layer.filters];
    mix(ctx, layer, weight, axis, 1.0, bias, None)
}

fn weights<'a>(ctx: &Context<'a, '_>) -> Result<(LayerShape, &'a ArrayD<f32>), String> {
    let why = || "has weights that are not constant f32".to_owned();
    let layer = LayerShape::of(ctx.graph, ctx.facts, ctx.id).ok_or_else(why)?;
    let weight = ctx.facts.constant(layer.weight).and_then(Tensor::as_f32);
    Ok((layer, weight.ok_or_else(why)?))
}

/// Input 2 as one value a filter: given so, or one for all.
fn per_filter(ctx: &Context<'_, '_>, filters: usize) -> Result<Vec<f32>, String> {
    let c = ctx.constant(2).and_then(Tensor::as_f32);
    let c = c.ok_or("has a bias that is not constant f32")?;
    let values: Vec<f32> = c.iter().copied().collect();
    match (c.shape(), values.as_slice()) {
        (_, &[one]) => Ok(vec![one; filters]),
        ([n] | [1, n], _) if *n == filters => Ok(values),
        _ => Err("has a bias that is not one value a filter".to_owned()),
    }
}

/// The behaviour of a layer whose data has its channels on `axis`.
fn mix(
    ctx: &Context<'_, '_>,
    layer: LayerShape,
    weight: &ArrayD<f32>,
    axis: usize,
    scale: f32,
    bias: Vec<f32>,
    padding: Option<(Window, Vec<usize>)>,
) -> Outcome {
    let inputs = weight.shape()[layer.input_axis];
    if ctx.shape(0).and_then(|s| s.get(axis)) != Some(&inputs) {
        return Err("has weights that do not fit its input".to_owned());
    }
    let mut reads = Vec::with_capacity(layer.filters * inputs);
    for filter in weight.axis_iter(Axis(layer.filter_axis)) {
        // What is left of the input axis once the filter axis is gone.
        for column in filter.axis_iter(Axis(0)) {
            reads.push(column.iter().any(|&w| w != 0.0));
        }
    }
    let mut mixing = Mixing {
        layer,
        data: None,
        inputs,
        kernel: weight.shape().iter().skip(2).product(),
        scale,
        bias,
        padding,
        reads,
    };
    let mut blocked = Vec::new();
    let data = match ctx.channels(0) {
        Some(c) if c.axis == axis => Some(c),
        Some(c) => {
            let why = format!("mixes axis {axis}, not the channel axis {}", c.axis);
            blocked.push((0, why));
            None
        }
        None => None,
    };
    mixing.data = data.and(ctx.tensor(0));
    let zeroed = ctx.zeroed.get(&ctx.id);
    let states = (0..layer.filters)
        .map(|o| match zeroed.and_then(|z| z.get(o)) {
            Some(true) => State::exact(0.0),
            _ => filter_state(&mixing, weight, data, o),
        })
        .collect();
    let rank = ctx.out_shape()?.len();
    let out_axis = if layer.shift == Shift::Bias {
        1
    } else {
        rank - 1
    };
    Ok(Some(Behaviour {
        axis: out_axis,
        states,
        sources: Vec::new(),
        parameters: parameters(ctx, &layer, data.is_some()),
        mixing: Some(mixing),
        blocked,
    }))
}

fn parameters(ctx: &Context<'_, '_>, layer: &LayerShape, tracked: bool) -> Vec<Parameter> {
    let parameter = |input, along, axis| Parameter {
        input,
        along,
        cut: Cut::Axis(axis),
    };
    let mut list = vec![parameter(1, Along::Output, layer.filter_axis)];
    if tracked {
        list.push(parameter(1, Along::Input(0), layer.input_axis));
    }
    if let Some((&n, outer)) = ctx.constant(2).and_then(|c| c.shape().split_last())
        && n == layer.filters
        && n > 1
    {
        list.push(parameter(2, Along::Output, outer.len()));
    }
    list
}

/// What is known of filter `o`'s output, by the channels that it reads.
fn filter_state(m: &Mixing, weight: &ArrayD<f32>, data: Option<&Channels>, o: usize) -> State {
    let row = weight.index_axis(Axis(m.layer.filter_axis), o);
    let bias = f64::from(m.bias.get(o).copied().unwrap_or(0.0));
    let (mut sum, mut size, mut slack, mut terms) = (0.0, 0.0, 0.0, 0.0);
    let mut fixed = false;
    for i in (0..m.inputs).filter(|&i| m.reads(o, i)) {
        let Some(&state) = data.and_then(|d| d.states.get(i)) else {
            return State::Live;
        };
        let c = match state {
            State::Live => return State::Live,
            State::Fixed => {
                fixed = true;
                continue;
            }
            // The zeros around it are not this constant.
            State::Constant(_) if m.padding.is_some() && !state.is_exact_zero() => {
                fixed = true;
                continue;
            }
            State::Constant(k) => k,
        };
        for &w in row.index_axis(Axis(0), i) {
            let w = f64::from(w) * f64::from(m.scale);
            sum += w * f64::from(c.value);
            size += (w * f64::from(c.value)).abs();
            slack += w.abs() * f64::from(c.slack);
            terms += 1.0;
        }
    }
    if fixed {
        return State::Fixed;
    }
    // Nothing read: the bias, and no runtime rounds that (a Gemm may scale it by beta: one product).
    if size == 0.0 && slack == 0.0 {
        return State::exact(bias as f32);
    }
    let rounding = (terms + 2.0) * ULP * (size + bias.abs());
    State::known(sum + bias, slack + rounding)
}
