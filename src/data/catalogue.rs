//! Images that lie in files: which there are, in which order, and how one is got.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::augment::Cut;
use super::{DataError, Preprocess, Size, decode};
use crate::files;

/// Longest image file read into memory.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 28;

/// The image files of a data set in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Where the set lies.
    pub root: PathBuf,
    /// Each image.
    pub items: Vec<Item>,
    /// Class of each; `None` without labels.
    pub labels: Option<Vec<usize>>,
    /// Class names by index; empty where there are none.
    pub classes: Vec<String>,
    /// Files that images are parts of.
    pub archives: Vec<Archive>,
}

/// A file that holds several images.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes, where the file itself holds them packed.
    pub unpacked: Option<Arc<Vec<u8>>>,
}

impl From<PathBuf> for Archive {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            unpacked: None,
        }
    }
}

/// An image that is a file, or a part of one.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A file.
    File(PathBuf),
    /// A part of an archive.
    Part {
        /// Which of [`Catalogue::archives`].
        archive: u32,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its bytes.
        length: u64,
        /// Its name in the archive.
        name: Box<str>,
    },
    /// Pixels in a file, a plane a channel, row by row.
    Pixels {
        /// Which of [`Catalogue::archives`].
        archive: u32,
        /// Where they begin, in bytes.
        offset: u64,
        /// Planes (1 or 3), rows, columns.
        shape: [u32; 3],
    },
}

impl Catalogue {
    /// What messages call an image.
    pub fn path(&self, index: usize) -> PathBuf {
        match self.items.get(index) {
            Some(Item::File(path)) => path.clone(),
            Some(Item::Part { archive, name, .. }) => self.archive(*archive).join(&**name),
            Some(Item::Pixels { archive, .. }) => self.archive(*archive).to_owned(),
            None => self.root.clone(),
        }
    }

    fn archive(&self, index: u32) -> &Path {
        let archive = usize::try_from(index).ok();
        let found = archive.and_then(|i| self.archives.get(i));
        found.map_or(self.root.as_path(), |a| a.path.as_path())
    }

    /// An image as it is in its file, in red, green and blue.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let bytes = self.bytes(index)?;
        let image = match self.items.get(index) {
            Some(Item::Pixels { shape, .. }) => from_planes(&bytes, *shape),
            _ => decode::original(&bytes),
        };
        image.map_err(|reason| DataError::Image {
            path: self.path(index),
            reason,
        })
    }

    /// An image resized and cropped.
    ///
    /// # Errors
    /// As [`image`](Self::image), and if it is smaller than what is to be cut out.
    pub fn fitted(&self, index: usize, pre: &Preprocess) -> Result<RgbImage, DataError> {
        let image = self.image(index)?;
        decode::fitted(image, pre).map_err(|reason| DataError::Image {
            path: self.path(index),
            reason,
        })
    }

    /// Writes an image's pixels into `out`, `[C, H, W]`, red first: resized and cropped as all are, or a part of
    /// it, enlarged.
    ///
    /// # Errors
    /// As [`fitted`](Self::fitted), and if it is of another size then.
    pub fn planes(
        &self,
        index: usize,
        cut: Option<Cut>,
        pre: &Preprocess,
        size: Size,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        let image = match cut {
            Some(cut) => cut.of_image(&self.image(index)?, size),
            None => self.fitted(index, pre)?,
        };
        let found = decode::size_of(&image);
        if found != size {
            return Err(DataError::ImageSize {
                path: self.path(index),
                found,
                expected: size,
            });
        }
        decode::write_planes(&image, pre.channels, out);
        Ok(())
    }

    /// The bytes of an image's file.
    ///
    /// # Errors
    /// If it cannot be read, or is too large for an image.
    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let read = match self.items.get(index) {
            Some(Item::File(path)) => files::read(path, MAX_FILE_BYTES),
            Some(Item::Part {
                archive,
                offset,
                length,
                ..
            }) => self.part(*archive, *offset, *length),
            Some(Item::Pixels {
                archive,
                offset,
                shape,
            }) => {
                let length = shape.iter().map(|&n| u64::from(n)).product();
                self.part(*archive, *offset, length)
            }
            None => Err(io::Error::from(ErrorKind::NotFound)),
        };
        read.map_err(|source| match source.kind() {
            ErrorKind::FileTooLarge => DataError::Image {
                path: self.path(index),
                reason: "too large for an image file".into(),
            },
            _ => DataError::Io {
                path: self.path(index),
                source,
            },
        })
    }

    fn part(&self, archive: u32, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let found = usize::try_from(archive).ok();
        let found = found.and_then(|i| self.archives.get(i));
        match found.and_then(|a| a.unpacked.as_ref()) {
            Some(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                let part = bytes.get(start..end);
                part.map(<[u8]>::to_vec)
                    .ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))
            }
            None => part(self.archive(archive), offset, length),
        }
    }

    /// Leaves out all images but these, whose places are in ascending order.
    pub fn keep(&mut self, kept: &[usize]) {
        let stays = |place: usize| kept.binary_search(&place).is_ok();
        let mut place = 0..;
        self.items.retain(|_| place.next().is_some_and(stays));
        if let Some(labels) = &mut self.labels {
            let mut place = 0..;
            labels.retain(|_| place.next().is_some_and(stays));
        }
    }
}

/// Planes of pixels as an image.
fn from_planes(planes: &[u8], [channels, height, width]: [u32; 3]) -> Result<RgbImage, String> {
    let area = height as usize * width as usize;
    let at = |channel: usize, place: usize| planes.get(channel * area + place).copied();
    let planes_of = if channels == 1 { [0; 3] } else { [0, 1, 2] };
    let pixel = |place| planes_of.map(|channel| at(channel, place));
    let pixels: Option<Vec<u8>> = (0..area).flat_map(pixel).collect();
    let image = pixels.and_then(|pixels| RgbImage::from_raw(width, height, pixels));
    image.ok_or_else(|| "holds fewer pixels than it says".to_owned())
}

/// A part of a file.
fn part(path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_FILE_BYTES {
        return Err(io::Error::from(ErrorKind::FileTooLarge));
    }
    let mut file: File = files::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(io::Error::from(ErrorKind::UnexpectedEof)),
    }
}
