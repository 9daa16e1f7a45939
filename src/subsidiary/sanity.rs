//! Before learning: do model and data fit each other?
//!
//! A model that is at chance on the data, or much better once labels are permuted, channels
//! reversed or pixels scaled otherwise, was not trained with this preprocessing; masks learned on
//! it would be worthless.

mod one_answer;
mod permutation;

use ndarray::ArrayD;

use super::error::TrainError;
use super::evaluate::{RunContext, Subset, logits_of};
use super::readings::{self, Reading};
use crate::data::{Dataset, Images};
use crate::distributed::Alone;
use crate::network::Network;
use crate::progress::Observer;
use one_answer::{ALMOST_ALL, beside, one_answer};
use permutation::best_permutation;

pub(crate) use one_answer::most_frequent;

/// Images looked at.
const IMAGES: usize = 512;
/// With fewer images to learn from than these, it is not asked whether the original knows them.
const LEAST_JUDGED: usize = 50;
/// How much better another reading of the data must be to count as the right one.
const MUCH_BETTER: f64 = 0.2;
/// The same of another reading of the pixels: those are few, and a network that learns on wrong ones gets
/// used to them.
const BETTER_READING: f64 = 0.1;
/// How much better it must be to be told of: a network that normalises its first sums is tolerant.
const NOTABLE_READING: f64 = 0.03;
/// Accuracies that differ by less are about the same.
const ABOUT: f64 = 0.05;
/// Below this multiple of chance a model knows nothing of the data, unless it is better than chance
/// by [`ABOUT`] (with two classes, 1.5 times chance is already 75 %).
const CHANCE_FACTOR: f64 = 1.5;
/// Images on which other readings are tried first.
const FEW_IMAGES: usize = 128;
/// Readings that differ by less, on the same images, are as good as each other.
const SAME: f64 = 0.015;
/// Above this error of the accuracy, nothing can be judged.
const TOO_UNSURE: f64 = 0.1;
/// Above this one it is worth a warning.
const UNSURE: f64 = 0.03;
/// What is left of the agreement with the original where a network is pruned as far as is usual.
const USUAL_AGREEMENT: f64 = 0.9;

/// Evaluates the original on the images to validate by; an error names the likely cause if they do not fit, and a
/// warning what is doubtful. Returns the accuracy, if there are labels. `budgeted`: what is lost is limited.
pub fn check(
    network: &Network,
    images: &Images,
    budgeted: bool,
    observer: &dyn Observer,
) -> Result<Option<f64>, TrainError> {
    if images.val_set().labels.is_none() {
        several_answers(network, images, budgeted, observer)?;
    }
    let accuracy = fits(network, images, observer)?;
    if let Some(accuracy) = accuracy {
        enough(accuracy, images.val_indices.len(), observer)?;
    }
    Ok(accuracy)
}

/// [`check`], but whether there are images enough to judge what pruning costs.
///
/// # Errors
/// If the data do not fit, with the likely cause.
pub fn fits(
    network: &Network,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Option<f64>, TrainError> {
    let set = images.val_set();
    let Some(labels) = &set.labels else {
        let count = images.val_indices.len();
        let error = uncertainty(USUAL_AGREEMENT, count);
        if error > UNSURE {
            observer.warn(&format!(
                "{count} validation images tell the agreement with the original to ± {:.0} percentage points only (95 % interval); smaller losses do not show: give more with --val, or a larger --val-split",
                error * 100.0
            ));
        }
        return Ok(None);
    };
    let of = Subset::of_validation(images, &images.val_indices);
    let asked = answered(network, &of, labels, observer)?;
    let accuracy = agreement(&asked.answers, &asked.truth);
    // Nothing can be so much better than that.
    if accuracy + NOTABLE_READING < 1.0 {
        better_reading(network, images, &asked, accuracy, observer)?;
    }
    asked.judged(set)?;
    Ok(Some(accuracy))
}

/// What the original answers on some images.
struct Asked {
    chosen: Vec<usize>,
    truth: Vec<usize>,
    answers: Vec<usize>,
    /// Classes that it tells apart.
    classes: usize,
}

impl Asked {
    /// Whether the original knows the images of `set`.
    fn judged(&self, set: &Dataset) -> Result<(), TrainError> {
        judge(
            &self.answers,
            &self.truth,
            self.classes,
            &set.classes,
            set.images.are_floats(),
        )
    }
}

/// Asks the original about at most [`IMAGES`] of those images; `labels` are those of their set.
fn answered(
    network: &Network,
    of: &Subset<'_>,
    labels: &[usize],
    observer: &dyn Observer,
) -> Result<Asked, TrainError> {
    let chosen = spread(of.indices, IMAGES);
    let truth = chosen.iter().map(|&i| labels[i]).collect();
    let some = Subset {
        indices: &chosen,
        ..*of
    };
    let logits = logits_of(network, &some, &alone(observer))?;
    Ok(Asked {
        chosen,
        truth,
        answers: predictions(&logits),
        classes: classes_of(&logits),
    })
}

/// What the original is asked in: each process asks for itself.
fn alone(observer: &dyn Observer) -> RunContext<'_> {
    RunContext {
        observer,
        processes: &Alone,
    }
}

