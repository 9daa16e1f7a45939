//! Normalisation that keeps channels apart: `BatchNormalization` in inference mode,
//! `InstanceNormalization`, `Softmax` over another axis.

use super::{Along, Behaviour, Context, Cut, Outcome, Output, Parameter};
use crate::onnx::Tensor;
use crate::rewrite::state::{State, ULP};

pub(super) fn batch(ctx: &Context<'_, '_>) -> Outcome {
    let node = ctx.node();
    ctx.in_inference_mode()?;
    ctx.only_first_output()?;
    if node.int("spatial", 1) == 0 {
        return Err("normalises each position by itself (spatial = 0)".to_owned());
    }
    let (x, _) = ctx.data()?;
    if x.axis != 1 {
        return Err(format!(
            "normalises axis 1, not the channel axis {}",
            x.axis
        ));
    }
    let parameter = |k: usize| {
        ctx.constant(k)
            .and_then(Tensor::floats)
            .filter(|a| a.shape() == [x.states.len()])
            .ok_or_else(|| {
                format!("has a parameter (input {k}) that is not a constant per channel")
            })
    };
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let (mean, var) = (parameter(3)?, parameter(4)?);
    let epsilon = f64::from(node.epsilon());
    let states = (x.states.iter().zip(&*scale).zip(bias.iter().zip(&*mean)))
        .zip(&*var)
        .map(|(((&s, &g), (&b, &m)), &v)| normalise(s, [g, b, m, v].map(f64::from), epsilon))
        .collect();
    let parameters = (1..5)
        .map(|input| Parameter {
            input,
            along: Along::Output(0),
            cut: Cut::Axis(0),
        })
        .collect();
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(Output {
            states,
            ..Output::channelwise(x, |s| s)
        })
    }))
}

/// A zero scale makes the channel constant whatever it reads. The bound covers both ways runtimes
/// compute it: `(x - m)·s + b`, and `x·s + (b - m·s)` folded into a convolution.
fn normalise(x: State, [g, b, m, v]: [f64; 4], epsilon: f64) -> State {
    let s = g / (v + epsilon).sqrt();
    if g == 0.0 && s.is_finite() {
        return State::exact(b as f32);
    }
    let State::Constant(k) = x else {
        return x;
    };
    let x = f64::from(k.value);
    let size = (x * s).abs() + (m * s).abs() + b.abs();
    State::known(
        (x - m) * s + b,
        f64::from(k.slack) * s.abs() + 8.0 * ULP * size,
    )
}

/// `InstanceNormalization`: each channel by its own mean and variance over space.
pub(super) fn instance(ctx: &Context<'_, '_>) -> Outcome {
    let (x, _) = ctx.data()?;
    if x.axis != 1 {
        return Err(format!(
            "normalises axis 1, not the channel axis {}",
            x.axis
        ));
    }
    let parameter = |k: usize| {
        let value = ctx.constant(k).and_then(Tensor::floats);
        value
            .filter(|a| a.shape() == [x.states.len()])
            .ok_or_else(|| {
                format!("has a parameter (input {k}) that is not a constant per channel")
            })
    };
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let epsilon = ctx.node().epsilon();
    let state = |((&s, &g), &b): ((&State, &f32), &f32)| {
        let nothing = g == 0.0 || s.is_exact_zero();
        match s {
            // Without epsilon, a constant channel is divided by 0.
            _ if nothing && epsilon > 0.0 && g.is_finite() => State::exact(b),
            State::Constant(_) if epsilon <= 0.0 => State::Live,
            // The mean differs from the values by rounding, which is divided by sqrt(epsilon).
            s => s.join(State::Fixed),
        }
    };
    let parameters = (1..3)
        .map(|input| Parameter {
            input,
            along: Along::Output(0),
            cut: Cut::Axis(0),
        })
        .collect();
    let states = x
        .states
        .iter()
        .zip(&*scale)
        .zip(&*bias)
        .map(state)
        .collect();
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(Output {
            states,
            ..Output::channelwise(x, |s| s)
        })
    }))
}

/// `Softmax` and `LogSoftmax` over axes other than the channel axis.
pub(super) fn softmax(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let node = ctx.node();
    let axes = node.softmax_axes(shape.len());
    let axes = axes.ok_or("has an axis outside its input")?;
    if axes.contains(&x.axis) {
        return Err("mixes channels and has no columns to cut".to_owned());
    }
    let first = axes.start;
    let sizes = shape.get(axes).unwrap_or_default();
    let count = sizes.iter().fold(1usize, |n, &d| n.saturating_mul(d)) as f64;
    // Shapes are those of a batch of one, so what a batch may lie on has no known size.
    let any_size = !ctx.facts.fixed_batch() && (first == 0 || sizes.contains(&1));
    Ok(Some(Behaviour::channelwise(x, |s| match s {
        State::Constant(_) if any_size => State::Fixed,
        State::Constant(k) => {
            // Differences of values are all that counts.
            let spread = 4.0 * f64::from(k.slack) + (count + 8.0) * ULP;
            match node.op() {
                "Softmax" => State::known(1.0 / count, spread / count),
                _ => State::known(-count.ln(), spread * (1.0 + count.ln())),
            }
        }
        s => s,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_map_to_constants_with_a_rounding_bound() {
        let s = normalise(State::exact(0.0), [2.0, 1.0, 3.0, 4.0], 0.0);
        let k = s.constant().unwrap();
        assert_eq!(k.value, -2.0);
        assert!(k.slack > 0.0 && k.slack < 1e-5);
        assert!(normalise(State::exact(0.0), [2.0, 0.0, 0.0, 1.0], 0.1).is_exact_zero());
        assert_eq!(
            normalise(State::Live, [0.0, 0.5, 1.0, 1.0], 0.1),
            State::exact(0.5)
        );
        assert_eq!(
            normalise(State::Live, [1.0, 0.5, 1.0, 1.0], 0.1),
            State::Live
        );
    }
}
