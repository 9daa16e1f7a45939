//! Constants that a layer absorbs when their channels go.

use ndarray::{ArrayD, Axis, IxDyn};

use super::rules::Channels;
use super::rules::Mixing;
use crate::graph::Window;

/// What absorbed channels add to a layer's output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Absorbed {
    /// Nothing.
    Nothing,
    /// One value for each kept filter.
    Bias(Vec<f64>),
    /// A map `[1, O, spatial…]`: around a zero-padded border fewer weights meet the constant.
    Map(ArrayD<f32>),
}

/// A channel that goes, and the constant it held.
type Gone = (usize, f64);

/// Constants other than 0 among the channels that go.
pub(super) fn gone(data: &Channels, kept: &[usize]) -> Vec<Gone> {
    let value = |i: usize| data.states.get(i)?.constant().map(|k| f64::from(k.value));
    (0..data.states.len())
        .filter(|i| kept.binary_search(i).is_err())
        .filter_map(|i| Some((i, value(i)?)))
        .filter(|(_, v)| *v != 0.0)
        .collect()
}

/// What the channels in `gone` added to the filters in `rows`.
pub(super) fn absorb(
    mixing: &Mixing,
    weight: &ArrayD<f32>,
    rows: &[usize],
    gone: &[Gone],
) -> Absorbed {
    let gone: Vec<Gone> = gone
        .iter()
        .copied()
        .filter(|&(i, _)| rows.iter().any(|&o| mixing.reads(o, i)))
        .collect();
    if gone.is_empty() {
        return Absorbed::Nothing;
    }
    match &mixing.padding {
        None => Absorbed::Bias(
            rows.iter()
                .map(|&o| taps(mixing, weight, o, &gone).iter().sum())
                .collect(),
        ),
        Some((window, spatial)) => match map(mixing, weight, rows, &gone, window, spatial) {
            Some(map) => Absorbed::Map(map),
            None => Absorbed::Nothing,
        },
    }
}

/// For each kernel position, what the constants contribute to filter `o` there.
fn taps(mixing: &Mixing, weight: &ArrayD<f32>, o: usize, gone: &[Gone]) -> Vec<f64> {
    let row = weight.index_axis(Axis(mixing.layer.filter_axis), o);
    let size = row.len() / mixing.inputs.max(1);
    let mut sum = vec![0.0; size];
    for &(i, value) in gone {
        for (s, &w) in sum.iter_mut().zip(row.index_axis(Axis(0), i)) {
            *s += f64::from(mixing.scale) * f64::from(w) * value;
        }
    }
    sum
}

/// Number of values that a border map over `rows` filters has.
pub(super) fn map_size(mixing: &Mixing, rows: usize) -> Option<usize> {
    let (window, spatial) = mixing.padding.as_ref()?;
    spatial.iter().enumerate().try_fold(rows, |n, (i, &d)| {
        n.checked_mul(window.output(i, d, false)?)
    })
}

fn map(
    mixing: &Mixing,
    weight: &ArrayD<f32>,
    rows: &[usize],
    gone: &[Gone],
    window: &Window,
    spatial: &[usize],
) -> Option<ArrayD<f32>> {
    let mut shape = vec![1, rows.len()];
    for (i, &d) in spatial.iter().enumerate() {
        shape.push(window.output(i, d, false)?);
    }
    let mut out = ArrayD::zeros(IxDyn(&shape));
    let positions = ndarray::indices(IxDyn(&shape[2..]));
    let kernel: Vec<_> = ndarray::indices(IxDyn(&window.kernel))
        .into_iter()
        .collect();
    for (r, &o) in rows.iter().enumerate() {
        let taps = taps(mixing, weight, o, gone);
        let mut plane = out.index_axis_mut(Axis(0), 0);
        let mut plane = plane.index_axis_mut(Axis(0), r);
        for at in positions.clone() {
            let inside = |tap: &IxDyn| {
                (0..spatial.len()).all(|i| {
                    let p = at[i] * window.strides[i] + tap[i] * window.dilations[i];
                    p >= window.begin[i] && p - window.begin[i] < spatial[i]
                })
            };
            let sum: f64 = kernel
                .iter()
                .zip(&taps)
                .filter(|(tap, _)| inside(tap))
                .map(|(_, v)| v)
                .sum();
            plane[&at] = sum as f32;
        }
    }
    Some(out)
}
