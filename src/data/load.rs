//! From a path to a data set: which format it is, and how it is read.

use std::path::{Path, PathBuf};

use super::{DataError, Dataset, Preprocess, Size, folder, npz};

/// Most bytes of decoded images kept in memory.
pub(super) const MAX_DATASET_BYTES: u64 = 16 << 30;

/// The formats of a data set. A new one adds a variant, a line in [`Format::detect`] and a line
/// in [`load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A folder per class of PNG or JPEG images, or one folder of unlabelled images.
    Folder,
    /// A numpy archive with `x` and, where labelled, `y`.
    Npz,
}

impl Format {
    /// Recognises the format of `path`.
    ///
    /// # Errors
    /// If the path does not exist or is of no known format.
    pub fn detect(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|source| DataError::Io {
            path: path.to_owned(),
            source,
        })?;
        let npz = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npz"));
        match (metadata.is_dir(), npz) {
            (true, _) => Ok(Format::Folder),
            (false, true) => Ok(Format::Npz),
            (false, false) => Err(DataError::UnknownFormat {
                path: path.to_owned(),
            }),
        }
    }
}

/// How far a load has got: called with (images done, images in all), from any thread.
pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What a loader needs to know besides the path.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Colour channels, resizing and cropping, which are applied while decoding.
    pub preprocess: Preprocess,
    /// The model's input as `[C, H, W]`; `None` for a size the model leaves free. An image of
    /// another size is an error; the channel count decides between the layouts of a `.npz`.
    pub channels: Option<usize>,
    /// The model's input height and width, where it fixes them.
    pub size: Option<Size>,
    /// A file with one class name a line, in the order of the model's outputs.
    pub classes: Option<PathBuf>,
}

/// Loads the data set at `path`.
///
/// # Errors
/// Every reason for which the images can't be what the model takes, naming the file.
pub fn load(
    path: &Path,
    options: &LoadOptions,
    progress: &Progress<'_>,
) -> Result<Dataset, DataError> {
    match Format::detect(path)? {
        Format::Folder => folder::load(path, options, progress),
        Format::Npz => npz::load(path, options),
    }
}