/// Whether the original knows images to learn from that are others than those of validation: their labels may be
/// in another order, or mean nothing.
///
/// # Errors
/// If it does not, with the likely cause.
pub fn training_images_fit(
    network: &Network,
    images: &Images,
    observer: &dyn Observer,
) -> Result<(), TrainError> {
    let set = &images.train;
    let Some(labels) = &set.labels else {
        return Ok(());
    };
    // Those of one source were asked about; too few say nothing.
    if images.val.is_none() || images.train_indices.len() < LEAST_JUDGED {
        return Ok(());
    }
    let of = Subset::of_training(images, &images.train_indices);
    let asked = answered(network, &of, labels, observer)?;
    asked.judged(set).map_err(|e| match e {
        TrainError::Mismatch(said) => {
            TrainError::Mismatch(format!("to learn from these does not work: {said}"))
        }
        e => e,
    })
}

/// Tries the images in other readings: first on some of them, then the best on all that it was asked about.
fn better_reading(
    network: &Network,
    images: &Images,
    asked: &Asked,
    accuracy: f64,
    observer: &dyn Observer,
) -> Result<(), TrainError> {
    let (chosen, truth) = (&asked.chosen, &asked.truth);
    let set = images.val_set();
    let right = |reading: &Reading, places: &[usize]| -> Result<f64, TrainError> {
        let indices: Vec<usize> = places.iter().map(|&p| chosen[p]).collect();
        let truth: Vec<usize> = places.iter().map(|&p| truth[p]).collect();
        let some = readings::some(set, &indices, reading.values.as_deref())?;
        let all: Vec<usize> = (0..indices.len()).collect();
        let of = Subset {
            set: &some,
            indices: &all,
            preprocess: &reading.preprocess,
        };
        let logits = logits_of(network, &of, &alone(observer))?;
        Ok(agreement(&predictions(&logits), &truth))
    };
    let every: Vec<usize> = (0..chosen.len()).collect();
    let few = spread(&every, FEW_IMAGES);
    let mut found = Vec::new();
    let indices: Vec<usize> = few.iter().map(|&p| chosen[p]).collect();
    let sample = set.select(&indices)?;
    for reading in readings::others(&images.preprocess, &sample) {
        found.push((right(&reading, &few)?, reading));
    }
    let best = found.iter().map(|(share, _)| *share).fold(0.0, f64::max);
    // The most usual reading among those that are about as good as the best.
    let Some((_, advised)) = found.iter().find(|(share, _)| *share >= best - SAME) else {
        return Ok(());
    };
    let other = right(advised, &every)?;
    let said = format!(
        "the original is right on {:.1} % of the images, but on {:.1} % with {}; do so if that is how the model was trained",
        accuracy * 100.0,
        other * 100.0,
        advised.advice
    );
    if other > accuracy + BETTER_READING {
        return Err(TrainError::Mismatch(said));
    }
    if other > accuracy + NOTABLE_READING.max(uncertainty(accuracy, chosen.len())) {
        observer.warn(&said);
    }
    Ok(())
}

/// Half the width of the 95 % interval (Wilson's) of an accuracy measured on so many images.
pub(super) fn uncertainty(accuracy: f64, images: usize) -> f64 {
    let (n, z2) = (images.max(1) as f64, 1.96f64.powi(2));
    let spread = accuracy * (1.0 - accuracy) / n + z2 / (4.0 * n * n);
    (z2 * spread).sqrt() / (1.0 + z2 / n)
}

/// Are there enough validation images to see what pruning costs?
fn enough(accuracy: f64, images: usize, observer: &dyn Observer) -> Result<(), TrainError> {
    let error = uncertainty(accuracy, images);
    let said = format!(
        "{images} validation images tell the accuracy to ± {:.1} percentage points only (95 % interval)",
        error * 100.0
    );
    if error > TOO_UNSURE {
        return Err(TrainError::Mismatch(format!(
            "{said}, too few to judge what pruning costs; give more with --val, or a larger --val-split"
        )));
    }
    if error > UNSURE {
        observer.warn(&format!("{said}; smaller losses do not show"));
    }
    Ok(())
}

