//! Arguments that say which images there are, and how they are read.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{parse_number, parse_size};
use crate::data::{Channels, Size};

/// Where images come from and how pixels become the model's input.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Images: a folder per class (PNG, JPEG), tar shards, a .npz with `x` and `y`, CIFAR's binary files or
    /// IDX; `synthetic`, to learn from: made from the network itself
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Class names in the order of the model's outputs, one a line [default: sorted folder names]
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// x = (pixel * SCALE - mean) / std [default: 1/255; models that take uint8 get pixels as they are]
    #[arg(long, value_parser = parse_number)]
    pub scale: Option<f32>,
    /// Mean per channel, comma-separated [default: 0]
    #[arg(
        long,
        value_delimiter = ',',
        allow_negative_numbers = true,
        value_name = "M,…"
    )]
    pub mean: Vec<f32>,
    /// Standard deviation per channel, comma-separated [default: 1]
    #[arg(long, value_delimiter = ',', value_name = "S,…")]
    pub std: Vec<f32>,
    /// Channel order of the model's input [default: rgb, or gray for one channel]
    #[arg(long, value_enum)]
    pub channels: Option<ChannelOrder>,
    /// Take what is not given here from a preprocessor_config.json (Hugging Face), or the one in this
    /// folder
    #[arg(long, value_name = "PATH")]
    pub preprocessor: Option<PathBuf>,
    /// Resize images to this size: 32 or HEIGHTxWIDTH
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub resize: Option<Size>,
    /// Crop the centre of this size, after resizing
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub crop: Option<Size>,
    /// Memory for decoded images; sets that take more stay in their files and are decoded each time
    /// [default: a quarter of what is available, at most 16384]
    #[arg(long, value_name = "MIB")]
    pub images_mb: Option<usize>,
    /// Leave images out that cannot be read, and say which
    #[arg(long)]
    pub skip_bad: bool,
}

/// Order of an image's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelOrder {
    /// Red, green, blue
    Rgb,
    /// Blue, green, red
    Bgr,
    /// One channel of luma
    #[value(alias = "grey")]
    Gray,
}

impl From<ChannelOrder> for Channels {
    fn from(order: ChannelOrder) -> Self {
        match order {
            ChannelOrder::Rgb => Self::Rgb,
            ChannelOrder::Bgr => Self::Bgr,
            ChannelOrder::Gray => Self::Gray,
        }
    }
}
