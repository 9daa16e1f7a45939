//! From a path to a data set: which format it is, and how it is read.

use std::path::{Path, PathBuf};

use super::catalogue::Catalogue;
use super::rows::{cifar, idx};
use super::{DataError, Dataset, Preprocess, Size, folder, npz, reading, shards};

/// Most bytes of decoded images kept in memory.
pub(super) const MAX_DATASET_BYTES: u64 = 16 << 30;

/// Lists the images at a path, with the classes of a file, if there is one.
type List = fn(&Path, Option<&Path>) -> Result<Catalogue, DataError>;

/// A format of a data set.
struct Format {
    /// Whether a path is of it.
    is_of: fn(&Path) -> bool,
    /// How its images are listed; `None`: it holds arrays, which are read as they are.
    list: Option<List>,
}

/// Every format, in the order in which they are tried.
const FORMATS: [Format; 5] = [
    Format {
        is_of: |path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("npz"))
                && !path.is_dir()
        },
        list: None,
    },
    Format {
        is_of: |path| !cifar::files_at(path).is_empty(),
        list: Some(cifar::list),
    },
    Format {
        is_of: |path| idx::images_at(path).is_some(),
        list: Some(idx::list),
    },
    Format {
        is_of: shards::is_of,
        list: Some(shards::list),
    },
    // A folder per class of PNG or JPEG images, or one folder of unlabelled images.
    Format {
        is_of: Path::is_dir,
        list: Some(folder::list),
    },
];

impl Format {
    /// The format of `path`.
    ///
    /// # Errors
    /// If the path does not exist or is of no known format.
    fn detect(path: &Path) -> Result<&'static Self, DataError> {
        std::fs::metadata(path).map_err(|source| DataError::Io {
            path: path.to_owned(),
            source,
        })?;
        let found = FORMATS.iter().find(|format| (format.is_of)(path));
        found.ok_or_else(|| DataError::UnknownFormat {
            path: path.to_owned(),
        })
    }
}

/// Whether the images at `path` are arrays, which are taken in the size that they have.
///
/// # Errors
/// If the path does not exist or is of no known format.
pub fn holds_arrays(path: &Path) -> Result<bool, DataError> {
    Format::detect(path).map(|format| format.list.is_none())
}

/// How far a load has got: called with (images done, images in all), from any thread; whether to go on.
pub type Progress<'a> = dyn Fn(usize, usize) -> bool + Sync + 'a;

/// What a loader needs to know besides the path.
#[derive(Clone, Debug)]
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
    /// Images are kept in memory up to so many bytes in all; beyond, they stay in their files.
    pub memory: u64,
    /// They stay in their files in any case: a random part is to be cut out of each, as it is there.
    pub streams: bool,
    /// Images that cannot be read are left out, not an error.
    pub skip_bad: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            preprocess: Preprocess::default(),
            channels: None,
            size: None,
            classes: None,
            memory: MAX_DATASET_BYTES,
            streams: false,
            skip_bad: false,
        }
    }
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
    match Format::detect(path)?.list {
        Some(list) => reading::read(list(path, options.classes.as_deref())?, options, progress),
        None => npz::load(path, options, progress),
    }
}

/// Height and width of the first image at `path`, as it is stored, of those classes that the file
/// `classes` lists, where there is one; with `skip_bad` the first that can be decoded; `None` if that does not show: reading the images will say why.
///
/// # Errors
/// If there is no data set, or its first image cannot be decoded.
pub fn first_size(
    path: &Path,
    classes: Option<&Path>,
    skip_bad: bool,
) -> Result<Option<Size>, DataError> {
    match Format::detect(path)?.list {
        Some(list) => reading::first_stored_size(&list(path, classes)?, skip_bad),
        None => Ok(npz::first_size(path)),
    }
}
