//! Reductions, running sums, and global pooling.

use super::{Behaviour, Context, Outcome, Output, Total};
use crate::graph::normalize_axis;
use crate::onnx::Tensor;
use crate::operators::{Kind, Pool, Reduction, Smoothness};
use crate::rewrite::state::{Known, State, ULP};

/// `ReduceMean` and its kin over axes other than the channel axis.
pub(super) fn reduce(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let node = ctx.node();
    let rank = shape.len();
    let kind = node.operator().and_then(|row| row.reduction());
    let kind = kind.ok_or("is not a reduction")?;
    let axes = node.reduced_axes(ctx.ints("axes", 1)?, rank);
    let axes = axes.ok_or("has axes outside its input")?;
    if axes.is_empty() && !kind.keeps_one_value() {
        return Err("has no axes, of which runtimes make different things".to_owned());
    }
    if axes.contains(&x.axis) && kind == Reduction::Sum {
        return Ok(Some(total(ctx, x.axis, shape, &axes)?));
    }
    if axes.contains(&x.axis) {
        let what = match kind {
            Reduction::Mean => "averages",
            _ => "reduces",
        };
        return Err(format!(
            "{what} over channels, so it depends on how many there are"
        ));
    }
    let count = count_over(shape, &axes)?;
    // Shapes are those of a batch of one, so what a batch may lie on has no known size.
    let batch = |&a: &usize| a == 0 || (shape[a] == 1 && kind != Reduction::Mean);
    let any_size = !ctx.facts.fixed_batch() && axes.iter().any(batch);
    let mut output = Output::channelwise(x, |s| match (any_size, kind) {
        (false, _) | (true, Reduction::Max | Reduction::Min) => of_constant(kind, s, count),
        (true, Reduction::Prod | Reduction::LogSum | Reduction::LogSumExp) => s.join(State::Fixed),
        (true, _) => s.beside(0.0),
    });
    if node.int("keepdims", 1) == 0 {
        output.axis -= axes.iter().filter(|&&a| a < x.axis).count();
    }
    Ok(Some(Behaviour::of(output)))
}

/// `CumSum` along another axis: a constant that is not 0 becomes another value at each place.
pub(super) fn running_sum(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    let axis = ctx.constant(1).and_then(Tensor::to_ints);
    let axis = match axis.as_deref() {
        Some(&[axis]) => {
            normalize_axis(axis, shape.len()).ok_or("has an axis outside its input")?
        }
        _ => return Err("has an axis that is not a constant".to_owned()),
    };
    match axis {
        _ if axis == x.axis => Err("mixes channels and has no columns to cut".to_owned()),
        0 => Err("adds up the samples of a batch".to_owned()),
        _ => Ok(Some(Behaviour::channelwise(x, |s| s.beside(0.0)))),
    }
}

/// `ReduceSum` over channels, and perhaps other axes: the output has none.
fn total(
    ctx: &Context<'_, '_>,
    axis: usize,
    shape: &[usize],
    axes: &[usize],
) -> Result<Behaviour, String> {
    let others: Vec<usize> = axes.iter().copied().filter(|&a| a != axis).collect();
    // Shapes are those of a batch of one, so what a batch may lie on has no known size.
    let batch = |&a: &usize| a == 0 || shape[a] == 1;
    let known = ctx.facts.fixed_batch() || !others.iter().any(batch);
    let copies = count_over(shape, &others)?;
    Ok(Behaviour {
        total: Some(Total {
            data: ctx.tensor(0).ok_or("has no input")?,
            copies: known.then_some(copies),
        }),
        ..Behaviour::default()
    })
}

/// `GlobalAveragePool` and `GlobalLpPool`.
pub(super) fn global(ctx: &Context<'_, '_>) -> Outcome {
    let (x, shape) = ctx.data()?;
    if x.axis != 1 {
        return Err(format!("pools over the channel axis {}", x.axis));
    }
    let axes: Vec<usize> = (2..shape.len()).collect();
    let count = count_over(shape, &axes)?;
    let p = ctx.node().int("p", 2);
    let row = ctx.node().operator();
    let norms = row.is_some_and(|row| matches!(row.kind, Kind::Pool(Pool::Norm)));
    Ok(Some(Behaviour::channelwise(x, |s| match norms {
        true => norm(s, count, p),
        false => s.mean(count),
    })))
}

fn count_over(shape: &[usize], axes: &[usize]) -> Result<usize, String> {
    let sizes = axes.iter().filter_map(|&a| shape.get(a));
    match sizes.fold(1usize, |n, &d| n.saturating_mul(d)) {
        0 => Err("reduces an axis of size 0".to_owned()),
        n => Ok(n),
    }
}

/// A reduction of `count` copies of a value.
fn of_constant(kind: Reduction, s: State, count: usize) -> State {
    let n = count as f64;
    let magnitude = |s: State| s.map(f32::abs, Smoothness::Exact);
    match kind {
        Reduction::Mean => s.mean(count),
        Reduction::Sum => s.sum(count),
        Reduction::Max | Reduction::Min => s,
        Reduction::L1 => magnitude(s).sum(count),
        Reduction::L2 => norm(s, count, 2),
        Reduction::SumSquare => s.times(s).sum(count),
        Reduction::LogSum => s.sum(count).map(f32::ln, Smoothness::Rounded),
        Reduction::LogSumExp => s.plus(State::known(n.ln(), 8.0 * n * ULP), 1.0),
        Reduction::Prod if count == 1 || s.is_exact_zero() => s,
        // 1 to any power is exact; of others the rounding grows with each factor.
        Reduction::Prod if magnitude(s) == State::exact(1.0) => s.map(
            |v| if count.is_multiple_of(2) { 1.0 } else { v },
            Smoothness::Exact,
        ),
        Reduction::Prod => s.join(State::Fixed),
    }
}

/// The `p`-norm of `count` copies of a value.
pub(super) fn norm(s: State, count: usize, p: i64) -> State {
    let State::Constant(Known { value, slack }) = s else {
        return s;
    };
    if value == 0.0 && slack == 0.0 {
        return State::exact(0.0);
    }
    let (n, p) = (count as f64, p as f64);
    let v = f64::from(value).abs();
    let power = v.powf(p) * n;
    // Beyond what a runtime's single precision holds on the way.
    if !(p >= 1.0 && power.is_finite() && (1e-30..1e30).contains(&power)) {
        return State::Fixed;
    }
    let root = n.powf(1.0 / p);
    let rounding = (n + 8.0 + 2.0 * p) * ULP * root * v;
    State::known(root * v, root * f64::from(slack) + rounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_constants() {
        assert_eq!(norm(State::exact(0.0), 9, 2), State::exact(0.0));
        let k = norm(State::exact(-2.0), 9, 2).constant().unwrap();
        assert_eq!(k.value, 6.0);
        assert!(k.slack > 0.0);
        // The square of it is no number that single precision holds.
        assert_eq!(norm(State::exact(1e-25), 9, 2), State::Fixed);
        assert_eq!(norm(State::Live, 9, 2), State::Live);
    }
}
