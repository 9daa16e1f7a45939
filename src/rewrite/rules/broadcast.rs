//! Elementwise operators of several operands: data tensors are coupled, constants follow.

use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter, Source};
use crate::graph::{Quantizer, scalar};
use crate::onnx::Tensor;
use crate::operators::Smoothness;
use crate::rewrite::state::{State, ULP};

/// `Add`, `Sub`, `Mul`, `Div`, `Min`, `Max`, `Sum`, `Mean`, `Pow`.
pub(super) fn arithmetic(ctx: &Context<'_, '_>) -> Outcome {
    let op = ctx.node().op();
    combine(ctx, |operands| {
        let mut it = operands.iter().copied();
        let first = it.next().unwrap_or(State::Live);
        let all = it.fold(first, |a, b| match op {
            "Add" | "Sum" | "Mean" => a.plus(b, 1.0),
            "Sub" => a.plus(b, -1.0),
            "Mul" => a.times(b),
            "Div" => a.over(b),
            "Min" => extreme(a, b, f32::min),
            "Max" => extreme(a, b, f32::max),
            _ => power(a, b),
        });
        match op {
            "Mean" => all.over(State::exact(operands.len() as f32)),
            _ => all,
        }
    })
}

fn power(base: State, exponent: State) -> State {
    match exponent {
        State::Constant(e) if e.slack == 0.0 => base.map(|v| v.powf(e.value), Smoothness::Rounded),
        _ => base.join(exponent),
    }
}

/// `And`, `Or`, `Xor`: true is 1, false 0.
pub(super) fn logic(ctx: &Context<'_, '_>) -> Outcome {
    let op = ctx.node().op();
    // What decides the result whatever the other operand is.
    let decisive = match op {
        "And" => Some(State::exact(0.0)),
        "Or" => Some(State::exact(1.0)),
        _ => None,
    };
    combine(ctx, |operands| match operands {
        [a, b] if decisive.is_some_and(|d| d == *a || d == *b) => decisive.unwrap_or(*a),
        [State::Constant(a), State::Constant(b)] => {
            let (a, b) = (a.value != 0.0, b.value != 0.0);
            let bit = match op {
                "And" => a && b,
                "Or" => a || b,
                _ => a != b,
            };
            State::exact(f32::from(u8::from(bit)))
        }
        [a, b] => a.join(*b),
        _ => State::Live,
    })
}

fn extreme(a: State, b: State, f: fn(f32, f32) -> f32) -> State {
    match (a, b) {
        (State::Constant(x), State::Constant(y)) => State::known(
            f64::from(f(x.value, y.value)),
            f64::from(x.slack.max(y.slack)),
        ),
        _ => a.join(b),
    }
}

/// `Greater`, `GreaterOrEqual`, `Less`, `LessOrEqual`, `Equal`: true is 1, false 0.
pub(super) fn comparison(ctx: &Context<'_, '_>) -> Outcome {
    let predicate = scalar::comparison(ctx.node().op()).ok_or("is not a comparison")?;
    combine(ctx, |operands| match operands {
        [a, b] => a.compare(*b, predicate),
        _ => State::Live,
    })
}

/// `Where(condition, a, b)`.
pub(super) fn select(ctx: &Context<'_, '_>) -> Outcome {
    combine(ctx, |operands| match operands {
        [State::Constant(c), a, b] => {
            if c.value != 0.0 {
                *a
            } else {
                *b
            }
        }
        [c, a, b] => c.join(a.join(*b)),
        _ => State::Live,
    })
}

/// `PRelu` with a constant slope.
pub(super) fn prelu(ctx: &Context<'_, '_>) -> Outcome {
    combine(ctx, |operands| match operands {
        [State::Constant(x), State::Constant(slope)] if slope.slack == 0.0 => {
            let slope = slope.value;
            let f = |v: f32| if v < 0.0 { slope * v } else { v };
            State::Constant(*x).map(f, Smoothness::Rounded)
        }
        [x, slope] => x.join(*slope),
        _ => State::Live,
    })
}

/// QONNX's quantisers: x, and a scale and zero point that broadcast to it.
pub(super) fn qonnx(ctx: &Context<'_, '_>) -> Outcome {
    let number = |k: usize| ctx.constant(k)?.scalar_f32();
    let quantizer = Quantizer::of(&ctx.node(), number).ok_or("is not in a supported form")?;
    combine(ctx, |operands| {
        let exact = |s: Option<&State>| match s {
            Some(State::Constant(k)) if k.slack == 0.0 => Some(k.value),
            _ => None,
        };
        let (x, scale) = (operands.first().copied(), exact(operands.get(1)));
        let zero = match quantizer {
            Quantizer::Bipolar => Some(0.0),
            _ => exact(operands.get(2)),
        };
        match (x, scale, zero) {
            (Some(x), Some(scale), Some(zero)) => {
                x.map(|v| quantizer.apply(v, scale, zero), Smoothness::Jumps)
            }
            _ => operands.iter().fold(State::Fixed, |a, b| a.join(*b)),
        }
    })
}

