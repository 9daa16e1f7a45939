//! From pixels to the numbers a model was trained on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DataError;

/// Height and width in pixels, written `HxW`, or `N` for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let side = |part: &str| match part.trim().parse::<u32>() {
            Ok(pixels @ 1..=super::decode::MAX_SIDE) => Ok(pixels),
            _ => Err(format!(
                "`{text}` is not an image size; write N or HxW in pixels"
            )),
        };
        Ok(Size {
            height: side(height)?,
            width: side(width)?,
        })
    }
}

/// Which colour channels the model reads, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red (OpenCV, Caffe).
    Bgr,
    /// One channel: luma as ITU-R 601 defines it (Pillow's `L`).
    Gray,
}

impl Channels {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Channels::Rgb => "rgb",
            Channels::Bgr => "bgr",
            Channels::Gray => "gray",
        }
    }

    /// How many channels there are.
    pub fn count(self) -> usize {
        match self {
            Channels::Rgb | Channels::Bgr => 3,
            Channels::Gray => 1,
        }
    }

    /// What a model with this many input channels reads unless told otherwise: `Gray` for one,
    /// `Rgb` for three, `None` for any other count (only `.npz` can feed such a model).
    pub fn for_model(channels: usize) -> Option<Self> {
        match channels {
            1 => Some(Channels::Gray),
            3 => Some(Channels::Rgb),
            _ => None,
        }
    }
}

impl FromStr for Channels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "rgb" => Ok(Channels::Rgb),
            "bgr" => Ok(Channels::Bgr),
            "gray" | "grey" => Ok(Channels::Gray),
            _ => Err(format!("`{text}` is not one of rgb, bgr, gray")),
        }
    }
}

/// The shape in which the model takes a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[N, C, H, W]` (torch).
    #[default]
    Nchw,
    /// `[N, H, W, C]` (TensorFlow, Larq).
    Nhwc,
    /// `[N, C·H·W]`: a network of fully connected layers.
    Flat,
    /// `[N, H, W]`: images of one channel (Keras).
    Nhw,
    /// `[N, C, L]`: signals (torch), images of one row.
    Ncl,
    /// `[N, L, C]`: signals (TensorFlow).
    Nlc,
}

impl Layout {
    /// The shape of a batch of `n` images `[C, H, W]`.
    pub fn batch_shape(self, n: usize, [c, h, w]: [usize; 3]) -> Vec<usize> {
        match self {
            Self::Nchw => vec![n, c, h, w],
            Self::Nhwc => vec![n, h, w, c],
            Self::Flat => vec![n, c * h * w],
            Self::Nhw => vec![n, c * h, w],
            Self::Ncl => vec![n, c, h * w],
            Self::Nlc => vec![n, h * w, c],
        }
    }

    /// Whether the channels are the last axis.
    pub fn has_channels_last(self) -> bool {
        matches!(self, Self::Nhwc | Self::Nlc)
    }
}

/// x = (pixel·scale − mean) / std per channel, for 8-bit pixels; float data is used as it is.
///
/// `resize` and `crop` happen once, when the images are decoded; the rest a batch at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Factor on the 8-bit pixel value; 1/255 by default.
    pub scale: f32,
    /// Subtracted after scaling: one value, or one per channel in the order of `channels`.
    pub mean: Vec<f32>,
    /// Divisor: one value, or one per channel in the order of `channels`.
    pub std: Vec<f32>,
    /// Channels read, and their order.
    pub channels: Channels,
    /// Resize every image to this size (bilinear, antialiased; the aspect ratio is not kept).
    pub resize: Option<Size>,
    /// Cut this size out of the centre, after resizing.
    pub crop: Option<Size>,
    /// Shape of a batch.
    pub layout: Layout,
}

impl Default for Preprocess {
    fn default() -> Self {
        Preprocess {
            scale: 1.0 / 255.0,
            mean: vec![0.0],
            std: vec![1.0],
            channels: Channels::default(),
            resize: None,
            crop: None,
            layout: Layout::default(),
        }
    }
}

impl Preprocess {
    /// Checks that `mean` and `std` fit a model of `channels` input channels.
    ///
    /// # Errors
    /// A wrong number of values, a value that is not finite, or a standard deviation of zero.
    pub fn check(&self, channels: usize) -> Result<(), DataError> {
        let fail = |message: String| Err(DataError::Preprocess(message));
        for (option, values) in [("--mean", &self.mean), ("--std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return fail(format!(
                    "{option}: {} values for {channels} channels; give one value or one per channel",
                    values.len()
                ));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return fail(format!("{option}: every value must be a finite number"));
            }
        }
        if self.std.contains(&0.0) {
            return fail("--std: a standard deviation of 0 divides by zero".into());
        }
        if !self.scale.is_finite() {
            return fail("--scale: must be a finite number".into());
        }
        Ok(())
    }

    /// (mean, std) of channel `channel` of the model's input.
    fn moments(&self, channel: usize) -> (f32, f32) {
        let of = |values: &[f32], default: f32| {
            let value = values.get(channel).or(values.first());
            value.copied().unwrap_or(default)
        };
        (of(&self.mean, 0.0), of(&self.std, 1.0))
    }

    /// The value of every possible 8-bit pixel in channel `channel` of the model's input.
    pub(crate) fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = self.moments(channel);
        std::array::from_fn(|pixel| (pixel as f32 * self.scale - mean) / std)
    }

    /// Which stored channel (of `count`, red first) the model reads as its `channel`.
    pub(crate) fn stored_channel(&self, channel: usize, count: usize) -> usize {
        match self.channels {
            Channels::Bgr if count == 3 => 2 - channel.min(2),
            _ => channel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        let size: Size = "32x48".parse().unwrap();
        assert_eq!((size.height, size.width), (32, 48));
        assert_eq!("28".parse::<Size>().unwrap().to_string(), "28x28");
        for bad in ["", "0", "x", "3x", "-1", "999999999", "1x2x3"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_formula_is_scale_then_mean_then_std() {
        let pre = Preprocess {
            scale: 0.5,
            mean: vec![1.0, 2.0, 3.0],
            std: vec![2.0],
            ..Preprocess::default()
        };
        assert_eq!(pre.table(1)[10], (10.0 * 0.5 - 2.0) / 2.0);
        assert_eq!(pre.table(2)[0], -1.5);
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let with = |mean: &[f32], std: &[f32]| Preprocess {
            mean: mean.to_vec(),
            std: std.to_vec(),
            ..Preprocess::default()
        };
        assert!(with(&[0.5], &[0.2]).check(3).is_ok());
        assert!(with(&[0.5, 0.5, 0.5], &[0.2]).check(3).is_ok());
        assert!(with(&[0.5, 0.5], &[0.2]).check(3).is_err());
        assert!(with(&[0.5], &[0.0]).check(3).is_err());
        assert!(with(&[f32::NAN], &[1.0]).check(1).is_err());
        assert!(with(&[0.5], &[]).check(1).is_err());
    }
}
