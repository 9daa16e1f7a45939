//! What a user says of images.

use std::path::PathBuf;

use serde::Serialize;

use super::{Augment, Channels, Size};

/// Where images come from and how pixels become the model's input.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DataSource {
    /// Training images; what stands for them where they are made.
    pub data: PathBuf,
    /// Training images are not read but made from the network itself ([`crate::synthesis`]), so many.
    pub synthetic: Option<usize>,
    /// Validation images; `None`: split off the training images.
    pub val: Option<PathBuf>,
    /// Share of the training images to split off; `None`: all, where nothing is learned.
    pub val_split: Option<f64>,
    /// Class names in the order of the outputs.
    pub classes: Option<PathBuf>,
    /// Factor on pixels; `None`: 1/255, or 1 for models that take bytes.
    pub scale: Option<f32>,
    /// Mean per channel (of scaled pixels); empty: 0.
    pub mean: Vec<f32>,
    /// Standard deviation per channel; empty: 1.
    pub std: Vec<f32>,
    /// Channel order; `None`: what the model's channel count suggests.
    pub channels: Option<Channels>,
    /// Resize to this size.
    pub resize: Option<Size>,
    /// Crop the centre of this size.
    pub crop: Option<Size>,
    /// Random variation of training images.
    pub augment: Augment,
    /// Memory for decoded images in MiB, beyond which they stay in their files; `None`: a quarter of what
    /// is available, at most 16 GiB.
    #[serde(skip)]
    pub images_mb: Option<usize>,
    /// Images that cannot be read are left out.
    pub skip_bad: bool,
}
