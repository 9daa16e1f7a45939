//! Numpy archives: `x` holds the images, `y` the class indices.
//!
//! What the archive and the arrays' headers claim is checked first: that both say the same, that
//! the images suit the model, that there is a label for each. Only then is anything unpacked, and
//! only as far as the header says, so that a file that promises terabytes costs nothing. What memory has
//! no room for is [`stored`] in the file.

mod order;
mod stored;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use ndarray::ArrayD;
use ndarray_npy::ReadNpyExt;
use ndarray_npy::npy::header::{Header, Layout};
use zip::ZipArchive;
use zip::result::ZipError;

use super::arrays::{finite, no_numbers};
use super::load::Progress;
use super::{DataError, Dataset, LoadOptions, Pixels, Size, classes};
use crate::files;
use order::{Order, order};
pub use stored::Stored;

/// Longest `.npy` header accepted: numpy writes 128 bytes for an array without fields.
const MAX_HEADER: usize = 1024;
/// As much of an array as is read for its header alone.
const MOST_HEADER: u64 = 1024;
/// Largest class index accepted; one more is the number of classes.
const MAX_CLASS: u64 = 1 << 24;
/// Names of arrays that a message lists.
const LISTED: usize = 8;
/// Images that get smaller than this by packing are no images.
const MAX_PACKING: u64 = 100;
/// Below this many bytes, packing may be as good as it likes.
const SMALL: u64 = 256 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// Loads a `.npz`. See [`super::load()`].
pub(super) fn load(
    path: &Path,
    options: &LoadOptions,
    progress: &Progress<'_>,
) -> Result<Dataset, DataError> {
    let fail = |reason: String| DataError::Npz {
        path: path.to_owned(),
        reason,
    };
    let file = files::open(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| fail(format!("not a .npz archive: {e}")))?;
    let x = Member::find(&mut archive, "x").map_err(fail)?;
    let x = x.ok_or_else(|| {
        let names: Vec<&str> = archive.file_names().take(LISTED).collect();
        fail(format!(
            "no array `x` (there is {}); save the images as x and the labels as y",
            names.join(", ")
        ))
    })?;
    let (order, count) = order(&x.shape, options).map_err(fail)?;
    let y = Member::find(&mut archive, "y").map_err(|e| fail(format!("y: {e}")))?;
    if let Some(y) = &y {
        let labels = match y.shape.as_slice() {
            [n] | [n, 1] => *n,
            shape => {
                return Err(fail(format!(
                    "y has shape {shape:?}; expected one class index an image (y.argmax(1) of one-hot rows; several labels an image are not learned)"
                )));
            }
        };
        if labels != count {
            return Err(fail(format!("x has {count} images, y has {labels} labels")));
        }
    }
    let classes = match &options.classes {
        Some(file) => classes::read(file)?,
        None => Vec::new(),
    };
    let images = match x.bytes > options.memory {
        true => {
            let stored = Stored::read(path, &x, &mut archive, order, progress)?;
            Pixels::Stored(Arc::new(stored))
        }
        false => in_memory(&x, &mut archive, order).map_err(fail)?,
    };
    let labels = match y {
        Some(y) => Some(labels(&y, &mut archive).map_err(fail)?),
        None => None,
    };
    let data = Dataset {
        images,
        labels,
        classes,
        source: path.to_owned(),
        skipped: Vec::new(),
    };
    if let (Some(labels), false) = (&data.labels, data.classes.is_empty())
        && let Some(label) = labels.iter().find(|&&label| label >= data.classes.len())
    {
        return Err(fail(format!(
            "y holds class {label}, --classes lists {} classes",
            data.classes.len()
        )));
    }
    Ok(data)
}

/// Reads all images.
fn in_memory(x: &Member, archive: &mut Archive, order: Order) -> Result<Pixels, String> {
    match x.dtype.as_str() {
        "|u1" => Ok(Pixels::U8(order.images(x.read(archive)?)?)),
        "<f4" | ">f4" => Ok(Pixels::F32(order.images(finite(x.read(archive)?, 0)?)?)),
        "<f8" | ">f8" => {
            let x = x.read::<f64>(archive)?.mapv(|v| v as f32);
            Ok(Pixels::F32(order.images(finite(x, 0)?)?))
        }
        other => Err(other_type(other)),
    }
}

fn other_type(dtype: &str) -> String {
    format!("x has type {dtype}; save uint8 pixels, or float32 values as the model takes them")
}

/// Height and width of the images in an archive, before they are read; `None` if that does not show.
pub(super) fn first_size(path: &Path) -> Option<Size> {
    let mut archive = ZipArchive::new(BufReader::new(files::open(path).ok()?)).ok()?;
    let name = ["x.npy", "x"]
        .into_iter()
        .find(|n| archive.index_for_name(n).is_some())?;
    let mut start = Vec::new();
    let entry = archive.by_name(name).ok()?;
    entry.take(MOST_HEADER).read_to_end(&mut start).ok()?;
    let shape = Header::from_reader(&mut start.as_slice()).ok()?.shape;
    let (height, width) = match shape[..] {
        [_, h, w] => (h, w),
        [_, 1 | 3, h, w] => (h, w),
        [_, h, w, 1 | 3] => (h, w),
        _ => return None,
    };
    Some(Size {
        height: u32::try_from(height).ok()?,
        width: u32::try_from(width).ok()?,
    })
}

