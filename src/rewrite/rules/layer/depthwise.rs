//! Depthwise convolutions: each filter reads one input channel, so channels stay what they are.

use super::{Kernels, Layer, Outcome, bias_parameter};
use crate::rewrite::rules::{Along, Behaviour, Context, Cut, Output, Parameter, Source};
use crate::rewrite::state::{State, ULP};

/// `Conv` or `ConvTranspose` with as many groups as input channels: output channel `j` is input
/// channel `j / multiplier`, and all of one input channel go together.
pub(super) fn depthwise(ctx: &Context<'_, '_>, layer: &Layer<'_>) -> Outcome {
    let shape = &layer.shape;
    let (x, _) = ctx.data()?;
    if x.axis != 1 || x.states.len() != shape.inputs {
        return Err(format!("convolves axis 1, not the channel axis {}", x.axis));
    }
    let multiplier = shape.group_filters();
    let kernels = shape.kernels(&layer.weight);
    let zeroed = ctx.zeroed.get(&ctx.id);
    let states = (0..shape.filters)
        .map(|o| match zeroed.and_then(|z| z.get(o)) {
            Some(true) => State::exact(0.0),
            _ => state(layer, &kernels, o, o / multiplier, x.states[o / multiplier]),
        })
        .collect();
    // The weight's axis 0 holds filters (Conv) or input channels (ConvTranspose).
    let along = match shape.filter_axis {
        0 => Along::Output(0),
        _ => Along::Input(0),
    };
    let mut parameters = vec![Parameter {
        input: 1,
        along,
        cut: Cut::Axis(0),
    }];
    parameters.extend(bias_parameter(ctx, shape));
    parameters.push(Parameter {
        input: 0,
        along: Along::Input(0),
        cut: Cut::Groups,
    });
    let of = |o: usize| Some(o / multiplier);
    Ok(Some(Behaviour {
        parameters,
        ..Behaviour::of(Output {
            axis: 1,
            states,
            sources: vec![Source::input(0, (0..shape.filters).map(of))],
            pinned: Vec::new(),
        })
    }))
}

fn state(layer: &Layer<'_>, kernels: &Kernels<'_>, o: usize, i: usize, input: State) -> State {
    let bias = layer.bias.get(o).copied().unwrap_or(0.0);
    let taps = kernels.taps(o, i);
    if input.is_exact_zero() || taps.iter().all(|&w| w == 0.0) {
        return State::exact(bias as f32);
    }
    let State::Constant(k) = input else {
        return input;
    };
    if layer.border.is_some() {
        return State::Fixed;
    }
    let sum: f64 = taps.iter().map(|&w| f64::from(w)).sum();
    let size: f64 = taps.iter().map(|&w| f64::from(w).abs()).sum();
    let value = f64::from(k.value);
    let rounding = (taps.len() as f64 + 2.0) * ULP * (size * value.abs() + bias.abs());
    State::known(sum * value + bias, size * f64::from(k.slack) + rounding)
}
