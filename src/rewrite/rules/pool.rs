//! Pooling over the spatial axes.

use super::{Behaviour, Context, Outcome, reduce};
use crate::graph::Window;

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
    let (x, shape) = ctx.data()?;
    on_axis_one(x.axis)?;
    let node = ctx.node();
    if node.op() == "MaxPool" {
        let window = Window::of(&node, shape, None);
        let window = window.ok_or("has attributes that contradict each other")?;
        if window.may_miss(&node, shape) {
            let why = "has windows of nothing but padding, of which runtimes make any number";
            return Err(why.to_owned());
        }
    }
    Ok(Some(Behaviour::channelwise(x, |s| s)))
}

/// `AveragePool`: where padding counts, a constant other than 0 differs at the border.
pub(super) fn average(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    on_axis_one(x.axis)?;
    let node = ctx.node();
    let window =
        Window::of(&node, shape, None).ok_or("has attributes that contradict each other")?;
    let hangs = node.int("ceil_mode", 0) != 0 && hangs_over(&window, shape);
    let counted = node.int("count_include_pad", 0) != 0;
    // Only elements inside count, or zeros around them as well; of what hangs over in ceil mode,
    // runtimes count different things. A dilated window may meet nothing but padding.
    let uneven = match padded(&window) || hangs {
        false => false,
        true => counted || window.dilations.iter().any(|&d| d > 1),
    };
    let count = product(window.kernel.iter().copied());
    Ok(Some(Behaviour::channelwise(x, |s| match uneven {
        true => s.beside(0.0),
        false => s.mean(count),
    })))
}

/// `LpPool`: around it there are zeros, which count for nothing.
pub(super) fn norm(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    on_axis_one(x.axis)?;
    let node = ctx.node();
    let window =
        Window::of(&node, shape, None).ok_or("has attributes that contradict each other")?;
    let uneven = padded(&window) || node.int("ceil_mode", 0) != 0;
    let count = product(window.kernel.iter().copied());
    let p = node.int("p", 2);
    Ok(Some(Behaviour::channelwise(x, |s| match uneven {
        true => s.beside(0.0),
        false => reduce::norm(s, count, p),
    })))
}

fn padded(window: &Window) -> bool {
    window.begin.iter().chain(&window.end).any(|&p| p > 0)
}

/// Whether the last window hangs over the end of the padded input.
fn hangs_over(window: &Window, shape: &[usize]) -> bool {
    let sizes = shape.iter().skip(2).enumerate();
    sizes.into_iter().any(|(i, &d)| {
        let end = || {
            let last = window.output(i, d, true)?.checked_sub(1)?;
            let end = last.checked_mul(window.strides[i])?;
            end.checked_add(window.extent(i)?)
        };
        end().is_none_or(|end| end > d + window.begin[i] + window.end[i])
    })
}