/// Without labels: images that are all one class to the original are one class's folder, or read wrongly; agreement
/// on them would say nothing.
fn several_answers(
    network: &Network,
    images: &Images,
    budgeted: bool,
    observer: &dyn Observer,
) -> Result<(), TrainError> {
    let chosen = spread(&images.train_indices, IMAGES);
    let of = Subset::of_training(images, &chosen);
    let logits = logits_of(network, &of, &alone(observer))?;
    let classes = classes_of(&logits);
    if classes < 2 {
        return Ok(());
    }
    let (source, answers) = (&images.train.source, predictions(&logits));
    if source.is_dir() {
        return one_answer(&answers, beside(source), classes);
    }
    // Archives, and images that are made, have no folders to be mistaken for one another.
    let Some((class, share)) = most_frequent(&answers).filter(|&(_, share)| share >= ALMOST_ALL)
    else {
        return Ok(());
    };
    let asked = match images.train.images.are_floats() {
        true => "is x what the model reads",
        false => "are they scaled as in training (--scale, --mean, --std)",
    };
    let said = format!(
        "to the original {:.0} % of the images are of class {class}, so that agreement with it says nothing of what pruning costs: {asked}? Give images of all classes",
        share * 100.0
    );
    match budgeted {
        true => Err(TrainError::Mismatch(format!(
            "{said}, or --max-drop none to prune all the same"
        ))),
        false => {
            observer.warn(&format!("{}: {said}", source.display()));
            Ok(())
        }
    }
}

/// Classes that logits `[N, K, …]` tell apart: K, or two by one logit, which is above 0 or is not.
pub(super) fn classes_of(logits: &ArrayD<f32>) -> usize {
    match logits.len() / logits.shape().first().map_or(1, |&n| n.max(1)) {
        1 => 2,
        classes => classes,
    }
}

/// Are predictions at chance, or much better with the classes in another order? `classes` is the
/// number of the model's outputs, `names` are those of the data's classes; `floats` says that the images
/// are floats, and so as the model reads them.
fn judge(
    predicted: &[usize],
    truth: &[usize],
    classes: usize,
    names: &[String],
    floats: bool,
) -> Result<(), TrainError> {
    let accuracy = agreement(predicted, truth);
    if let Some(found) = best_permutation(predicted, truth)
        && found.permuted > found.as_listed + MUCH_BETTER
    {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, but on {:.1} % if the classes are in another order ({}); list them in the model's order with --classes",
            accuracy * 100.0,
            found.permuted * 100.0,
            found.described(names)
        )));
    }
    let chance = 1.0 / classes.max(2) as f64;
    if accuracy < (CHANCE_FACTOR * chance).min(chance + ABOUT) {
        return Err(TrainError::Mismatch(format!(
            "the original is right on {:.1} % of the images, and chance is {:.1} %; check {}, or whether these are the right images",
            accuracy * 100.0,
            chance * 100.0,
            match floats {
                true =>
                    "that x holds the values that the model was trained with, and y its classes",
                false => "--mean, --std, --scale, --channels and the order of classes (--classes)",
            }
        )));
    }
    Ok(())
}

/// `count` of the indices, or all where there are no more, evenly spread: one of each of so many parts. At which
/// place of its part each is has no period, or images whose classes go round would be of few classes.
pub(super) fn spread(indices: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(indices.len());
    // Multiples of the golden ratio, modulo 1, are spread evenly themselves.
    let place = |part: usize| (part as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u128;
    let begin =
        |part: usize| (part as u128 * indices.len() as u128 / count.max(1) as u128) as usize;
    let chosen = (0..count).map(|part| {
        let (from, to) = (begin(part), begin(part + 1));
        let within = ((to - from) as u128 * place(part)) >> 64;
        indices[from + within as usize]
    });
    chosen.collect()
}

/// The class of each row of `[N, K, …]`: the largest logit, or whether one alone is above 0.
pub(super) fn predictions(logits: &ArrayD<f32>) -> Vec<usize> {
    if logits.len() == logits.shape().first().copied().unwrap_or(0) {
        return logits.iter().map(|&z| usize::from(z > 0.0)).collect();
    }
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

#[cfg(test)]
mod tests;
