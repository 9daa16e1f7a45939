//! Constants that a layer absorbs when their channels go.

use ndarray::{ArrayD, Axis, Dimension as _, IxDyn};

use super::rules::{Border, Channels, Kernels, Mixing};

/// What absorbed channels add to a layer's output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Absorbed {
    /// Nothing.
    Nothing,
    /// One value for each kept filter.
    Bias(Vec<f64>),
    /// A map `[1, O, spatial…]`: around a zero-padded border fewer weights meet the constant.
    Map(ArrayD<f64>),
    /// The same map as what the layer, with this kernel for one input channel, makes of a plane of
    /// ones.
    Kernel(ArrayD<f64>),
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
    let kernels = &mixing.layer.kernels(weight);
    match &mixing.border {
        None => Absorbed::Bias(
            rows.iter()
                .map(|&o| taps(mixing, kernels, o, &gone).iter().sum())
                .collect(),
        ),
        Some(border) => match form(border, rows.len(), mixing.kernel) {
            Some((Form::Kernel, _)) => {
                Absorbed::Kernel(kernel(mixing, kernels, rows, &gone, border))
            }
            _ => Absorbed::Map(map(mixing, kernels, rows, &gone, border)),
        },
    }
}

/// How a border map is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Map,
    Kernel,
}

/// What the nodes that make a map from a kernel take in a file, in values.
const NODES: usize = 80;

/// The smaller form of a border map over `rows` filters, and how many values it takes.
pub(super) fn form(border: &Border, rows: usize, kernel: usize) -> Option<(Form, usize)> {
    let mut sizes = border.output.iter();
    let map = sizes.try_fold(rows, |n, &d| n.checked_mul(d));
    let kernel = rows.checked_mul(kernel)?.checked_add(NODES)?;
    Some(match map {
        Some(map) if map <= kernel => (Form::Map, map),
        _ => (Form::Kernel, kernel),
    })
}

/// The kernel `[O, 1, k…]` (transposed: `[1, O, k…]`) whose one input is 1 wherever the input is.
fn kernel(
    mixing: &Mixing,
    kernels: &Kernels<'_>,
    rows: &[usize],
    gone: &[Gone],
    border: &Border,
) -> ArrayD<f64> {
    let filters = match border.transposed {
        false => [rows.len(), 1],
        true => [1, rows.len()],
    };
    let shape = [&filters[..], &border.window.kernel[..]].concat();
    let mut out = ArrayD::zeros(IxDyn(&shape));
    let taps = rows.iter().flat_map(|&o| taps(mixing, kernels, o, gone));
    out.iter_mut().zip(taps).for_each(|(k, v)| *k = v);
    out
}

/// For each kernel position, what the constants contribute to filter `o` there.
fn taps(mixing: &Mixing, kernels: &Kernels<'_>, o: usize, gone: &[Gone]) -> Vec<f64> {
    let mut sum = vec![0.0; mixing.kernel];
    for &(i, value) in gone {
        for (s, &w) in sum.iter_mut().zip(kernels.taps(o, i)) {
            *s += f64::from(mixing.scale) * f64::from(w) * value;
        }
    }
    sum
}

fn map(
    mixing: &Mixing,
    kernels: &Kernels<'_>,
    rows: &[usize],
    gone: &[Gone],
    border: &Border,
) -> ArrayD<f64> {
    let shape = [&[1, rows.len()], &border.output[..]].concat();
    let mut out = ArrayD::zeros(IxDyn(&shape));
    let positions = ndarray::indices(IxDyn(&border.output));
    let kernel: Vec<_> = ndarray::indices(IxDyn(&border.window.kernel))
        .into_iter()
        .collect();
    // Most positions meet the same taps: those inside.
    let met: Vec<Vec<usize>> = positions
        .clone()
        .into_iter()
        .map(|at| {
            let meets = |t: &usize| border.meets(at.slice(), kernel[*t].slice());
            (0..kernel.len()).filter(meets).collect()
        })
        .collect();
    for (r, &o) in rows.iter().enumerate() {
        let taps = taps(mixing, kernels, o, gone);
        let mut plane = out.index_axis_mut(Axis(0), 0);
        let mut plane = plane.index_axis_mut(Axis(0), r);
        for (value, met) in plane.iter_mut().zip(&met) {
            *value = met.iter().map(|&t| taps[t]).sum();
        }
    }
    out
}
