//! Before learning: do model and data fit each other?
//!
//! A model that is at chance on the data, or much better once labels are permuted, channels
//! reversed or pixels scaled otherwise, was not trained with this preprocessing; masks learned on
//! it would be worthless.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayD;

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
/// Below this multiple of chance a model knows nothing of the data, unless it is better than chance
/// by [`ABOUT`] (with two classes, 1.5 times chance is already 75 %).
const CHANCE_FACTOR: f64 = 1.5;
/// Outputs that a message lists.
const LISTED: usize = 10;

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
    let first = logits(&images.preprocess)?;
    let original = predictions(&first);
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
    judge(&original, &truth, classes_of(&first), &set.classes)?;
    Ok(Some(accuracy))
}

/// Outputs that tell classes apart: logits per row of `[N, K, …]`.
fn classes_of(logits: &ArrayD<f32>) -> usize {
    logits.len() / logits.shape().first().map_or(1, |&n| n.max(1))
}

/// Are predictions at chance, or much better with the classes in another order? `classes` is the
/// number of the model's outputs.
fn judge(
    predicted: &[usize],
    truth: &[usize],
    classes: usize,
    names: &[String],
) -> Result<(), TrainError> {
    let accuracy = agreement(predicted, truth);
    if let Some(found) = best_permutation(predicted, truth)
        && found.permuted > found.as_listed + MUCH_BETTER
    {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, but on {:.1} % if the classes are in another order ({}); list them in the model's order with --classes",
            accuracy * 100.0,
            found.permuted * 100.0,
            describe(&found.label_of, names)
        )));
    }
    let chance = 1.0 / classes.max(2) as f64;
    if accuracy < (CHANCE_FACTOR * chance).min(chance + ABOUT) {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, and chance is {:.1} %; check --mean, --std, --scale, --channels and the order of classes, or whether these are the right images",
            accuracy * 100.0,
            chance * 100.0
        )));
    }
    Ok(())
}

/// The first few outputs with the class that each stands for.
fn describe(label_of: &BTreeMap<usize, usize>, names: &[String]) -> String {
    let one = |(output, &label): (&usize, &usize)| match names.get(label) {
        Some(name) => format!("output {output} is '{name}'"),
        None => format!("output {output} is {label}"),
    };
    let listed: Vec<String> = label_of.iter().take(LISTED).map(one).collect();
    let more = if label_of.len() > LISTED { ", …" } else { "" };
    listed.join(", ") + more
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

/// Another order of classes, and what it does on images that it was not fitted on.
#[derive(Debug, PartialEq)]
struct Permutation {
    /// The label that each output stands for, as far as the images show.
    label_of: BTreeMap<usize, usize>,
    /// Accuracy on the scored images with the classes as listed.
    as_listed: f64,
    /// Accuracy on the scored images with the classes in this order.
    permuted: f64,
}

/// The order of classes in which every output stands for the label it goes with most often (a
/// one-to-one assignment, largest counts first). Fitted on every second image of each class and
/// scored on the others: on the images it was fitted on, any order looks better than it is.
/// `None` if no class has a second image.
fn best_permutation(predicted: &[usize], truth: &[usize]) -> Option<Permutation> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut scored = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (&p, &t) in predicted.iter().zip(truth) {
        let nth = seen.entry(t).or_default();
        match nth.is_multiple_of(2) {
            true => *counts.entry((p, t)).or_default() += 1,
            false => scored.push((p, t)),
        }
        *nth += 1;
    }
    if scored.is_empty() {
        return None;
    }
    let mut cells: Vec<((usize, usize), usize)> = counts.into_iter().collect();
    cells.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut label_of = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for ((p, t), _) in cells {
        if !label_of.contains_key(&p) && taken.insert(t) {
            label_of.insert(p, t);
        }
    }
    let share = |right: &dyn Fn(usize, usize) -> bool| {
        let count = scored.iter().filter(|&&(p, t)| right(p, t)).count();
        count as f64 / scored.len() as f64
    };
    Some(Permutation {
        as_listed: share(&|p, t| p == t),
        permuted: share(&|p, t| label_of.get(&p) == Some(&t)),
        label_of,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` images of each class; every second class is predicted right, the others anyhow.
    fn half_right(classes: usize, count: usize) -> (Vec<usize>, Vec<usize>) {
        let truth: Vec<usize> = (0..classes * count).map(|i| i / count).collect();
        let guess = |(i, &t): (usize, &usize)| match i.is_multiple_of(2) {
            true => t,
            false => (t + 1 + i * 7919) % classes,
        };
        let order: Vec<usize> = (0..classes * count)
            .map(|i| i * 7 % (classes * count))
            .collect();
        let predicted: Vec<usize> = truth.iter().enumerate().map(guess).collect();
        order.iter().map(|&i| (predicted[i], truth[i])).unzip()
    }

    #[test]
    fn a_healthy_model_with_few_images_a_class_passes() {
        for count in [1, 2, 3] {
            let (predicted, truth) = half_right(500, count);
            let accuracy = agreement(&predicted, &truth);
            assert!((accuracy - 0.5).abs() < 0.02, "{accuracy}");
            judge(&predicted, &truth, 500, &[]).unwrap();
        }
    }

    #[test]
    fn permuted_classes_are_refused_with_the_whole_order() {
        let truth: Vec<usize> = (0..400).map(|i| i % 4).collect();
        let order = [2, 0, 3, 1];
        let label = |(i, &t): (usize, &usize)| if i % 10 == 0 { t } else { order[t] };
        let predicted: Vec<usize> = truth.iter().enumerate().map(label).collect();
        let found = best_permutation(&predicted, &truth).unwrap();
        assert_eq!(
            found.label_of,
            BTreeMap::from([(2, 0), (0, 1), (3, 2), (1, 3)])
        );
        assert!(
            (found.permuted - 0.9).abs() < 0.05 && found.as_listed < 0.2,
            "{found:?}"
        );
        let names = ["ant", "bee", "cat", "dog"].map(str::to_owned);
        let message = judge(&predicted, &truth, 4, &names)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(
                "output 0 is 'bee', output 1 is 'dog', output 2 is 'ant', output 3 is 'cat'"
            ),
            "{message}"
        );
    }

    #[test]
    fn near_chance_depends_on_the_outputs_of_the_model() {
        // Two classes, 65 % right: better than chance, though not by half.
        let truth: Vec<usize> = (0..200).map(|i| i % 2).collect();
        let right = |share: usize| -> Vec<usize> {
            let guess = |(i, &t): (usize, &usize)| if i / 2 % 100 < share { t } else { 1 - t };
            truth.iter().enumerate().map(guess).collect()
        };
        judge(&right(65), &truth, 2, &[]).unwrap();
        assert!(judge(&right(52), &truth, 2, &[]).is_err());
        // The same labels from a model that tells a thousand classes apart: far from chance.
        judge(&right(45), &truth, 1000, &[]).unwrap();
        assert_eq!(
            classes_of(&ArrayD::zeros(ndarray::IxDyn(&[6, 10, 1, 1]))),
            10
        );
    }

    #[test]
    fn spreading_keeps_to_the_limit_and_the_order() {
        let all: Vec<usize> = (0..1000).collect();
        let some = spread(&all, 300);
        assert!(some.len() <= 300 && some.is_sorted());
        assert_eq!(spread(&all[..5], 300), [0, 1, 2, 3, 4]);
    }
}
