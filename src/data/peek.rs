//! The size of a data set's images, before they are read.

use std::io::{BufReader, Read as _};
use std::path::Path;

use ndarray_npy::npy::header::Header;
use zip::ZipArchive;

use super::load::Format;
use super::{DataError, Size, folder};
use crate::files;

/// As much of an array as is read: its header is shorter.
const MOST_HEADER: u64 = 1024;

/// Height and width of the first image at `path`, as it is stored, of those classes that the file
/// `classes` lists, where there is one; `None` if that does not show: reading the images will say why.
///
/// # Errors
/// If there is no data set, or its first image cannot be decoded.
pub fn first_size(path: &Path, classes: Option<&Path>) -> Result<Option<Size>, DataError> {
    match Format::detect(path)? {
        Format::Folder => folder::first_size(path, classes),
        Format::Npz => Ok(in_npz(path)),
    }
}

fn in_npz(path: &Path) -> Option<Size> {
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
