//! Which few values a tensor can take: tells {0, 1}, ternary and k-bit quantisers, which make no
//! binary layer.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::pattern::{node_of, operand, through_identity, uniform};
use super::{Form, detach, range};
use crate::bisection::{float_of_key, key_of_float};
use crate::graph::{Facts, Graph, Quantizer, TensorId};
use crate::operators::{Kind, Operator};

/// Beyond this many levels a tensor counts as real-valued.
const MOST: usize = 256;
/// Nodes looked at: chains of quantisers are short.
const DEPTH: usize = 24;

/// The form of a tensor that takes a few values only, by an operator that makes them; `None` for
/// real values, and for what only moves a tensor on.
pub(super) fn form_of(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Form> {
    if let Some(n) = node_of(graph, t, "qonnx.BipolarQuant")
        && uniform(facts, graph.input_of(n, 1)?).is_none()
    {
        return Some(Form::PerChannel);
    }
    let values = |known: &Known| -> Option<Vec<f32>> {
        let levels = levels(graph, facts, t, DEPTH, known)?;
        Some(levels.iter().map(|&bits| float_of_key(bits)).collect())
    };
    let found = values(&Known::default())?;
    match found[..] {
        // The 0 of a Sign that is scaled and shifted is no level that anybody means.
        [_, middle, _] if middle != 0.0 => form_of_values(&values(&Known::without_zero())?),
        _ => form_of_values(&found),
    }
}

fn form_of_values(values: &[f32]) -> Option<Form> {
    match *values {
        [] | [_] => None,
        [a, b] if a == -b => None,
        [a, b] if a == 0.0 || b == 0.0 => Some(Form::ZeroOne),
        [a, 0.0, b] if a == -b => Some(Form::Ternary),
        _ => Some(Form::Levels(values.len())),
    }
}

/// Whether a tensor takes a few values only, by an operator that makes them.
pub(super) fn takes_few_values(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> bool {
    levels(graph, facts, t, DEPTH, &Known::default()).is_some()
}

/// Bounds of `Clip`, `Min(Max(x))` or `Max(Min(x))` with numbers, and what is clipped.
pub(super) fn bounds(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
) -> Option<(f32, f32, TensorId)> {
    if let Some(n) = node_of(graph, t, "Clip") {
        let node = graph.node(n);
        let given = |k| graph.input_of(n, k).map(|c| uniform(facts, c));
        let [low, high] = node.clip_bounds(given);
        return Some((low?, high?, graph.input_of(n, 0)?));
    }
    if let Some(x) = operand(graph, t, "Relu") {
        let (high, x) = limit(graph, facts, x, "Min")?;
        return Some((0.0, high, x));
    }
    if let Some((high, x)) = limit(graph, facts, t, "Min") {
        let (low, x) = match operand(graph, x, "Relu") {
            Some(inner) => (0.0, inner),
            None => limit(graph, facts, x, "Max")?,
        };
        return Some((low, high, x));
    }
    let (low, x) = limit(graph, facts, t, "Max")?;
    let (high, x) = limit(graph, facts, x, "Min")?;
    Some((low, high, x))
}

/// The number and the data of a two-operand `Min` or `Max`.
fn limit(graph: &Graph<'_>, facts: &Facts, t: TensorId, op: &str) -> Option<(f32, TensorId)> {
    let found = super::pattern::with_constant(graph, facts, t, op)?;
    Some((uniform(facts, found.constant)?, found.data))
}

type Levels = BTreeSet<i64>;

/// Floats as integers of the same order, for a set of them.
fn ordered(x: f32) -> i64 {
    // -0 and 0 are one level.
    key_of_float(if x == 0.0 { 0.0 } else { x })
}

fn set(values: impl IntoIterator<Item = f32>) -> Levels {
    values.into_iter().map(ordered).collect()
}

/// What was found out already: a tensor may be reached on many ways.
#[derive(Default)]
struct Known {
    found: RefCell<BTreeMap<TensorId, Option<Levels>>>,
    /// Whether a Sign counts as ±1 alone.
    without_zero: bool,
}

impl Known {
    fn without_zero() -> Self {
        Self {
            without_zero: true,
            ..Self::default()
        }
    }
}

fn levels(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    depth: usize,
    known: &Known,
) -> Option<Levels> {
    let depth = depth.checked_sub(1)?;
    if let Some(found) = known.found.borrow().get(&t) {
        return found.clone();
    }
    let found = levels_of(graph, facts, t, depth, known);
    known.found.borrow_mut().insert(t, found.clone());
    found
}

fn levels_of(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    depth: usize,
    known: &Known,
) -> Option<Levels> {
    if !facts.is_data(t) {
        let value = facts.value(t)?;
        let found = set(value.floats()?.iter().copied().take(1 << 16));
        return (found.len() <= MOST).then_some(found);
    }
    if let Some(q) = detach::detached(graph, facts, t) {
        return levels(graph, facts, q, depth, known);
    }
    let n = graph.producer(t)?;
    let node = graph.node(n);
    let input = |k: usize| graph.input_of(n, k);
    let of = |k: usize| levels(graph, facts, input(k)?, depth, known);
    let pairs = |f: fn(f32, f32) -> f32| {
        let (a, b) = (of(0)?, of(1)?);
        if a.len() * b.len() > MOST * MOST {
            return None;
        }
        let all = a
            .iter()
            .flat_map(|&x| b.iter().map(move |&y| f(float_of_key(x), float_of_key(y))));
        Some(set(all))
    };
    let found = match node.op() {
        "Sign" => match of(0) {
            Some(of) => set(of
                .iter()
                .map(|&x| crate::graph::scalar::sign(float_of_key(x)))),
            None if range::never_negative(graph, facts, input(0)?) => set([0.0, 1.0]),
            None if known.without_zero && !rests_at_zero(graph, facts, input(0)?, depth, known) => {
                set([-1.0, 1.0])
            }
            None => set([-1.0, 0.0, 1.0]),
        },
        _ if node.operator().is_some_and(is_truth) => set([0.0, 1.0]),
        "Cast" | "Identity" => of(0)?,
        "Neg" => set(of(0)?.iter().map(|&x| -float_of_key(x))),
        "Abs" => set(of(0)?.iter().map(|&x| float_of_key(x).abs())),
        "Where" => of(1)?.union(&of(2)?).copied().collect(),
        "Add" => pairs(|a, b| a + b)?,
        "Sub" => pairs(|a, b| a - b)?,
        "Mul" => pairs(|a, b| a * b)?,
        "Div" => pairs(|a, b| a / b)?,
        "Round" | "Floor" | "Ceil" => integers(graph, facts, input(0)?)?,
        "qonnx.BipolarQuant" => {
            let scale = uniform(facts, input(1)?)?;
            set([-scale, scale])
        }
        "qonnx.Quant" => {
            let scale = uniform(facts, input(1)?)?;
            let zero = uniform(facts, input(2)?)?;
            match Quantizer::of(&node, |k| uniform(facts, input(k)?))? {
                Quantizer::Integers { low, high, .. } if high - low <= MOST as f32 => {
                    set((0..=(high - low) as i32).map(|i| (low + i as f32 - zero) * scale))
                }
                Quantizer::SignedBit => set([(-1.0 - zero) * scale, (1.0 - zero) * scale]),
                _ => return None,
            }
        }
        _ => return None,
    };
    (found.len() <= MOST).then_some(found)
}

/// Whether a tensor is 0 not at single points alone but wherever its data lie within some range.
fn rests_at_zero(
    graph: &Graph<'_>,
    facts: &Facts,
    t: TensorId,
    depth: usize,
    known: &Known,
) -> bool {
    let t = through_identity(graph, t);
    let Some(n) = graph.producer(t) else {
        return false;
    };
    let node = graph.node(n);
    let mut inputs = graph.inputs_of(n).into_iter().flatten();
    match node.op() {
        "Shrink" => node.float("lambd", 0.5) > 0.0,
        "Round" | "Floor" | "Ceil" => true,
        "Where" => inputs.skip(1).any(|t| uniform(facts, t) == Some(0.0)),
        "Mul" => inputs.any(|t| {
            let found = levels(graph, facts, t, depth, known);
            found.is_some_and(|found| found.contains(&ordered(0.0)))
        }),
        _ => false,
    }
}

/// Whether an operator gives truth values.
fn is_truth(row: &Operator) -> bool {
    matches!(row.kind, Kind::Comparison(_) | Kind::Logic)
}

/// The integers between the bounds of `factor · clip(x) + offset`.
fn integers(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Levels> {
    let t = through_identity(graph, t);
    let (clipped, factor, offset) = super::pattern::affine(graph, facts, t);
    let (low, high, _) = bounds(graph, facts, clipped)?;
    let (a, b) = (factor * low + offset, factor * high + offset);
    let (low, high) = (a.min(b).round_ties_even(), a.max(b).round_ties_even());
    let count = high - low;
    if count.is_nan() || count > MOST as f32 {
        return None;
    }
    Some(set((0..=count as i32).map(|i| low + i as f32)))
}
