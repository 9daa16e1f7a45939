//! Thresholds of integer sums, as the integer form has them behind a layer:
//! `sums → (MaxPool) → (Mul by ±1) → Add → Sign`.

use super::layer::{Binary, only_reader, per_channel};
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::recognize::Binarizer;

/// A binariser seen as a comparison of floats: `x` with a threshold for each channel, or one.
#[derive(Debug)]
pub(super) struct Comparison {
    /// What is compared.
    pub x: TensorId,
    /// What with.
    pub thresholds: Vec<f32>,
    /// What becomes of what is equal: -1, 0 or +1.
    pub at: i8,
}

impl Comparison {
    /// Of a binariser to ±1 of `channels`; `None` for others.
    pub fn of(graph: &Graph<'_>, facts: &Facts, b: &Binarizer, channels: usize) -> Option<Self> {
        let [below, at, above] = b.values;
        if !b.is_signed() || below != -1.0 || above != 1.0 || ![-1.0, 0.0, 1.0].contains(&at) {
            return None;
        }
        let at = at as i8;
        if b.threshold.iter().any(|&t| t != 0.0) {
            let rank = facts.shape(b.input)?.len();
            let per_channel = b.threshold.ndim() <= rank
                && (b.threshold.len() == 1
                    || 1usize
                        .checked_sub(rank - b.threshold.ndim())
                        .and_then(|axis| b.threshold.shape().get(axis))
                        .is_some_and(|&d| d == channels && b.threshold.len() == channels));
            let thresholds: Vec<f32> = b.threshold.iter().copied().collect();
            return per_channel.then_some(Self {
                x: b.input,
                thresholds,
                at,
            });
        }
        // The sign of a sum or a difference says which of the two is larger, rounded or not.
        let shifted = || {
            only_reader(graph, b.input)?;
            let n = graph.producer(b.input)?;
            let turn = match graph.node(n).op() {
                "Add" => -1.0,
                "Sub" => 1.0,
                _ => return None,
            };
            let (first, second) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
            let (x, c) = match facts.constant(second) {
                Some(_) => (first, second),
                None if turn < 0.0 => (second, first),
                None => return None,
            };
            if !facts.same_shape(x, b.input) {
                return None;
            }
            let values = per_channel(facts, Some(c), b.input, channels)?;
            let thresholds: Vec<f32> = values.iter().map(|v| turn * v).collect();
            let known = thresholds.iter().all(|t| !t.is_nan());
            known.then_some(Self { x, thresholds, at })
        };
        shifted().or(Some(Self {
            x: b.input,
            thresholds: vec![0.0],
            at,
        }))
    }
}

/// Whether a sum may be equal to its threshold and become 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ties {
    /// No.
    None,
    /// Only if an activation is 0: sums of so many ±1 are all even or all odd, and the thresholds are not.
    WithZeros,
    /// Yes.
    Some,
}

/// Thresholds of a layer's sums.
#[derive(Debug)]
pub(super) struct OfSums {
    /// The layer's index among those that can be operators.
    pub layer: usize,
    /// A sum not below it gives a 1.
    pub thresholds: Vec<i32>,
    /// Twice what sums are compared with, where what is equal becomes 0; else odd, so that nothing is equal.
    pub doubled: Vec<i32>,
    /// The pooling of what is compared, if there is one.
    pub pool: Option<NodeId>,
    /// -1 where the sign is turned around behind the pooling; where there is none, the filter is.
    pub direction: Vec<f32>,
    /// Whether a sum may be equal to a threshold that makes 0 of it.
    pub ties: Ties,
}

impl OfSums {
    /// Follows a comparison back to a layer's sums; `None` if something else is compared.
    pub fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        compared: &Comparison,
        layers: &[Binary<'_>],
    ) -> Option<Self> {
        let mut t = compared.x;
        let mut turned = None;
        let mut pool = None;
        let step = |t: TensorId| -> Option<(NodeId, TensorId)> {
            let n = graph.producer(t)?;
            Some((n, graph.input_of(n, 0)?))
        };
        // Nobody else may read what is between.
        only_reader(graph, t)?;
        if let Some((n, from)) = step(t)
            && graph.node(n).op() == "Mul"
        {
            turned = Some((graph.input_of(n, 1), from));
            only_reader(graph, from)?;
            t = from;
        }
        if let Some((n, from)) = step(t)
            && graph.node(n).op() == "MaxPool"
        {
            only_reader(graph, from)?;
            pool = Some(n);
            t = from;
        }
        let layer = layers.iter().position(|l| l.sums == t)?;
        let binary = layers.get(layer)?;
        let filters = binary.layer.filters;
        let direction = match turned {
            None => vec![1.0; filters],
            Some((by, of)) => {
                let by = per_channel(facts, by, of, filters)?;
                by.iter().all(|d| d.abs() == 1.0).then_some(by)?
            }
        };
        let most = i32::try_from(binary.products())
            .ok()
            .filter(|&k| k < 1 << 24)?;
        let mut thresholds = Vec::with_capacity(filters);
        let mut doubled = Vec::with_capacity(filters);
        let mut ties = Ties::None;
        for (f, d) in direction.iter().enumerate() {
            let given = match compared.thresholds[..] {
                [one] => f64::from(one),
                _ => f64::from(*compared.thresholds.get(f)?),
            };
            let given = given.clamp(f64::from(-most - 1), f64::from(most + 1));
            let whole = given.fract() == 0.0 && given.abs() <= f64::from(most);
            if whole && compared.at == 0 {
                let even = (given as i64 - i64::from(most)) % 2 == 0;
                ties = match ties {
                    Ties::None if !even && !binary.is_padded() => Ties::WithZeros,
                    Ties::WithZeros if !even && !binary.is_padded() => Ties::WithZeros,
                    _ => Ties::Some,
                };
            }
            // The least sum that gives a 1, where larger ones do; else the least that does not.
            let closed = compared.at > 0;
            let turned = *d < 0.0 && pool.is_some();
            let least = match (turned, closed) {
                (false, true) => given.ceil(),
                (false, false) => given.floor() + 1.0,
                // -sum ≥ t, of which the opposite is sum > -t.
                (true, true) => (-given).floor() + 1.0,
                (true, false) => (-given).ceil(),
            };
            thresholds.push(least as i32);
            let twice = match whole {
                true => 2.0 * given,
                false => 2.0 * given.floor() + 1.0,
            };
            doubled.push(if turned { -twice } else { twice } as i32);
        }
        Some(Self {
            layer,
            thresholds,
            doubled,
            pool,
            direction,
            ties,
        })
    }
}
