//! Every image of a catalogue once: is it good, what does it hold, and is there room to keep it?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array4, ArrayView3};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::catalogue::Catalogue;
use super::load::Progress;
use super::streamed::Streamed;
use super::{DataError, Dataset, LoadOptions, Pixels, Size, decode};

/// Bad files that an error names.
const NAMED: usize = 20;

/// Reads all images of a catalogue.
///
/// # Errors
/// Every reason for which the images can't be what the model takes: all bad files by name, as far as
/// there are not too many.
pub(super) fn read(
    mut catalogue: Catalogue,
    options: &LoadOptions,
    progress: &Progress<'_>,
) -> Result<Dataset, DataError> {
    fits_channels(options)?;
    let size = first_size(&catalogue, options)?;
    let shape = [
        options.preprocess.channels.count(),
        size.height as usize,
        size.width as usize,
    ];
    let bytes = shape.iter().map(|&n| n as u128).product::<u128>();
    let all = catalogue.items.len();
    let needed = bytes * all as u128;
    let streams = options.streams || needed > u128::from(options.memory);
    let mut images = match streams {
        true => None,
        false => {
            let [c, h, w] = shape;
            Some(Array4::<u8>::zeros((all, c, h, w)))
        }
    };
    let (sums, bad) = read_each(&catalogue, options, size, images.as_mut(), progress)?;
    let skipped = skippable(bad, &catalogue, options)?;
    let stays = |i: &usize| {
        skipped
            .binary_search_by_key(i, |(place, _)| *place)
            .is_err()
    };
    let kept: Vec<usize> = (0..all).filter(stays).collect();
    let skipped: Vec<String> = skipped.into_iter().map(|(_, why)| why).collect();
    catalogue.keep(&kept);
    let labels = catalogue.labels.take();
    let classes = std::mem::take(&mut catalogue.classes);
    let source = catalogue.root.clone();
    let images = match images {
        Some(all) if skipped.is_empty() => Pixels::U8(all),
        Some(all) => Pixels::U8(only(all, &kept)),
        None => Pixels::Streamed(Arc::new(Streamed {
            catalogue,
            preprocess: options.preprocess.clone(),
            size,
            sums,
        })),
    };
    Ok(Dataset {
        images,
        labels,
        classes,
        source,
        skipped,
    })
}

/// Some of the images, in ascending order, in the memory of all.
fn only(images: Array4<u8>, kept: &[usize]) -> Array4<u8> {
    let (_, c, h, w) = images.dim();
    let row = c * h * w;
    let (mut values, _) = images.into_raw_vec_and_offset();
    for (to, &from) in kept.iter().enumerate() {
        values.copy_within(from * row..(from + 1) * row, to * row);
    }
    values.truncate(kept.len() * row);
    Array4::from_shape_vec((kept.len(), c, h, w), values).unwrap_or_default()
}

/// Of images that stay in their files, the sums of the good ones; and what is wrong with which.
type Read = (Vec<u64>, Vec<(usize, DataError)>);

/// Decodes each image, into `images` where there is room.
fn read_each(
    catalogue: &Catalogue,
    options: &LoadOptions,
    size: Size,
    images: Option<&mut Array4<u8>>,
    progress: &Progress<'_>,
) -> Result<Read, DataError> {
    let pre = &options.preprocess;
    let all = catalogue.items.len();
    let done = AtomicUsize::new(0);
    // Whether an image is good; no answer at all once the user wants to stop.
    let one = |index: usize, out: &mut [u8]| -> Result<Result<(), DataError>, DataError> {
        let found = catalogue.planes(index, None, pre, size, out);
        match progress(done.fetch_add(1, Ordering::Relaxed) + 1, all) {
            true => Ok(found),
            false => Err(DataError::Interrupted),
        }
    };
    let shape = (
        pre.channels.count(),
        size.height as usize,
        size.width as usize,
    );
    let values = shape.0 * shape.1 * shape.2;
    let sum_of = |planes: &[u8]| {
        let image = ArrayView3::from_shape(shape, planes);
        image.map_or(0, |image| sum(image, |v| [v]))
    };
    // Those in memory are summed when somebody asks.
    let found: Result<Vec<Result<Option<u64>, DataError>>, DataError> = match images {
        Some(images) => {
            let rows = images.as_slice_mut().unwrap_or_default();
            let rows = rows.par_chunks_mut(values.max(1)).enumerate();
            rows.map(|(index, out)| Ok(one(index, out)?.map(|()| None)))
                .collect()
        }
        None => (0..all)
            .into_par_iter()
            .map_init(
                || vec![0; values],
                |out, index| Ok(one(index, out)?.map(|()| Some(sum_of(out)))),
            )
            .collect(),
    };
    let (mut sums, mut bad) = (Vec::new(), Vec::new());
    for (index, found) in found?.into_iter().enumerate() {
        match found {
            Ok(sum) => sums.extend(sum),
            Err(e) => bad.push((index, e)),
        }
    }
    Ok((sums, bad))
}