/// One operand: what is known of it for each channel of the output, and where that comes from.
#[derive(Default)]
struct Operand {
    states: Vec<State>,
    source: Option<Source>,
    parameter: Option<Parameter>,
    /// Why its channels cannot be cut.
    blocked: Option<&'static str>,
}

/// Channel by channel, the output is `f` of the operands.
fn combine(ctx: &Context<'_, '_>, f: impl Fn(&[State]) -> State) -> Outcome {
    let inputs = 0..ctx.graph.inputs_of(ctx.id).len();
    let shape = ctx.out_shape()?;
    let axis = inputs
        .clone()
        .find_map(|k| in_output(ctx, k, shape))
        .ok_or("reads tensors whose channels are not tracked")?;
    let count = *shape.get(axis).ok_or("changes the rank of its input")?;
    let count = ctx.bounded(count)?;
    let operands: Vec<Operand> = inputs
        .map(|k| operand(ctx, k, axis, shape))
        .collect::<Result<_, _>>()?;
    let states = (0..count)
        .map(|j| {
            let column: Vec<State> = operands
                .iter()
                .map(|o| o.states.get(j).copied().unwrap_or(State::Live))
                .collect();
            f(&column)
        })
        .collect();
    let mut behaviour = Behaviour::default();
    let mut sources = Vec::new();
    for (k, o) in operands.into_iter().enumerate() {
        sources.extend(o.source);
        behaviour.parameters.extend(o.parameter);
        let blocked = o.blocked.map(|why| (k, why.to_owned()));
        behaviour.blocked.extend(blocked);
    }
    behaviour.outputs.push(Output {
        axis,
        states,
        sources,
        pinned: Vec::new(),
    });
    Ok(Some(behaviour))
}

/// Where the channel axis of input `k` lies in the output, if it is tracked.
fn in_output(ctx: &Context<'_, '_>, k: usize, out: &[usize]) -> Option<usize> {
    let rank = ctx.shape(k)?.len();
    (ctx.channels(k)?.axis + out.len()).checked_sub(rank)
}

fn operand(ctx: &Context<'_, '_>, k: usize, axis: usize, out: &[usize]) -> Result<Operand, String> {
    let is_data = ctx.tensor(k).is_some_and(|t| ctx.facts.is_data(t));
    if !is_data {
        return constant_operand(ctx, k, axis, out);
    }
    let shape = ctx.shape(k).ok_or("reads a tensor of unknown shape")?;
    let count = out.get(axis).copied().unwrap_or(1);
    // Its size along the channel axis of the output.
    let own = (axis + shape.len()).checked_sub(out.len());
    let own = own.and_then(|a| shape.get(a)).copied().unwrap_or(1);
    match ctx.channels(k) {
        Some(c) if in_output(ctx, k, out) == Some(axis) => match c.states.len() {
            n if n == count => Ok(Operand {
                states: c.states.clone(),
                source: Some(Source::input(k, (0..n).map(Some))),
                ..Operand::default()
            }),
            1 => Ok(Operand {
                states: vec![c.states[0]; count],
                blocked: Some("reads it for every channel"),
                ..Operand::default()
            }),
            _ => Err("combines tensors with different numbers of channels".to_owned()),
        },
        Some(_) if own != 1 => {
            Err("combines tensors whose channels are not on the same axis".to_owned())
        }
        None if own != 1 => Err(format!(
            "has an operand (input {k}) that is neither tracked nor constant"
        )),
        channels => Ok(Operand {
            states: vec![State::Live; count],
            blocked: channels.map(|_| "combines it with channels on another axis"),
            ..Operand::default()
        }),
    }
}

