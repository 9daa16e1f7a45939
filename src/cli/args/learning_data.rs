//! Images to learn from and to validate on.

use std::path::{Path, PathBuf};

use crate::data::Augment;
use crate::error::Error;
use crate::pipeline::{DataSource, VAL_SPLIT};
use clap::Args;

use super::{DataArgs, parse_share};
use crate::cli::shared::source_of;

/// What stands for images that are made; a folder of that name is `./synthetic`.
pub const SYNTHETIC: &str = "synthetic";
/// So many are made unless told otherwise.
const SYNTHETIC_IMAGES: u32 = 2000;

/// Images to learn from and to validate on, and how the former are varied.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct LearningDataArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// How many images --data synthetic makes [default: 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub synthetic_images: Option<u32>,
    /// Validation images [default: split off --data]
    #[arg(long, value_name = "PATH")]
    pub val: Option<PathBuf>,
    /// Share of --data used for validation when there is no --val [default: 0.1; all where nothing is
    /// learned]
    #[arg(long, value_name = "F", value_parser = parse_share)]
    pub val_split: Option<f64>,
    /// Flip training images left-right at random
    #[arg(long)]
    pub flip: bool,
    /// Cut a random part of at least this share of its area out of each training image, as it is in its
    /// file, and resize it; 0.08 is usual for ImageNet
    #[arg(long, value_name = "SHARE", value_parser = parse_part)]
    pub random_crop: Option<f32>,
    /// Multiply brightness, contrast and saturation of training images by numbers from 1 - S to 1 + S
    #[arg(long, alias = "color-jitter", value_name = "S", value_parser = parse_part)]
    pub colour_jitter: Option<f32>,
    /// Pad training images by N pixels and crop at random
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub crop_padding: usize,
}

impl LearningDataArgs {
    /// The images that the arguments name, if they name some.
    ///
    /// # Errors
    /// If only validation images are named.
    pub fn source(&self) -> Result<Option<DataSource>, Error> {
        let Some(mut source) = source_of(&self.data) else {
            if self.val.is_some() {
                return Err(Error::Usage("--val needs --data as well".to_owned()));
            }
            return Ok(None);
        };
        if source.data == Path::new(SYNTHETIC) {
            let count = self.synthetic_images.unwrap_or(SYNTHETIC_IMAGES);
            source.synthetic = Some(count as usize);
        }
        source.val.clone_from(&self.val);
        source.val_split = Some(self.val_split.unwrap_or(VAL_SPLIT));
        source.augment = Augment {
            flip: self.flip,
            crop_padding: self.crop_padding,
            random_crop: self.random_crop,
            colour_jitter: self.colour_jitter,
        };
        Ok(Some(source))
    }
}

fn parse_part(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be a number above 0 and below 1".to_owned()),
    }
}