/// A number for an image, the same for the same pixels.
///
/// The first eight bytes of a SHA-256: checkpoints hold it, so it must not depend on a library's version.
pub(super) fn sum<T: Copy, const N: usize>(
    image: ArrayView3<'_, T>,
    bytes: impl Fn(T) -> [u8; N],
) -> u64 {
    let mut hasher = Sha256::new();
    for &side in image.shape() {
        hasher.update((side as u64).to_le_bytes());
    }
    let values: Vec<u8> = image.iter().flat_map(|&v| bytes(v)).collect();
    hasher.update(&values);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// The bad images, if they may be left out: which, and why.
fn skippable(
    bad: Vec<(usize, DataError)>,
    catalogue: &Catalogue,
    options: &LoadOptions,
) -> Result<Vec<(usize, String)>, DataError> {
    if bad.is_empty() {
        return Ok(Vec::new());
    }
    // An image of another size can be read: what is wrong may as well be the size.
    let sized = |(_, e): &(usize, DataError)| matches!(e, DataError::ImageSize { .. });
    if bad.len() == catalogue.items.len() || !options.skip_bad || bad.iter().any(sized) {
        return Err(all_of(bad, catalogue));
    }
    let said = bad.into_iter().map(|(index, e)| (index, e.to_string()));
    Ok(said.collect())
}

/// One error of several.
fn all_of(bad: Vec<(usize, DataError)>, catalogue: &Catalogue) -> DataError {
    let count = bad.len();
    let mut errors = bad.into_iter().map(|(_, e)| e);
    match (errors.next(), count) {
        (Some(only), 1) => only,
        // With one remedy for all.
        (Some(size @ DataError::ImageSize { .. }), n) if n == catalogue.items.len() => size,
        (first, _) => {
            let named: Vec<String> = first
                .into_iter()
                .chain(errors)
                .take(NAMED)
                .map(|e| e.to_string())
                .collect();
            let others = match count - named.len() {
                0 => String::new(),
                n => format!(" | and {n} others"),
            };
            DataError::Several {
                path: catalogue.root.clone(),
                count,
                all: catalogue.items.len(),
                named: named.join(" | ") + &others,
            }
        }
    }
}

/// The size that every image must have: the model's, or where that is free the first good image's.
fn first_size(catalogue: &Catalogue, options: &LoadOptions) -> Result<Size, DataError> {
    if catalogue.items.is_empty() {
        return Err(DataError::NoImages {
            path: catalogue.root.clone(),
        });
    }
    if let Some(size) = options.size {
        return Ok(size);
    }
    let size_of = |index| -> Result<Size, DataError> {
        let image = catalogue.fitted(index, &options.preprocess)?;
        Ok(decode::size_of(&image))
    };
    let mut indices = 0..catalogue.items.len();
    match options.skip_bad {
        true => indices
            .find_map(|i| size_of(i).ok())
            .map_or_else(|| size_of(0), Ok),
        false => size_of(0),
    }
}

/// Height and width of the first image, or the first that can be decoded, as it is stored.
///
/// # Errors
/// If it cannot be decoded.
pub(super) fn first_stored_size(
    catalogue: &Catalogue,
    skip_bad: bool,
) -> Result<Option<Size>, DataError> {
    let size_of = |index| Ok(decode::size_of(&catalogue.image(index)?));
    let all = 0..catalogue.items.len();
    match (skip_bad, all.len()) {
        (_, 0) => Ok(None),
        (true, _) => Ok(all.filter_map(|i| size_of(i).ok()).next()),
        (false, _) => size_of(0).map(Some),
    }
}

/// Images as they are decoded must have the channels that the model takes.
fn fits_channels(options: &LoadOptions) -> Result<(), DataError> {
    let channels = options.preprocess.channels;
    let Some(model) = options.channels.filter(|&model| model != channels.count()) else {
        return Ok(());
    };
    Err(DataError::Preprocess(format!(
        "--channels: images are read as {} channel(s), the model's input has {model}; {}",
        channels.count(),
        match model {
            1 => "use --channels gray",
            3 => "use --channels rgb or bgr",
            _ => "give the data as .npz",
        }
    )))
}
