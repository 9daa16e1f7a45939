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
    let known: HashSet<u64> = train.sums().into_iter().collect();
    let found = set.sums();
    let shared = found.iter().filter(|sum| known.contains(sum)).count();
    let share = shared as f64 / found.len().max(1) as f64;
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
    let known: HashSet<u64> = of(train).into_iter().collect();
    let judged = of(val);
    let shared = judged.iter().filter(|sum| known.contains(sum)).count();
    if shared as f64 > FEW_SHARED * judged.len() as f64 {
        observer.warn(&format!(
            "{}: {shared} of the {} images split off to judge by are among those to learn from as well, pixel by pixel: accuracy looks better than it is; give other images with --val",
            data.display(),
            judged.len()
        ));
    }
}
