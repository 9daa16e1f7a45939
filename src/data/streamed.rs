//! Images that stay in their files, and are decoded each time that they are wanted.

use ndarray::Array3;

use super::augment::Cut;
use super::catalogue::Catalogue;
use super::{DataError, Preprocess, Size};

/// Images of one size in files.
#[derive(Debug)]
pub struct Streamed {
    pub(super) catalogue: Catalogue,
    /// How they are decoded.
    pub(super) preprocess: Preprocess,
    pub(super) size: Size,
    /// A number for each image, the same for the same pixels.
    pub(super) sums: Vec<u64>,
}

impl Streamed {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.catalogue.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[C, H, W]` of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        let Size { height, width } = self.size;
        let channels = self.preprocess.channels.count();
        [channels, height as usize, width as usize]
    }

    /// A number for each image, the same for the same pixels.
    pub fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// An image's pixels `[C, H, W]`, red first: resized and cropped as all are, or a part of it, enlarged.
    ///
    /// # Errors
    /// If its file has turned bad since it was first read.
    pub(super) fn image(&self, index: usize, cut: Option<Cut>) -> Result<Array3<u8>, DataError> {
        let mut planes = Array3::zeros(self.image_shape());
        if let Some(out) = planes.as_slice_mut() {
            self.catalogue
                .planes(index, cut, &self.preprocess, self.size, out)?;
        }
        Ok(planes)
    }
}
