//! Which decision of the reference each decision of the candidate is, and which of its channels.
//!
//! A pairing is a guess that the explanation then puts to the proof, so a wrong one can excuse
//! nothing: decisions are taken from the reference as the pairing says, and then every input of a
//! decision and every output has to agree.

use ndarray::{Array2, ArrayD, Axis, IxDyn};

use super::kept_channels::KeptChannels;
use super::probe::Decision;

/// Most values of a channel that are looked at.
const MAX_VALUES: usize = 4096;
/// Decisions whose inputs look less alike than this are not the same.
const ALIKE: f32 = 0.5;

/// The counterpart of one decision of the candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counterpart {
    /// The reference's tensor that holds what is decided.
    pub tensor: String,
    /// Which of the reference's decisions writes it; in other units, several may lead to it.
    pub decision: Option<usize>,
    /// The axis along which channels are missing or moved, and those that are there, in order.
    pub kept: Option<(usize, Vec<usize>)>,
    /// Whether the candidate decides on a sum in other units.
    pub rescaled: bool,
}

impl Counterpart {
    /// The part of the reference's value that the candidate has; `None` where it does not fit.
    pub(super) fn restrict(&self, value: &ArrayD<f32>) -> Option<ArrayD<f32>> {
        let Some((axis, kept)) = &self.kept else {
            return Some(value.clone());
        };
        let channels = *value.shape().get(*axis)?;
        let fits = kept.iter().all(|&channel| channel < channels);
        fits.then(|| value.select(Axis(*axis), kept))
    }
}

/// Pairs decisions by the names of what they write, with the channels that `map` says; an error
/// names the candidate's decision that the reference does not have.
pub(super) fn by_name<'d>(
    reference: &[Decision],
    candidate: &'d [Decision],
    map: &KeptChannels,
) -> Result<Vec<Counterpart>, &'d Decision> {
    let pair = |own: &'d Decision| {
        let found = reference
            .iter()
            .position(|other| other.output == own.output && other.op == own.op);
        let rescaled = map.is_rescaled(&own.output);
        if found.is_none() && !rescaled {
            return Err(own);
        }
        Ok(Counterpart {
            tensor: own.output.clone(),
            decision: found,
            kept: map.kept(&own.output).cloned(),
            rescaled,
        })
    };
    candidate.iter().map(pair).collect()
}

/// What a decision depends on, measured on a few samples: see [`super::jump::signed`].
pub(super) type Measured = Option<ArrayD<f32>>;

/// Pairs decisions by what they decide on: the counterpart is the one whose input looks most alike,
/// channel by channel, up to a positive factor for each. Names and channel maps play no role.
pub(super) fn by_value<'d>(
    reference: &[Decision],
    expected: &[Measured],
    candidate: &'d [Decision],
    actual: &[Measured],
) -> Result<Vec<Counterpart>, &'d Decision> {
    let mut used = vec![false; reference.len()];
    let mut pairs = Vec::new();
    for (own, actual) in candidate.iter().zip(actual) {
        let actual = actual.as_ref().ok_or(own)?;
        let mut best: Option<(f32, Counterpart)> = None;
        for (index, (other, expected)) in reference.iter().zip(expected).enumerate() {
            let Some(expected) = expected.as_ref().filter(|_| other.op == own.op) else {
                continue;
            };
            let Some((mut alike, kept)) = channels(expected, actual) else {
                continue;
            };
            // In the order of execution and one to one, where that is possible.
            alike -= if used[index] { 1e-3 } else { 0.0 };
            if best.as_ref().is_none_or(|(most, _)| alike > *most) {
                let rescaled = halves(actual) && !halves(expected);
                best = Some((
                    alike,
                    Counterpart {
                        tensor: other.output.clone(),
                        decision: Some(index),
                        kept,
                        rescaled,
                    },
                ));
            }
        }
        match best {
            Some((alike, pair)) if alike > ALIKE => {
                if let Some(used) = pair.decision.and_then(|d| used.get_mut(d)) {
                    *used = true;
                }
                pairs.push(pair);
            }
            _ => return Err(own),
        }
    }
    Ok(pairs)
}

/// Whether these are sums of ±1 with thresholds in between: the integer form.
fn halves(values: &ArrayD<f32>) -> bool {
    values.iter().all(|v| (v * 2.0).fract() == 0.0)
}

type Kept = Option<(usize, Vec<usize>)>;

