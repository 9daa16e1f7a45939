//! Pooling over the spatial axes.

use super::{Behaviour, Context, Output};
use crate::graph::{Window, normalize_axis};
use crate::rewrite::state::State;

type Outcome = Result<Option<Behaviour>, String>;

fn on_axis_one(axis: usize) -> Result<(), String> {
    match axis {
        1 => Ok(()),
        a => Err(format!("pools over the channel axis {a}")),
    }
}

fn product(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(1, usize::saturating_mul)
}

/// `MaxPool`, `GlobalMaxPool`: padding never wins, so constants stay.
pub(super) fn max(ctx: &Context<'_, '_>) -> Outcome {
    ctx.only_first_output()?;
    let (x, _) = ctx.data()?;
    on_axis_one(x.axis)?;
    Ok(Some(Behaviour::channelwise(x, |s| s)))
}

/// `AveragePool`: where padding counts, a constant other than 0 differs at the border.
pub(super) fn average(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    on_axis_one(x.axis)?;
    let node = ctx.node();
    let window =
        Window::of(&node, shape, None).ok_or("has attributes that contradict each other")?;
    let padded = window.begin.iter().chain(&window.end).any(|&p| p > 0);
    // In ceil mode the last window may hang over the end; runtimes differ in what they count there.
    let uneven = (padded && node.int("count_include_pad", 0) != 0) || node.int("ceil_mode", 0) != 0;
    let count = product(window.kernel.iter().copied());
    Ok(Some(Behaviour::channelwise(x, |s| match s.mean(count) {
        State::Constant(k) if uneven && (k.value != 0.0 || k.slack != 0.0) => State::Fixed,
        s => s,
    })))
}

/// `GlobalAveragePool`, and `ReduceMean` over axes other than the channel axis.
pub(super) fn mean(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let node = ctx.node();
    let rank = shape.len();
    let mut axes: Vec<usize> = if node.op() == "ReduceMean" {
        match ctx.ints("axes", 1)?.filter(|v| !v.is_empty()) {
            Some(v) => v
                .iter()
                .map(|&a| normalize_axis(a, rank))
                .collect::<Option<_>>()
                .ok_or("has axes outside its input")?,
            None if node.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
            None => (0..rank).collect(),
        }
    } else {
        (2..rank).collect()
    };
    axes.sort_unstable();
    axes.dedup();
    if axes.contains(&x.axis) {
        return Err("averages over channels, so it depends on how many there are".to_owned());
    }
    let keep = node.op() != "ReduceMean" || node.int("keepdims", 1) != 0;
    let count = product(axes.iter().map(|&a| shape[a]));
    let mut output = Output::channelwise(x, |s| s.mean(count));
    if !keep {
        output.axis -= axes.iter().filter(|&&a| a < x.axis).count();
    }
    Ok(Some(Behaviour::of(output)))
}
