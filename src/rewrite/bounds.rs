//! Bounds of what a channel can hold, whatever the model's input is.
//!
//! A binary layer sums at most as many ±1 as its fan-in, so a threshold beyond that never fires:
//! what follows it is constant without any mask. Bounds are widened by every rounding that a
//! runtime may do, so only a step (Sign, a comparison, Relu, Clip) makes a point of them.

use super::rules::{Behaviour, Context, Mixing, Output};
use super::state::{State, ULP};
use crate::onnx::Tensor;
use crate::operators::{Arithmetic, Function, How, Kind, Pool, Shape, Smoothness, Trend};

/// All values of a channel lie between these, ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    low: f64,
    high: f64,
}

const ALL: Interval = Interval {
    low: f64::NEG_INFINITY,
    high: f64::INFINITY,
};

impl Interval {
    /// `ALL` where an end is not a number.
    fn new(low: f64, high: f64) -> Self {
        match low <= high {
            true => Self { low, high },
            false => ALL,
        }
    }

    fn point(v: f64) -> Self {
        Self::new(v, v)
    }

    fn hull(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    fn plus(self, other: Self) -> Self {
        Self::new(self.low + other.low, self.high + other.high)
    }

    fn times(self, other: Self) -> Self {
        // 0 · ∞ is 0 here: values are finite, only their bound is not known.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let ends = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        let low = ends.into_iter().fold(f64::INFINITY, f64::min);
        Self::new(low, ends.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    /// Wider by `count` roundings of numbers up to `size`, and of what the ends are.
    fn rounded(self, count: f64, size: f64) -> Self {
        let slack = count * ULP * size.max(self.low.abs()).max(self.high.abs());
        Self::new(self.low - slack, self.high + slack)
    }

    fn size(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// The state of a channel that can only hold one value.
    fn state(self) -> Option<State> {
        (self.low == self.high && self.low.is_finite()).then(|| State::exact(self.low as f32))
    }
}

/// Bounds of each channel of a node's first output. Where nothing is known, [`ALL`].
pub(super) fn of(
    ctx: &Context<'_, '_>,
    behaviour: &Behaviour,
    known: &[Option<Vec<Interval>>],
) -> Vec<Interval> {
    let node = ctx.node();
    let Some(output) = behaviour.outputs.first() else {
        return Vec::new();
    };
    let count = output.states.len();
    let channels = |k: usize| -> Option<&[Interval]> { known.get(ctx.tensor(k)?.0)?.as_deref() };
    let row = node.operator();
    let found: Option<Vec<Interval>> = match row.map_or(Kind::Other, |row| row.kind) {
        Kind::Products => behaviour
            .mixing
            .as_ref()
            .and_then(|m| mixing(ctx, m, channels(m.layer.weights_at.data_input()))),
        Kind::BatchNormalization => channels(0).and_then(|x| batch_norm(ctx, x)),
        // What they hold is what they read; padding never wins in a maximum.
        Kind::Same | Kind::View | Kind::Pool(Pool::Max) => moved(ctx, output, known),
        // Beside constants they hold more than that.
        Kind::Concat if behaviour.parameters.is_empty() => moved(ctx, output, known),
        Kind::Unary(f) => channels(0).zip(row).and_then(|(x, row)| {
            let (trend, smoothness) = ((row.trend)(&node), (row.smoothness)(&node));
            unary(x, &(f.single)(&node), trend, smoothness)
        }),
        // A dilated window may meet nothing at all.
        Kind::Pool(Pool::Average)
            if row.is_some_and(|row| row.shape == Shape::Windows)
                && node
                    .ints("dilations")
                    .is_none_or(|d| d.iter().all(|&d| d == 1)) =>
        {
            moved(ctx, output, known).map(|x| {
                let kernel = node.ints("kernel_shape").unwrap_or_default();
                let terms = kernel.iter().fold(1.0, |n, &k| n * k as f64);
                x.into_iter().map(|i| average(i, terms)).collect()
            })
        }
        Kind::Clip => clip(ctx, channels(0)),
        Kind::Arithmetic(Arithmetic {
            how: how @ (How::Add | How::Sub | How::Mul),
            ..
        }) => operands(ctx, output, known).map(|columns| {
            let join = |a: Interval, b: Interval| {
                let size = a.size().max(b.size());
                match how {
                    How::Add => a.plus(b).rounded(1.0, size),
                    How::Sub => a.plus(Interval::new(-b.high, -b.low)).rounded(1.0, size),
                    _ => a.times(b).rounded(1.0, 0.0),
                }
            };
            let fold = |c: Vec<Interval>| c.into_iter().reduce(join).unwrap_or(ALL);
            columns.into_iter().map(fold).collect()
        }),
        Kind::Comparison(_) if node.op() != "Equal" => {
            operands(ctx, output, known).map(|columns| {
                let decide = |c: Vec<Interval>| match c.as_slice() {
                    [a, b] => compare(node.op(), *a, *b),
                    _ => ALL,
                };
                columns.into_iter().map(decide).collect()
            })
        }
        Kind::Choice => operands(ctx, output, known).map(|columns| {
            let select = |c: Vec<Interval>| match c.as_slice() {
                [c, a, _] if c.low == c.high && c.low == 1.0 => *a,
                [c, _, b] if c.low == c.high && c.low == 0.0 => *b,
                [_, a, b] => a.hull(*b),
                _ => ALL,
            };
            columns.into_iter().map(select).collect()
        }),
        Kind::Cast => moved(ctx, output, known).map(|x| x.into_iter().map(zero_or_one).collect()),
        _ => None,
    };
    let mut found = found
        .filter(|f| f.len() == count)
        .unwrap_or_else(|| vec![ALL; count]);
    for (bounds, state) in found.iter_mut().zip(&output.states) {
        if let Some(k) = state.constant() {
            let (v, slack) = (f64::from(k.value), f64::from(k.slack));
            *bounds = Interval::new(v - slack, v + slack);
        }
    }
    found
}

/// Bounds of a function of one number, at both ends; nothing is known of one that turns.
fn unary(
    x: &[Interval],
    f: &Function,
    trend: Trend,
    smoothness: Smoothness,
) -> Option<Vec<Interval>> {
    let map = |i: &Interval| {
        let end = |v: f64| f64::from(f(v as f32));
        // The nearest f32 of an end may lie inside: step outwards first.
        let (low, high) = (end(below(i.low)), end(above(i.high)));
        let out = match trend {
            Trend::Falls => Interval::new(high, low),
            _ => Interval::new(low, high),
        };
        match smoothness {
            Smoothness::Exact | Smoothness::Jumps => out,
            Smoothness::Rounded => out.rounded(8.0, 1.0),
            Smoothness::Scaled(size) => out.rounded(8.0, f64::from(size.abs()).max(1.0)),
        }
    };
    (trend != Trend::Turns).then(|| x.iter().map(map).collect())
}

/// States that follow from bounds: a channel that can hold but one value is constant.
pub(super) fn refine(behaviour: &mut Behaviour, bounds: &[Interval]) {
    let states = behaviour.outputs.first_mut().map(|o| o.states.iter_mut());
    for (state, bounds) in states.into_iter().flatten().zip(bounds) {
        if state.constant().is_none()
            && let Some(known) = bounds.state()
        {
            *state = known;
        }
    }
}

/// A mean of so many values, of which some may be padding. It is as monotone in each of them as its
/// rounding, so an end of 0 stays 0.
fn average(i: Interval, terms: f64) -> Interval {
    let i = i.hull(Interval::point(0.0));
    let wider = 1.0 + (terms + 2.0) * ULP;
    Interval::new(i.low * wider, i.high * wider)
}

/// 0 and 1 stay what they are in any type; what else a cast makes of a value is not followed.
fn zero_or_one(i: Interval) -> Interval {
    let whole = |v: f64| v == 0.0 || v == 1.0;
    match whole(i.low) && whole(i.high) {
        true => i,
        false => ALL,
    }
}

fn below(v: f64) -> f64 {
    let f = v as f32;
    if f64::from(f) > v {
        f64::from(f.next_down())
    } else {
        f64::from(f)
    }
}

fn above(v: f64) -> f64 {
    let f = v as f32;
    if f64::from(f) < v {
        f64::from(f.next_up())
    } else {
        f64::from(f)
    }
}

/// Channels that come from inputs as they are.
fn moved(
    ctx: &Context<'_, '_>,
    output: &Output,
    known: &[Option<Vec<Interval>>],
) -> Option<Vec<Interval>> {
    let mut out = vec![None; output.states.len()];
    for s in &output.sources {
        let t = s.tensor(ctx.graph, ctx.id)?;
        let of = known.get(t.0)?.as_ref()?;
        for (out, i) in out.iter_mut().zip(&s.index) {
            if let Some(i) = i {
                let bounds = *of.get(*i)?;
                *out = Some(out.map_or(bounds, |o: Interval| o.hull(bounds)));
            }
        }
    }
    Some(out.into_iter().map(|o| o.unwrap_or(ALL)).collect())
}

/// For each output channel the bounds of every operand.
fn operands(
    ctx: &Context<'_, '_>,
    output: &Output,
    known: &[Option<Vec<Interval>>],
) -> Option<Vec<Vec<Interval>>> {
    let count = output.states.len();
    let rank = ctx.out_shape().ok()?.len();
    let mut columns = vec![Vec::new(); count];
    for k in 0..ctx.graph.inputs_of(ctx.id).len() {
        let tracked = ctx.tensor(k).and_then(|t| known.get(t.0)?.as_ref());
        let source = output.sources.iter().any(|s| s.input == k);
        let of: Vec<Interval> = match (tracked, ctx.constant(k)) {
            (Some(b), _) if source && b.len() == count => b.clone(),
            (None, Some(value)) => constant(value, output.axis, rank, count)?,
            _ => return None,
        };
        columns.iter_mut().zip(of).for_each(|(c, b)| c.push(b));
    }
    Some(columns)
}

/// What a constant operand holds for each channel.
fn constant(value: &Tensor, axis: usize, rank: usize, count: usize) -> Option<Vec<Interval>> {
    let hull = |t: &Tensor| -> Option<Interval> {
        t.to_f64()
            .into_iter()
            .map(Interval::point)
            .reduce(Interval::hull)
    };
    let own = (axis + value.shape().len()).checked_sub(rank);
    match own.filter(|&a| value.shape().get(a) == Some(&count) && count > 1) {
        Some(a) => (0..count).map(|j| hull(&value.select(a, &[j])?)).collect(),
        None => Some(vec![hull(value)?; count]),
    }
}

fn compare(op: &str, a: Interval, b: Interval) -> Interval {
    let (always, never) = match op {
        "Greater" => (a.low > b.high, a.high <= b.low),
        "GreaterOrEqual" => (a.low >= b.high, a.high < b.low),
        "Less" => (a.high < b.low, a.low >= b.high),
        _ => (a.high <= b.low, a.low > b.high),
    };
    match (always, never) {
        (true, false) => Interval::point(1.0),
        (false, true) => Interval::point(0.0),
        _ => Interval::new(0.0, 1.0),
    }
}

fn clip(ctx: &Context<'_, '_>, x: Option<&[Interval]>) -> Option<Vec<Interval>> {
    let node = ctx.node();
    let given = |k| ctx.tensor(k).map(|_| ctx.constant(k)?.scalar_f32());
    let [low, high] = node.clip_bounds(given);
    let (low, high) = (f64::from(low?), f64::from(high?));
    let cut = |v: f64| v.max(low).min(high);
    let map = |i: &Interval| Interval::new(cut(i.low), cut(i.high));
    // It bounds also what nothing is known of.
    let all = [ALL];
    let count = ctx.channels(0)?.states.len();
    Some(match x {
        Some(x) => x.iter().map(map).collect(),
        None => vec![map(&all[0]); count],
    })
}

fn batch_norm(ctx: &Context<'_, '_>, x: &[Interval]) -> Option<Vec<Interval>> {
    let parameter = |k: usize| ctx.constant(k)?.floats();
    let epsilon = f64::from(ctx.node().epsilon());
    let (g, b, m, v) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let at = |a: &ndarray::ArrayD<f32>, c: usize| a.iter().nth(c).map(|&v| f64::from(v));
    let map = |(c, i): (usize, &Interval)| {
        let [g, b, m, v] = [at(&g, c)?, at(&b, c)?, at(&m, c)?, at(&v, c)?];
        let s = g / (v + epsilon).sqrt();
        // Each step is monotone, rounding included, so each end is only as far off as what is
        // computed of that end: the other one may be infinite.
        let end = |x: f64| {
            let scaled = if s == 0.0 { 0.0 } else { x * s };
            let slack = 8.0 * ULP * (scaled.abs() + (m * s).abs() + b.abs());
            (
                scaled + (b - m * s),
                if slack.is_finite() { slack } else { 0.0 },
            )
        };
        let (low, high) = if s < 0.0 {
            (i.high, i.low)
        } else {
            (i.low, i.high)
        };
        let ((low, below), (high, above)) = (end(low), end(high));
        Some(Interval::new(low - below, high + above))
    };
    x.iter().enumerate().map(map).collect()
}

/// Sums of weights times what is read; around a zero-padded border some weights meet 0.
fn mixing(ctx: &Context<'_, '_>, m: &Mixing, data: Option<&[Interval]>) -> Option<Vec<Interval>> {
    let data =
        data.filter(|d| d.len() == m.layer.inputs && d.iter().any(|i| i.size().is_finite()))?;
    let weight = ctx.facts.weights(ctx.graph, m.layer.weight)?;
    let kernels = m.layer.kernels(&weight);
    let filter = |o: usize| {
        let (mut sum, mut size, mut terms) = (Interval::point(0.0), 0.0, 0.0);
        let unbounded = |i: usize, x: &Interval| !x.size().is_finite() && m.reads(o, i);
        if data.iter().enumerate().any(|(i, x)| unbounded(i, x)) {
            return ALL;
        }
        for (i, &x) in data.iter().enumerate().filter(|(i, _)| m.reads(o, *i)) {
            for &w in kernels.taps(o, i) {
                let mut term = x.times(Interval::point(f64::from(w) * f64::from(m.scale)));
                if m.border.is_some() {
                    term = term.hull(Interval::point(0.0));
                }
                size += term.size();
                terms += 1.0;
                sum = sum.plus(term);
            }
        }
        let bias = m.bias.get(o).copied().unwrap_or(0.0);
        let sum = sum.plus(Interval::point(bias));
        sum.rounded(terms + 2.0, size + bias.abs())
    };
    Some((0..m.layer.filters).map(filter).collect())
}