/// A constant operand: a value per channel, one for all, or a map over space for each channel.
fn constant_operand(
    ctx: &Context<'_, '_>,
    k: usize,
    axis: usize,
    out: &[usize],
) -> Result<Operand, String> {
    let repeated = ctx.tensor(k).is_some_and(|t| ctx.facts.is_repeated(t));
    if let Some(t) = ctx.tensor(k)
        && ctx.facts.is_of_shape(t)
        && !repeated
        && ctx.shape(k).is_some_and(|s| s.iter().all(|&d| d == 1))
    {
        // A number computed from shapes, the batch's perhaps.
        return Ok(Operand {
            states: vec![State::Fixed; out.get(axis).copied().unwrap_or(1)],
            ..Operand::default()
        });
    }
    if let Some(state) = filled(ctx, k) {
        return Ok(Operand {
            states: vec![state; out.get(axis).copied().unwrap_or(1)],
            parameter: Some(Parameter {
                input: k,
                along: Along::Output(0),
                cut: Cut::Uniform,
            }),
            ..Operand::default()
        });
    }
    let expanded = || ctx.facts.expanded(ctx.tensor(k)?);
    let value = ctx.constant(k).or_else(expanded).ok_or_else(|| {
        format!("has an operand (input {k}) that is neither tracked nor constant")
    })?;
    let missing = out
        .len()
        .checked_sub(value.shape().len())
        .ok_or("has a constant operand of higher rank than its data")?;
    // An integer exponent of a float is the number that it says.
    let exponent = match value {
        Tensor::I64(a) if ctx.node().op() == "Pow" && k == 1 => {
            Some(Tensor::F32(a.mapv(|v| v as f32)))
        }
        Tensor::I32(a) if ctx.node().op() == "Pow" && k == 1 => {
            Some(Tensor::F32(a.mapv(|v| v as f32)))
        }
        _ => None,
    };
    let value = exponent.as_ref().unwrap_or(value);
    let count = out.get(axis).copied().unwrap_or(1);
    // The constant's own axis that lines up with the channel axis.
    let own = axis
        .checked_sub(missing)
        .filter(|&a| value.shape().get(a) == Some(&count) && count > 1);
    let states = match own {
        None => {
            let one = uniform(value);
            vec![one; count]
        }
        Some(a) => (0..count)
            .map(|j| value.select(a, &[j]).map_or(State::Live, |t| uniform(&t)))
            .collect(),
    };
    let cut = match own {
        Some(a) => Some(Cut::Axis(a)),
        // In the file it has all channels.
        None => repeated.then_some(Cut::Whole),
    };
    Ok(Operand {
        states,
        parameter: cut.map(|cut| Parameter {
            input: k,
            along: Along::Output(0),
            cut,
        }),
        ..Operand::default()
    })
}

/// A tensor of one value that was given the shape of data (`ones_like`): the value, if another
/// operand gives the output its shape as well, so that a scalar does in its place.
fn filled(ctx: &Context<'_, '_>, k: usize) -> Option<State> {
    let t = ctx.tensor(k).filter(|&t| ctx.facts.is_of_shape(t))?;
    let out = ctx.graph.output_of(ctx.id, 0)?;
    let mut others = ctx.graph.inputs_of(ctx.id).into_iter().flatten();
    others.find(|&o| ctx.facts.is_data(o) && ctx.facts.same_shape(o, out))?;
    let [here, elsewhere] = ctx.facts.at_two_sizes(t)?.map(uniform);
    (here.constant().is_some() && here == elsewhere).then_some(here)
}

/// The one value of a constant, or [`State::Fixed`] where it differs over space. Integers divide
/// and overflow differently: no value but 0 is followed through them.
pub(super) fn uniform(t: &Tensor) -> State {
    fn all_same<T: Copy + PartialEq>(a: &ndarray::ArrayD<T>) -> Option<T> {
        let first = *a.first()?;
        a.iter().all(|&x| x == first).then_some(first)
    }
    let value = match t {
        Tensor::F32(a) => {
            if a.iter().any(|v| !v.is_finite()) {
                return State::Live;
            }
            all_same(a)
        }
        Tensor::Bool(a) => all_same(a).map(|b| f32::from(u8::from(b))),
        Tensor::I32(a) => all_same(a).filter(|&v| v == 0).map(|_| 0.0),
        Tensor::I64(a) => all_same(a).filter(|&v| v == 0).map(|_| 0.0),
        Tensor::F64(a) => {
            if a.iter().any(|v| !v.is_finite()) {
                return State::Live;
            }
            match all_same(a) {
                Some(v) if f64::from(v as f32) == v => Some(v as f32),
                Some(v) => return State::known(v, ULP * v.abs()),
                None => None,
            }
        }
        t if t.data_type().is_float() => {
            let a = t.to_f64();
            if a.iter().any(|v| !v.is_finite()) {
                return State::Live;
            }
            all_same(&a).map(|v| v as f32)
        }
        t => all_same(&t.to_f64()).filter(|&v| v == 0.0).map(|_| 0.0),
    };
    value.map_or(State::Fixed, State::exact)
}
