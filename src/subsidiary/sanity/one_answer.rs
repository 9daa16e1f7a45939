//! Are images without labels all of one class?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::holds_image;
use crate::subsidiary::TrainError;

/// Unlabelled images of which this share is of one class are all of that class.
pub(super) const ALMOST_ALL: f64 = 0.95;
/// So are those in a folder beside other ones, of which this share is.
const LARGE_SHARE: f64 = 0.5;
/// So many other folders of images, one for each other class, are no chance.
const MANY_FOLDERS: usize = 4;
/// Folders looked at beside the data.
const MOST_FOLDERS: usize = 50;

/// The class that most answers are, and their share; `None` without any.
pub(crate) fn most_frequent(answers: &[usize]) -> Option<(usize, f64)> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let (class, count) = counts.into_iter().max_by_key(|&(_, count)| count)?;
    Some((class, count as f64 / answers.len() as f64))
}

/// `beside`: how many other folders of images there are beside the data. With one for each other of
/// the model's `classes`, it is one class's folder whatever the original makes of its images: that
/// may be wrong for want of --mean and --std.
pub(super) fn one_answer(
    answers: &[usize],
    beside: usize,
    classes: usize,
) -> Result<(), TrainError> {
    let complete = beside + 1 == classes || (beside == MOST_FOLDERS && classes > MOST_FOLDERS);
    // A few neighbours may be anything.
    if complete && beside >= MANY_FOLDERS {
        return Err(TrainError::Mismatch(format!(
            "has no labels, and {beside} other folders of images lie beside it, one for each other of the model's {classes} classes: is it one class's folder? Give the folder that holds a folder for each class, or images of all classes"
        )));
    }
    let Some((class, share)) = most_frequent(answers) else {
        return Ok(());
    };
    let most = if beside > 1 { LARGE_SHARE } else { ALMOST_ALL };
    if share < most {
        return Ok(());
    }
    let folders = match beside {
        0 => String::new(),
        n => format!(", and {n} other folders of images lie beside it"),
    };
    Err(TrainError::Mismatch(format!(
        "has no labels, and to the original {:.0} % of its images are of class {class}{folders}: is it one class's folder? Give the folder that holds a folder for each class, or images of all classes",
        share * 100.0
    )))
}

/// Other folders with images in the folder that holds `data`, but for the usual parts of a set.
pub(super) fn beside(data: &Path) -> usize {
    let parts = [
        "train",
        "val",
        "valid",
        "validation",
        "test",
        "calib",
        "calibration",
        "unlabelled",
    ];
    let Ok(here) = data.canonicalize() else {
        return 0;
    };
    let Some(Ok(list)) = here.parent().map(std::fs::read_dir) else {
        return 0;
    };
    let folders = list.filter_map(Result::ok).map(|entry| entry.path());
    let other = |path: &PathBuf| {
        let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase());
        let name = name.unwrap_or_default();
        path != &here && path.is_dir() && !name.starts_with('.') && !parts.contains(&name.as_str())
    };
    match here.is_dir() {
        true => folders
            .filter(other)
            .take(MOST_FOLDERS)
            .filter(|path| holds_image(path))
            .count(),
        false => 0,
    }
}