/// How much alike two tensors are, from -1 to 1, and which channels of the first the second has.
fn channels(expected: &ArrayD<f32>, actual: &ArrayD<f32>) -> Option<(f32, Kept)> {
    if expected.ndim() != actual.ndim() {
        return None;
    }
    let sides = expected.shape().iter().zip(actual.shape());
    let differing: Vec<usize> = sides
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(axis, _)| axis)
        .collect();
    let axis = match differing[..] {
        [] if expected.ndim() < 2 => return Some((cosine(expected, actual), None)),
        [] => 1,
        [axis] if axis > 0 && actual.len_of(Axis(axis)) < expected.len_of(Axis(axis)) => axis,
        _ => return None,
    };
    let (a, b) = (rows(expected, axis)?, rows(actual, axis)?);
    let alike = b.dot(&a.t());
    let mut free = vec![true; a.nrows()];
    let mut kept = Vec::new();
    let mut total = 0.0;
    for row in alike.rows() {
        let mut best: Option<(usize, f32)> = None;
        for (channel, &alike) in row.iter().enumerate().filter(|&(c, _)| free[c]) {
            // The first of equals: channels stay in order.
            if best.is_none_or(|(_, most)| alike > most + 1e-5) {
                best = Some((channel, alike));
            }
        }
        let (channel, alike) = best?;
        free[channel] = false;
        total += alike;
        kept.push(channel);
    }
    let mean = total / kept.len().max(1) as f32;
    let identity = kept.len() == free.len() && kept.iter().enumerate().all(|(i, &c)| i == c);
    Some((mean, (!identity).then_some((axis, kept))))
}

fn cosine(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    let row = |x: &ArrayD<f32>| {
        let x = x.mapv(finite);
        let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm > 0.0 { x / norm } else { x }
    };
    (row(a) * row(b)).sum()
}

fn finite(x: f32) -> f32 {
    if x.is_finite() {
        x.clamp(-1e15, 1e15)
    } else {
        0.0
    }
}

/// Each channel as a row of length 1; a row of zeros gets an entry of its own, which only other
/// rows of zeros have.
fn rows(values: &ArrayD<f32>, axis: usize) -> Option<Array2<f32>> {
    let channels = values.len_of(Axis(axis));
    let each = values.len().checked_div(channels)?;
    let step = each.div_ceil(MAX_VALUES).max(1);
    let mut rows = Array2::zeros((channels, each.div_ceil(step) + 1));
    for (mut row, lane) in rows.outer_iter_mut().zip(values.axis_iter(Axis(axis))) {
        for (to, &from) in row.iter_mut().zip(lane.iter().step_by(step)) {
            *to = finite(from);
        }
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        match norm > 0.0 {
            true => row.mapv_inplace(|v| v / norm),
            false => {
                if let Some(last) = row.last_mut() {
                    *last = 1.0;
                }
            }
        }
    }
    Some(rows)
}

/// What a decision depends on, from its operands broadcast to one shape.
pub(super) fn measured(op: &str, operands: Vec<ArrayD<f32>>) -> Measured {
    let rank = operands.iter().map(ArrayD::ndim).max()?;
    let mut shape = vec![1; rank];
    for operand in &operands {
        for (side, &own) in shape.iter_mut().rev().zip(operand.shape().iter().rev()) {
            *side = own.max(*side);
        }
    }
    let full = operands
        .iter()
        .map(|operand| Some(operand.broadcast(IxDyn(&shape))?.to_owned()))
        .collect::<Option<Vec<_>>>()?;
    super::jump::signed(op, &full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    fn decision(output: &str) -> Decision {
        Decision::named("Sign", output)
    }

    #[test]
    fn channels_are_found_wherever_they_are() {
        let a = arr2(&[[1.0, -2.0, 3.0, 0.0], [4.0, 1.0, -3.0, 0.0]]).into_dyn();
        let pair = |actual: ArrayD<f32>| {
            let (reference, candidate) = ([decision("s")], [decision("other")]);
            let measured = ([Some(a.clone())], [Some(actual)]);
            let found = by_value(&reference, &measured.0, &candidate, &measured.1);
            found.map(|pairs| pairs[0].kept.clone()).ok()
        };
        assert_eq!(pair(a.clone()), Some(None));
        assert_eq!(pair(&a * 3.0), Some(None));
        let moved = a.select(Axis(1), &[2, 3, 0, 1]);
        assert_eq!(pair(moved), Some(Some((1, vec![2, 3, 0, 1]))));
        let cut = a.select(Axis(1), &[0, 2]);
        assert_eq!(pair(cut), Some(Some((1, vec![0, 2]))));
        assert_eq!(pair(&a * -1.0), None);
    }

    #[test]
    fn a_decision_without_its_like_is_named() {
        let (reference, candidate) = ([decision("s")], [decision("other")]);
        let error = by_name(&reference, &candidate, &KeptChannels::default()).unwrap_err();
        assert_eq!(error.output, "other");
    }
}
