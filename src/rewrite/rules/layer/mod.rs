//! The layers that mix channels: `Conv`, `ConvTranspose`, `Gemm`, `MatMul` with constant weights.
//!
//! A depthwise convolution mixes nothing: its rule, in [`depthwise`], is that of a channel-wise
//! operator.

mod conv;
mod dense;
mod depthwise;
mod shape;

use std::borrow::Cow;

use ndarray::ArrayD;

use super::{Behaviour, Channels, Context, Cut, Output, Parameter};
use crate::graph::{TensorId, Window};
use crate::rewrite::state::{State, ULP};

pub(super) use conv::{conv, transposed};
pub(super) use dense::{gemm, matmul};
pub(crate) use shape::{Kernels, LayerShape, Shift};

type Outcome = Result<Option<Behaviour>, String>;

/// Around a convolution's border fewer weights meet the input than inside.
#[derive(Debug, Clone)]
pub(crate) struct Border {
    pub window: Window,
    /// Spatial size of input and output.
    pub input: Vec<usize>,
    pub output: Vec<usize>,
    pub transposed: bool,
}

impl Border {
    /// Whether kernel position `tap` meets the input where output position `at` is computed.
    pub fn meets(&self, at: &[usize], tap: &[usize]) -> bool {
        let w = &self.window;
        (0..self.input.len()).all(|i| {
            let offset = tap[i] * w.dilations[i];
            if self.transposed {
                let p = (at[i] + w.begin[i]).checked_sub(offset);
                p.is_some_and(|p| p % w.strides[i] == 0 && p / w.strides[i] < self.input[i])
            } else {
                let p = (at[i] * w.strides[i] + offset).checked_sub(w.begin[i]);
                p.is_some_and(|p| p < self.input[i])
            }
        })
    }
}

/// A layer's arithmetic: `output = scale · (weight · input) + bias`.
#[derive(Debug)]
pub(crate) struct Mixing {
    pub layer: LayerShape,
    /// The tensor it reads, if that has its channels on the axis that is mixed.
    pub data: Option<TensorId>,
    /// Weights of a filter for each input channel of its group.
    pub kernel: usize,
    /// Output positions of a filter, at batch size 1.
    pub positions: usize,
    /// `alpha` of a Gemm, else 1.
    pub scale: f32,
    /// What is added to each filter (`beta · C` of a Gemm).
    pub bias: Vec<f64>,
    /// Where a constant input does not give a constant output.
    pub border: Option<Border>,
    /// Whether filter `o` reads input `i` of its group: at `o * group_inputs + i`.
    reads: Vec<bool>,
}

impl Mixing {
    /// Multiply-accumulates of one filter, at batch size 1.
    pub fn macs(&self) -> usize {
        let weights = self.layer.group_inputs().saturating_mul(self.kernel);
        weights.saturating_mul(self.positions)
    }

    /// Whether filter `o` has a weight other than 0 for input channel `i`.
    pub fn reads(&self, o: usize, i: usize) -> bool {
        let width = self.layer.group_inputs().max(1);
        self.layer.connected(o, i)
            && self
                .reads
                .get(o * width + i % width)
                .copied()
                .unwrap_or(true)
    }
}

/// What a layer of any kind adds to its rule.
struct Layer<'a> {
    shape: LayerShape,
    weight: Cow<'a, ArrayD<f32>>,
    /// Axis of the data that is mixed, and of the output that holds the filters.
    data_axis: usize,
    out_axis: usize,
    scale: f32,
    bias: Vec<f64>,
    border: Option<Border>,
}

type Weighted<'a> = (LayerShape, Cow<'a, ArrayD<f32>>);

fn weights<'a>(ctx: &Context<'a, '_>) -> Result<Weighted<'a>, String> {
    let why = || "has weights that are not constant numbers of a float type".to_owned();
    let layer = LayerShape::of(ctx.graph, ctx.facts, ctx.id).ok_or_else(why)?;
    let weight = ctx.facts.weights(ctx.graph, layer.weight);
    Ok((layer, weight.ok_or_else(why)?))
}

/// The behaviour of a layer.
fn mix(ctx: &Context<'_, '_>, l: Layer<'_>) -> Outcome {
    let shape = l.shape;
    let input = shape.weights_at.data_input();
    if ctx.shape(input).and_then(|s| s.get(l.data_axis)) != Some(&shape.inputs) {
        return Err("has weights that do not fit its input".to_owned());
    }
    let out = ctx.out_shape()?;
    let width = shape.group_inputs();
    let kernels = shape.kernels(&l.weight);
    let mut reads = Vec::with_capacity(shape.filters * width);
    for o in 0..shape.filters {
        let first = o / shape.group_filters().max(1) * width;
        for i in first..first + width {
            reads.push(kernels.taps(o, i).iter().any(|&w| w != 0.0));
        }
    }
    let mut mixing = Mixing {
        layer: shape,
        data: None,
        kernel: l.weight.shape().iter().skip(2).product(),
        positions: out.iter().product::<usize>() / shape.filters.max(1),
        scale: l.scale,
        bias: l.bias,
        border: l.border,
        reads,
    };
    let mut blocked = Vec::new();
    let data = match ctx.channels(input) {
        Some(c) if c.axis == l.data_axis => Some(c),
        Some(c) => {
            let why = format!(
                "mixes axis {}, not the channel axis {}",
                l.data_axis, c.axis
            );
            blocked.push((input, why));
            None
        }
        None => None,
    };
    mixing.data = data.and(ctx.tensor(input));
    let zeroed = ctx.zeroed.get(&ctx.id);
    let states = (0..shape.filters)
        .map(|o| match zeroed.and_then(|z| z.get(o)) {
            Some(true) => State::exact(0.0),
            _ => filter_state(&mixing, &kernels, data, o),
        })
        .collect();
    Ok(Some(Behaviour {
        parameters: bias_parameter(ctx, &shape).into_iter().collect(),
        mixing: Some(mixing),
        blocked,
        ..Behaviour::of(Output {
            axis: l.out_axis,
            states,
            ..Output::default()
        })
    }))
}

/// The bias follows the filters. (The weights follow filters and inputs: see [`LayerShape::cut`].)
fn bias_parameter(ctx: &Context<'_, '_>, shape: &LayerShape) -> Option<Parameter> {
    if shape.shift == Shift::Behind(0) {
        return None;
    }
    let c = ctx.constant(2)?.shape();
    // Where the filters are, counted from the last axis.
    let from_end = match shape.shift {
        Shift::Behind(n) => n,
        _ => 0,
    };
    let axis = c.len().checked_sub(1 + from_end)?;
    (c[axis] == shape.filters && shape.filters > 1).then_some(Parameter {
        input: 2,
        along: super::Along::Output(0),
        cut: Cut::Axis(axis),
    })
}

/// What is known of filter `o`'s output, by the channels that it reads.
fn filter_state(m: &Mixing, kernels: &Kernels<'_>, data: Option<&Channels>, o: usize) -> State {
    let bias = m.bias.get(o).copied().unwrap_or(0.0);
    let (mut sum, mut size, mut slack, mut terms) = (0.0, 0.0, 0.0, 0.0);
    let mut fixed = false;
    let first = o / m.layer.group_filters().max(1) * m.layer.group_inputs();
    for i in (first..first + m.layer.group_inputs()).filter(|&i| m.reads(o, i)) {
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
            State::Constant(_) if m.border.is_some() && !state.is_exact_zero() => {
                fixed = true;
                continue;
            }
            State::Constant(k) => k,
        };
        for &w in kernels.taps(o, i) {
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