/// An array in an archive: what its header says, which is what the archive says.
struct Member {
    name: String,
    /// The numpy type, such as `<f4`.
    dtype: String,
    shape: Vec<usize>,
    /// Whether the first axis is the one that runs fastest.
    fortran: bool,
    /// Bytes that it has unpacked, its header included.
    bytes: u64,
}

impl Member {
    /// The member `name.npy` or `name`; `None` where there is neither.
    fn find(archive: &mut Archive, name: &str) -> Result<Option<Self>, String> {
        for name in [format!("{name}.npy"), name.to_owned()] {
            let mut entry = match archive.by_name(&name) {
                Ok(entry) => entry,
                Err(ZipError::FileNotFound) => continue,
                Err(error) => return Err(format!("{name}: {error}")),
            };
            let (claimed, packed) = (entry.size(), entry.compressed_size());
            if claimed > SMALL && claimed / MAX_PACKING > packed {
                return Err(format!(
                    "{name}: {packed} bytes that unpack to {claimed} are no images; refused"
                ));
            }
            let header = header(&mut entry)?;
            let (dtype, shape, layout) = described(&header, claimed)?;
            return Ok(Some(Self {
                name,
                dtype,
                shape,
                fortran: layout == Layout::Fortran,
                bytes: claimed,
            }));
        }
        Ok(None)
    }

    /// Unpacks the array.
    fn read<T: ndarray_npy::ReadableElement>(
        &self,
        archive: &mut Archive,
    ) -> Result<ArrayD<T>, String> {
        let entry = archive
            .by_name(&self.name)
            .map_err(|e| format!("{}: {e}", self.name))?;
        // Where memory is short, an array that is made all the same ends the process.
        let bytes = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        Vec::<u8>::new()
            .try_reserve_exact(bytes)
            .map_err(|_| format!("{}: no memory for its {bytes} bytes", self.name))?;
        ArrayD::<T>::read_npy(BufReader::new(entry)).map_err(|e| format!("numpy array: {e}"))
    }
}

/// The bytes of a `.npy` file up to the end of its header: bounded here, for the header's parser is
/// recursive and takes any length.
fn header(npy: &mut impl Read) -> Result<Vec<u8>, String> {
    let other = || "not a numpy array, or one with fields; save plain arrays".to_owned();
    // Magic (6), version (2), header length (2 or 4).
    let mut start = vec![0; 10];
    npy.read_exact(&mut start).map_err(|_| other())?;
    let length = match start.as_slice() {
        [_, _, _, _, _, _, 1, _, low, high] => usize::from(u16::from_le_bytes([*low, *high])),
        &[_, _, _, _, _, _, _, _, first, second] => {
            let mut rest = [0; 2];
            npy.read_exact(&mut rest).map_err(|_| other())?;
            start.extend(rest);
            let [third, fourth] = rest;
            let word = u32::from_le_bytes([first, second, third, fourth]);
            usize::try_from(word).unwrap_or(usize::MAX)
        }
        _ => return Err(other()),
    };
    if length > MAX_HEADER {
        return Err(other());
    }
    let before = start.len();
    start.resize(before + length, 0);
    npy.read_exact(start.get_mut(before..).unwrap_or_default())
        .map_err(|_| other())?;
    Ok(start)
}

/// Type, shape and order that the header of a `.npy` file of `bytes` bytes says, if they are those bytes.
fn described(header: &[u8], bytes: u64) -> Result<(String, Vec<usize>, Layout), String> {
    let mut rest = header;
    let found = Header::from_reader(&mut rest).map_err(|e| format!("numpy header: {e}"))?;
    let dtype = found.type_descriptor.to_string();
    let dtype = dtype.trim_matches('\'').to_owned();
    if let Some(remedy) = no_numbers(&dtype) {
        return Err(format!("holds {remedy}"));
    }
    let width = match dtype.get(2..).and_then(|width| width.parse::<u128>().ok()) {
        Some(width) => width,
        None => return Err(format!("type {dtype} is not a number; save plain arrays")),
    };
    let needed = found
        .shape
        .iter()
        .try_fold(width, |bytes, &side| bytes.checked_mul(side as u128));
    let held = bytes.saturating_sub(header.len() as u64);
    if needed != Some(u128::from(held)) {
        return Err(format!(
            "numpy header says {:?} of {dtype}, the array has {held} bytes: truncated or corrupt",
            found.shape,
        ));
    }
    if found.shape.contains(&0) {
        return Err(format!("empty array of shape {:?}", found.shape));
    }
    Ok((dtype, found.shape, found.layout))
}

/// Class indices from an integer array.
fn labels(y: &Member, archive: &mut Archive) -> Result<Vec<usize>, String> {
    macro_rules! integers {
        ($type:ty) => {
            y.read::<$type>(archive)?.mapv(|v| u64::try_from(v).ok())
        };
    }
    let y: ArrayD<Option<u64>> = match y.dtype.as_str() {
        "|u1" => integers!(u8),
        "|i1" => integers!(i8),
        "<u2" | ">u2" => integers!(u16),
        "<i2" | ">i2" => integers!(i16),
        "<u4" | ">u4" => integers!(u32),
        "<i4" | ">i4" => integers!(i32),
        "<u8" | ">u8" => integers!(u64),
        "<i8" | ">i8" => integers!(i64),
        other => {
            return Err(format!(
                "y has type {other}; save integer class indices (y.astype('int64'), or y.argmax(1) of one-hot rows)"
            ));
        }
    };
    y.iter()
        .map(|label| match *label {
            Some(label) if label <= MAX_CLASS => Ok(label as usize),
            _ => Err("y holds a value that is no class index (0, 1, 2, ...)".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
