//! Images to judge by must be others than those that are learned from.

use std::collections::HashSet;
use std::path::Path;

use crate::data::Dataset;
use crate::error::Error;
use crate::output::FileId;
use crate::progress::Observer;

/// Above this share of validation images that are training images too, they prove nothing.
const MOST_SHARED: f64 = 0.5;
/// Above this one it is worth a warning.
const FEW_SHARED: f64 = 0.01;

/// Two paths to one data set.
pub(super) fn not_the_same(data: &Path, val: &Path) -> Result<(), Error> {
    let same = match (FileId::of_input(data), FileId::of_input(val)) {
        (Some(a), Some(b)) => a == b,
        _ => match (data.canonicalize(), val.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
    };
    match same {
        false => Ok(()),
        true => Err(Error::unsuitable(
            val,
            "--val is --data: accuracy on images that were learned from says nothing; give other images, or leave --val out to have some split off",
        )),
    }
}

/// Validation images that are training images as well.
pub(super) fn apart(
    data: &Path,
    train: &Dataset,
    val: &Path,
    set: &Dataset,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let found = set.sums();
    let (shared, share) = in_common(&train.sums(), &found);
    let what = format!(
        "{shared} of its {} images are in {} as well, pixel by pixel",
        found.len(),
        data.display()
    );
    if share > MOST_SHARED {
        return Err(Error::unsuitable(
            val,
            format!(
                "{what}: accuracy on images that were learned from says nothing; give other images, or leave --val out to have some split off"
            ),
        ));
    }
    if share > FEW_SHARED {
        observer.warn(&format!(
            "{}: {what}: accuracy looks better than it is",
            val.display()
        ));
    }
    Ok(())
}

/// The same images under several names, on both sides of a split.
pub(super) fn split_apart(
    data: &Path,
    set: &Dataset,
    [train, val]: [&[usize]; 2],
    observer: &dyn Observer,
) {
    let sums = set.sums();
    let of = |indices: &[usize]| -> Vec<u64> {
        let known = indices.iter().filter_map(|&i| sums.get(i).copied());
        known.collect()
    };
    let judged = of(val);
    let (shared, share) = in_common(&of(train), &judged);
    if share > FEW_SHARED {
        observer.warn(&format!(
            "{}: {shared} of the {} images split off to judge by are among those to learn from as well, pixel by pixel: accuracy looks better than it is; give other images with --val",
            data.display(),
            judged.len()
        ));
    }
}

/// How many of the images to judge by are learned from as well, by their check sums, and which share of them.
fn in_common(learned_from: &[u64], judged_by: &[u64]) -> (usize, f64) {
    let known: HashSet<&u64> = learned_from.iter().collect();
    let shared = judged_by.iter().filter(|sum| known.contains(sum)).count();
    (shared, shared as f64 / judged_by.len().max(1) as f64)
}
