//! `QuantizeLinear` and `DequantizeLinear`.

use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter};
use crate::onnx::Tensor;
use crate::rewrite::state::{Known, State, ULP};

/// What turns numbers into small integers: scales (one, or one a channel) and a zero point.
struct Grid {
    scales: Vec<f32>,
    per_channel: bool,
    integers: Integers,
}

/// `QuantizeLinear`, with one scale or one a channel.
pub(super) fn quantize(ctx: &Context<'_, '_>) -> Outcome {
    rule(ctx, |s, scale, integers| {
        let (State::Constant(Known { value, slack }), Some((zero, least, most))) = (s, integers)
        else {
            return s.join(State::Fixed);
        };
        if value == 0.0 && slack == 0.0 {
            return State::exact(zero as f32);
        }
        let scaled = f64::from(value) / scale;
        let slack = f64::from(slack) / scale + 2.0 * ULP * scaled.abs();
        let to_half = (scaled - scaled.floor() - 0.5).abs();
        match to_half > slack && scaled.is_finite() {
            true => State::exact((scaled.round() + zero).clamp(least, most) as f32),
            false => State::Fixed,
        }
    })
}

/// `DequantizeLinear`, with one scale or one a channel.
pub(super) fn dequantize(ctx: &Context<'_, '_>) -> Outcome {
    rule(ctx, |s, scale, integers| {
        let (State::Constant(k), Some((zero, ..))) = (s, integers) else {
            return s.join(State::Fixed);
        };
        let v = (f64::from(k.value) - zero) * scale;
        State::known(v, f64::from(k.slack) * scale + ULP * v.abs())
    })
}

/// The zero point, and the least and greatest integer; `None` where they are not known.
type Integers = Option<(f64, f64, f64)>;

fn rule(ctx: &Context<'_, '_>, f: impl Fn(State, f64, Integers) -> State) -> Outcome {
    let (x, shape) = ctx.data()?;
    let grid = grid(ctx, x.axis, shape.len())?;
    let scale = |j: usize| {
        let of = if grid.per_channel { j } else { 0 };
        f64::from(grid.scales.get(of).copied().unwrap_or(0.0))
    };
    let state = |(j, &s): (usize, &State)| match scale(j) {
        scale if scale.is_normal() && scale > 0.0 => f(s, scale, grid.integers),
        _ => s.join(State::Fixed),
    };
    let parameter = grid.per_channel.then_some(Parameter {
        input: 1,
        along: Along::Output(0),
        cut: Cut::Axis(0),
    });
    Ok(Some(Behaviour {
        parameters: parameter.into_iter().collect(),
        ..Behaviour::of(Output {
            states: x.states.iter().enumerate().map(state).collect(),
            ..Output::channelwise(x, |s| s)
        })
    }))
}

fn grid(ctx: &Context<'_, '_>, axis: usize, rank: usize) -> Result<Grid, String> {
    let node = ctx.node();
    if node.int("block_size", 0) != 0 {
        return Err("has scales for blocks".to_owned());
    }
    let value = ctx.constant(1).and_then(Tensor::floats);
    let value = value.ok_or("has scales that are not constant f32")?;
    let scales: Vec<f32> = value.iter().copied().collect();
    let zero_point = ctx.tensor(2);
    if scales.len() == 1 {
        let integers = match zero_point {
            None => default_integers(ctx),
            Some(t) => ctx.graph.initializer(t).and_then(zero_of),
        };
        let per_channel = false;
        return Ok(Grid {
            scales,
            per_channel,
            integers,
        });
    }
    if node.axis(1, rank) != Some(axis) {
        return Err("has scales along another axis than the channels".to_owned());
    }
    match zero_point {
        None => Ok(Grid {
            scales,
            per_channel: true,
            integers: default_integers(ctx),
        }),
        Some(_) => Err("has a zero point for each channel, which is not supported".to_owned()),
    }
}

/// Without a zero point it is 0, and the integers are unsigned bytes where nothing else is said.
fn default_integers(ctx: &Context<'_, '_>) -> Integers {
    match ctx.node().int("output_dtype", 0) {
        0 | 2 => Some((0.0, 0.0, 255.0)),
        _ => None,
    }
}

/// A single zero point, and the range of its type.
fn zero_of(t: &crate::onnx::proto::TensorProto) -> Integers {
    let raw = t.raw_data.as_deref().unwrap_or_default();
    let one = |byte: fn(u8) -> i32| match (raw, t.int32_data.as_slice()) {
        (&[b], []) => Some(byte(b)),
        ([], &[v]) => Some(v),
        _ => None,
    };
    let (zero, least, most) = match t.data_type() {
        2 => (one(i32::from)?, 0.0, 255.0),
        3 => (one(|b| i32::from(b as i8))?, -128.0, 127.0),
        _ => return None,
    };
    Some((f64::from(zero), least, most))
}
