//! Before learning: do model and data fit each other?
//!
//! A model that is at chance on the data, or much better once labels are permuted, channels
//! reversed or pixels scaled otherwise, was not trained with this preprocessing; masks learned on
//! it would be worthless.

use ndarray::{Array2, ArrayD};

use super::error::TrainError;
use super::evaluate::logits_of;
use crate::autograd::Network;
use crate::data::{Channels, Dataset, Images, Preprocess};
use crate::progress::Observer;

/// Images looked at.
const IMAGES: usize = 512;
/// How much better another reading of the data must be to count as the right one.
const MUCH_BETTER: f64 = 0.2;
/// Accuracies that differ by less are about the same.
const ABOUT: f64 = 0.05;
/// Below this multiple of chance a model knows nothing of the data.
const NEAR_CHANCE: f64 = 1.5;

/// Evaluates the original on the data; an error names the likely cause if it does not fit.
/// Unlabelled data pass. Returns the accuracy.
pub fn check(
    network: &Network,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Option<f64>, TrainError> {
    let set = images.val_set();
    let Some(labels) = &set.labels else {
        return Ok(None);
    };
    let chosen = spread(&images.val_indices, IMAGES);
    let truth: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
    let logits = |pre: &Preprocess| logits_of(network, set, &chosen, pre, observer);
    let original = predictions(&logits(&images.preprocess)?);
    let accuracy = agreement(&original, &truth);
    let mut others = Vec::new();
    for (pre, advice) in alternatives(&images.preprocess, set) {
        let other = agreement(&predictions(&logits(&pre)?), &truth);
        others.push((other, advice));
    }
    let best = others.iter().map(|(other, _)| *other).fold(0.0, f64::max);
    // The most usual reading among those that are about as good as the best.
    let advised = others.iter().find(|(other, _)| *other >= best - ABOUT);
    if let Some((other, advice)) = advised.filter(|(other, _)| *other > accuracy + MUCH_BETTER) {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, but on {:.1} % with {advice}; do so if that is how the model was trained",
            accuracy * 100.0,
            other * 100.0
        )));
    }
    let classes = truth.iter().max().map_or(1, |m| m + 1);
    if let Some((permuted, mapping)) = best_permutation(&original, &truth, classes)
        && permuted > accuracy + MUCH_BETTER
    {
        let name = |c: usize| set.classes.get(c).cloned().unwrap_or_else(|| c.to_string());
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, but on {:.1} % if the classes are in another order (output 0 is '{}'); list them in the model's order with --classes",
            accuracy * 100.0,
            permuted * 100.0,
            name(mapping)
        )));
    }
    let chance = 1.0 / classes.max(2) as f64;
    if accuracy < NEAR_CHANCE * chance {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, and chance is {:.1} %; check --mean, --std, --scale, --channels and the order of classes, or whether these are the right images",
            accuracy * 100.0,
            chance * 100.0
        )));
    }
    Ok(Some(accuracy))
}

/// Other ways to read the same images, the most usual first, and the option that asks for each.
fn alternatives(pre: &Preprocess, set: &Dataset) -> Vec<(Preprocess, &'static str)> {
    if matches!(set.images, crate::data::Pixels::F32(_)) {
        return Vec::new();
    }
    let scaled = |scale: f32| Preprocess {
        scale,
        ..pre.clone()
    };
    let mut all = Vec::new();
    if pre.mean.iter().any(|&m| m != 0.0) || pre.std.iter().any(|&s| s != 1.0) {
        let plain = Preprocess {
            mean: vec![0.0],
            std: vec![1.0],
            ..pre.clone()
        };
        all.push((plain, "neither --mean nor --std"));
    }
    if (pre.scale - 1.0 / 255.0).abs() > 1e-6 {
        all.push((scaled(1.0 / 255.0), "--scale 1/255"));
    }
    if pre.mean.iter().all(|&m| m == 0.0) {
        let centred = Preprocess {
            mean: vec![0.5],
            std: vec![0.5],
            ..pre.clone()
        };
        all.push((centred, "--mean 0.5 --std 0.5"));
    }
    match pre.channels {
        Channels::Rgb => all.push((
            Preprocess {
                channels: Channels::Bgr,
                ..pre.clone()
            },
            "--channels bgr",
        )),
        Channels::Bgr => all.push((
            Preprocess {
                channels: Channels::Rgb,
                ..pre.clone()
            },
            "--channels rgb",
        )),
        Channels::Gray => {}
    }
    if (pre.scale - 1.0).abs() > 1e-6 {
        all.push((scaled(1.0), "--scale 1"));
    }
    all
}

/// At most `count` of the indices, evenly spread.
pub(super) fn spread(indices: &[usize], count: usize) -> Vec<usize> {
    let step = indices.len().div_ceil(count.max(1)).max(1);
    indices.iter().copied().step_by(step).collect()
}

/// The largest logit of each row of `[N, K, …]`.
pub(super) fn predictions(logits: &ArrayD<f32>) -> Vec<usize> {
    let best = |row: ndarray::ArrayViewD<'_, f32>| {
        let mut best = (0, f32::NEG_INFINITY);
        for (k, &v) in row.iter().enumerate() {
            if v > best.1 {
                best = (k, v);
            }
        }
        best.0
    };
    logits.outer_iter().map(best).collect()
}

pub(super) fn agreement(a: &[usize], b: &[usize]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

/// Accuracy if every output stood for the label it goes with most often (a one-to-one assignment,
/// largest counts first), and the label of output 0. `None` for a single class.
fn best_permutation(predicted: &[usize], truth: &[usize], classes: usize) -> Option<(f64, usize)> {
    let outputs = predicted.iter().max().map_or(0, |m| m + 1).max(classes);
    if outputs < 2 {
        return None;
    }
    let mut counts = Array2::<usize>::zeros((outputs, outputs));
    for (&p, &t) in predicted.iter().zip(truth) {
        counts[[p, t]] += 1;
    }
    let mut cells: Vec<((usize, usize), usize)> =
        counts.indexed_iter().map(|(at, &n)| (at, n)).collect();
    cells.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let (mut row_used, mut column_used) = (vec![false; outputs], vec![false; outputs]);
    let (mut right, mut first) = (0, 0);
    for ((p, t), n) in cells {
        if !row_used[p] && !column_used[t] {
            (row_used[p], column_used[t]) = (true, true);
            right += n;
            if p == 0 {
                first = t;
            }
        }
    }
    Some((right as f64 / truth.len().max(1) as f64, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_of_labels_is_found() {
        let truth = [0, 0, 1, 1, 2, 2, 2];
        let predicted = [2, 2, 0, 0, 1, 1, 0];
        let (accuracy, first) = best_permutation(&predicted, &truth, 3).unwrap();
        assert!((accuracy - 6.0 / 7.0).abs() < 1e-9);
        assert_eq!(first, 1);
    }

    #[test]
    fn spreading_keeps_to_the_limit_and_the_order() {
        let all: Vec<usize> = (0..1000).collect();
        let some = spread(&all, 300);
        assert!(some.len() <= 300 && some.is_sorted());
        assert_eq!(spread(&all[..5], 300), [0, 1, 2, 3, 4]);
    }
}
