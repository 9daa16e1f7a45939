//! Elementwise operators of several operands: data tensors are coupled, constants follow.

use super::{Along, Behaviour, Context, Cut, Output, Parameter, Source};
use crate::graph::scalar;
use crate::onnx::Tensor;
use crate::rewrite::state::{Smoothness, State};

type Outcome = Result<Option<Behaviour>, String>;

/// `Add`, `Sub`, `Mul`, `Div`, `Min`, `Max`.
pub(super) fn arithmetic(ctx: &Context<'_, '_>) -> Outcome {
    let op = ctx.node().op();
    combine(ctx, |operands| {
        let mut it = operands.iter().copied();
        let first = it.next().unwrap_or(State::Live);
        it.fold(first, |a, b| match op {
            "Add" => a.plus(b, 1.0),
            "Sub" => a.plus(b, -1.0),
            "Mul" => a.times(b),
            "Div" => a.over(b),
            "Min" => extreme(a, b, f32::min),
            _ => extreme(a, b, f32::max),
        })
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

/// One operand: what is known of it for each channel of the output, and where that comes from.
struct Operand {
    states: Vec<State>,
    source: Option<Source>,
    parameter: Option<Parameter>,
}

/// Channel by channel, the output is `f` of the operands.
fn combine(ctx: &Context<'_, '_>, f: impl Fn(&[State]) -> State) -> Outcome {
    let inputs = 0..ctx.graph.inputs_of(ctx.id).len();
    let axis = inputs
        .clone()
        .find_map(|k| ctx.channels(k))
        .map(|c| c.axis)
        .ok_or("reads tensors whose channels are not tracked")?;
    let shape = ctx.out_shape()?;
    let count = *shape.get(axis).ok_or("changes the rank of its input")?;
    let count = ctx.bounded(count)?;
    let operands: Vec<Operand> = inputs
        .map(|k| match ctx.channels(k) {
            Some(_) => data_operand(ctx, k, axis, shape),
            None => constant_operand(ctx, k, axis, shape),
        })
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
    let (mut sources, mut parameters) = (Vec::new(), Vec::new());
    for o in operands {
        sources.extend(o.source);
        parameters.extend(o.parameter);
    }
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(Output {
            axis,
            states,
            sources,
            pinned: None,
        })
    }))
}

fn data_operand(
    ctx: &Context<'_, '_>,
    k: usize,
    axis: usize,
    out: &[usize],
) -> Result<Operand, String> {
    let (Some(c), Some(shape)) = (ctx.channels(k), ctx.shape(k)) else {
        return Err("reads a tensor whose channels are not tracked".to_owned());
    };
    if shape.len() != out.len() || c.axis != axis {
        return Err("combines tensors whose channels are not on the same axis".to_owned());
    }
    if Some(&c.states.len()) != out.get(axis) {
        return Err("broadcasts a tensor over channels".to_owned());
    }
    Ok(Operand {
        states: c.states.clone(),
        source: Some(Source::input(k, (0..c.states.len()).map(Some))),
        parameter: None,
    })
}

/// A constant operand: a value per channel, one for all, or a map over space for each channel.
fn constant_operand(
    ctx: &Context<'_, '_>,
    k: usize,
    axis: usize,
    out: &[usize],
) -> Result<Operand, String> {
    let value = ctx.constant(k).ok_or_else(|| {
        format!("has an operand (input {k}) that is neither tracked nor constant")
    })?;
    let missing = out
        .len()
        .checked_sub(value.shape().len())
        .ok_or("has a constant operand of higher rank than its data")?;
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
    Ok(Operand {
        states,
        source: None,
        parameter: own.map(|a| Parameter {
            input: k,
            along: Along::Output(0),
            cut: Cut::Axis(a),
        }),
    })
}

/// The one value of a constant, or [`State::Fixed`] where it differs over space.
fn uniform(t: &Tensor) -> State {
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
        Tensor::I32(a) => all_same(a).map(|v| v as f32),
        Tensor::I64(a) => all_same(a).map(|v| v as f32),
        Tensor::F64(a) => all_same(a).map(|v| v as f32),
    };
    value.map_or(State::Fixed, State::exact)
}
