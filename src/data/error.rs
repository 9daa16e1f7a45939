//! What can be wrong with a user's data, each in one line with the path and the remedy.

use std::path::{Path, PathBuf};

use super::Size;

/// Why images could not be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path does not exist or cannot be read.
    #[error("{path}: cannot be read: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The path exists but is neither a folder nor a known file type.
    #[error(
        "{path}: not a data set: expected a folder of PNG or JPEG images (one folder per class), a .npz file, .tar shards, CIFAR's binary files or MNIST's (IDX)",
        path = .path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A folder without images.
    #[error("{path}: no PNG or JPEG image found; name a folder that holds one folder of images per class", path = .path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A class folder without images.
    #[error(
        "{path}: class folder without PNG or JPEG images; remove it or list the classes with --classes",
        path = .path.display()
    )]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// An image lies beside the class folders.
    #[error(
        "{path}: image beside class folders; move it into a class folder, or use a folder of images alone for unlabelled data",
        path = .path.display()
    )]
    Mixed {
        /// The image.
        path: PathBuf,
    },
    /// The class list and the folders do not match.
    #[error("{path}: {reason}", path = .path.display())]
    Classes {
        /// The class file or folder.
        path: PathBuf,
        /// What does not match, and the remedy.
        reason: String,
    },
    /// A file that is not an image this program decodes.
    #[error("{path}: {reason}", path = .path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// An image of another size than the model's input, with no resize or crop asked for.
    #[error("{path}: image is {found}, the model's input is {expected}; use --resize {expected} or --crop {expected}", path = .path.display())]
    ImageSize {
        /// The first such image.
        path: PathBuf,
        /// Its size.
        found: Size,
        /// The size wanted.
        expected: Size,
    },
    /// A `.npz` file with other content than expected.
    #[error("{path}: {reason}", path = .path.display())]
    Npz {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// More decoded bytes than this program keeps in memory.
    #[error("{path}: {needed} bytes decoded are more than the {limit} this program keeps in memory; use fewer images or --resize", path = .path.display())]
    TooLarge {
        /// The data set.
        path: PathBuf,
        /// Bytes needed.
        needed: u128,
        /// Bytes allowed.
        limit: u64,
    },
    /// Several images that are not what they should be.
    #[error("{path}: {count} of {all} images cannot be used: {named}; remove them, or --skip-bad leaves them out", path = .path.display())]
    Several {
        /// The data set.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Of how many.
        all: usize,
        /// Each with its path and what is wrong with it, as far as there are not too many.
        named: String,
    },
    /// An archive of images that is not what its name says.
    #[error("{path}: {reason}", path = .path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
    /// Preprocessing options that do not fit the images.
    #[error("{0}")]
    Preprocess(String),
}

impl DataError {
    /// The file or folder.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::UnknownFormat { path }
            | Self::NoImages { path }
            | Self::EmptyClass { path }
            | Self::Mixed { path }
            | Self::Classes { path, .. }
            | Self::Image { path, .. }
            | Self::ImageSize { path, .. }
            | Self::Npz { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Several { path, .. }
            | Self::Archive { path, .. } => Some(path),
            Self::Preprocess(_) | Self::Interrupted => None,
        }
    }
}
