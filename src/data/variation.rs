//! Random parts of images, and random colours.

use image::{RgbImage, imageops};
use ndarray::{Array3, ArrayView3};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::{Channels, Size, decode};

/// Width over height of a part, at most, and its inverse at least (as in the training of most networks for
/// ImageNet).
const ASPECT: f32 = 4.0 / 3.0;
/// Tries to find a part that lies within the image.
const TRIES: usize = 10;

/// A part of an image, as shares of it: whatever the image's size is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Shares of the area, and shapes (width over height), that are tried in turn.
    tries: [(f32, f32); TRIES],
    /// Where it lies, from 0 (top) to 1 (bottom).
    down: f32,
    /// From 0 (left) to 1 (right).
    right: f32,
}

impl Cut {
    /// A part of at least this share of the area.
    pub(super) fn random(least: f32, rng: &mut ChaCha12Rng) -> Self {
        let shapes = ASPECT.ln();
        let mut one = || {
            let area = rng.random_range(least..=1.0);
            (area, rng.random_range(-shapes..=shapes).exp())
        };
        let tries = std::array::from_fn(|_| one());
        Self {
            tries,
            down: rng.random_range(0.0..=1.0),
            right: rng.random_range(0.0..=1.0),
        }
    }

    /// Top, left, height and width in pixels. The whole image, cut to the shapes that are allowed, if no
    /// try fits.
    pub(super) fn place(&self, height: u32, width: u32) -> [u32; 4] {
        let area = height as f32 * width as f32;
        let fits = |&(share, shape): &(f32, f32)| {
            let w = (area * share * shape).sqrt().round() as u32;
            let h = (area * share / shape).sqrt().round() as u32;
            ((1..=width).contains(&w) && (1..=height).contains(&h)).then_some((h, w))
        };
        let whole = || {
            let most = |side: u32| ((side as f32 * ASPECT).round() as u32).max(1);
            (height.min(most(width)), width.min(most(height)))
        };
        let (h, w) = self.tries.iter().find_map(fits).unwrap_or_else(whole);
        let offset = |room: u32, share: f32| ((room as f32 * share).floor() as u32).min(room);
        [
            offset(height - h, self.down),
            offset(width - w, self.right),
            h,
            w,
        ]
    }

    /// The part of an image, made the size that is wanted.
    pub(super) fn of_image(self, image: &RgbImage, size: Size) -> RgbImage {
        let [top, left, h, w] = self.place(image.height(), image.width());
        let part = imageops::crop_imm(image, left, top, w, h).to_image();
        // What cannot be resized is too large or empty, and was refused before.
        decode::resized(&part, size).unwrap_or(part)
    }

    /// The part of an image `[C, H, W]` with one or three channels, made that image's size.
    pub(super) fn of_planes(self, image: ArrayView3<'_, u8>) -> Array3<u8> {
        let (c, h, w) = image.dim();
        let (Ok(height), Ok(width)) = (u32::try_from(h), u32::try_from(w)) else {
            return image.to_owned();
        };
        let pixel = |x: u32, y: u32| {
            let at = |channel: usize| image[[channel.min(c - 1), y as usize, x as usize]];
            image::Rgb([at(0), at(1), at(2)])
        };
        let whole = RgbImage::from_fn(width, height, pixel);
        let part = self.of_image(&whole, Size { height, width });
        let mut planes = Array3::zeros((3, h, w));
        if let Some(out) = planes.as_slice_mut() {
            decode::write_planes(&part, Channels::Rgb, out);
        }
        planes.slice(ndarray::s![..c, .., ..]).to_owned()
    }
}

/// Changes of an image's colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colours {
    brightness: f32,
    contrast: f32,
    saturation: f32,
}

impl Colours {
    /// Factors from 1 - `strength` to 1 + `strength`.
    pub(super) fn random(strength: f32, rng: &mut ChaCha12Rng) -> Self {
        let mut factor = || rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength);
        Self {
            brightness: factor(),
            contrast: factor(),
            saturation: factor(),
        }
    }

    /// Changes `[C, H, W]`: brightness, then contrast about the mean luma, then, of three channels, saturation
    /// about each pixel's luma.
    pub(super) fn apply(&self, image: &mut Array3<u8>) {
        let (c, h, w) = image.dim();
        let luma = |image: &Array3<u8>, y: usize, x: usize| -> f32 {
            let at = |channel: usize| f32::from(image[[channel, y, x]]);
            match c {
                3 => 0.299 * at(0) + 0.587 * at(1) + 0.114 * at(2),
                _ => at(0),
            }
        };
        let blend = |v: u8, with: f32, factor: f32| -> u8 {
            (f32::from(v) * factor + with * (1.0 - factor)).clamp(0.0, 255.0) as u8
        };
        image.mapv_inplace(|v| blend(v, 0.0, self.brightness));
        let pixels = || (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
        let sum: f64 = pixels().map(|(y, x)| f64::from(luma(image, y, x))).sum();
        let mean = (sum / (h * w).max(1) as f64).round() as f32;
        image.mapv_inplace(|v| blend(v, mean, self.contrast));
        if c != 3 {
            return;
        }
        for (y, x) in pixels() {
            let grey = luma(image, y, x);
            for channel in 0..3 {
                let v = image[[channel, y, x]];
                image[[channel, y, x]] = blend(v, grey, self.saturation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray_rand::rand::SeedableRng;

    #[test]
    fn parts_lie_within_and_have_their_share() {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        for (height, width) in [(256, 256), (100, 400), (1, 7), (500, 30)] {
            for _ in 0..200 {
                let [top, left, h, w] = Cut::random(0.3, &mut rng).place(height, width);
                assert!(h >= 1 && w >= 1 && top + h <= height && left + w <= width);
                if height == width {
                    let share = (h * w) as f32 / (height * width) as f32;
                    assert!(share > 0.28, "{share}");
                    let shape = w as f32 / h as f32;
                    assert!((0.73..1.36).contains(&shape), "{shape}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_planes_is_one_of_pixels() {
        let image = Array3::from_shape_fn((1, 8, 8), |(_, y, x)| (y * 8 + x) as u8);
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let part = Cut::random(0.2, &mut rng).of_planes(image.view());
        assert_eq!(part.dim(), (1, 8, 8));
        assert_ne!(part, image);
    }

    #[test]
    fn factors_of_one_change_nothing_and_none_leaves_grey() {
        let image = Array3::from_shape_fn((3, 2, 2), |(c, y, x)| (c * 80 + y * 20 + x) as u8);
        let with = |brightness, contrast, saturation| {
            let mut changed = image.clone();
            let colours = Colours {
                brightness,
                contrast,
                saturation,
            };
            colours.apply(&mut changed);
            changed
        };
        assert_eq!(with(1.0, 1.0, 1.0), image);
        let grey = with(1.0, 1.0, 0.0);
        assert_eq!(grey[[0, 1, 1]], grey[[2, 1, 1]]);
        assert!(with(0.0, 1.0, 1.0).iter().all(|&v| v == 0));
    }
}
