//! One image file to 8-bit pixels.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops};

use super::{Channels, Preprocess, Size, whole};

/// Longest side of an image that is decoded at all.
pub(super) const MAX_SIDE: u32 = 16_384;
/// Most bytes one decoder may allocate.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// Whether the name says that this is an image of a kind that is decoded.
pub(super) fn is_supported(path: &Path) -> bool {
    matches!(
        extension(path).as_str(),
        "png" | "jpg" | "jpeg" | "jpe" | "jfif"
    )
}

/// Whether the name says that this is an image of a kind that is not decoded. Such a file is
/// refused by name: leaving it out would silently change the data.
pub(super) fn is_other_image(path: &Path) -> bool {
    const OTHERS: [&str; 12] = [
        "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pnm", "avif", "heic", "jp2", "tga",
    ];
    OTHERS.contains(&extension(path).as_str())
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Decodes a PNG or JPEG: EXIF rotation applied, alpha dropped, 16 bits reduced to 8, grey,
/// palette and CMYK converted.
///
/// # Errors
/// What is wrong with it, without its name.
pub(super) fn original(bytes: &[u8]) -> Result<RgbImage, String> {
    // By content: a .jpg that holds a PNG is common.
    let format = image::guess_format(bytes).ok();
    match format {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => whole::check(bytes, format)?,
        _ => return Err("neither a PNG nor a JPEG image; convert or remove it".into()),
    }
    let mut reader = ImageReader::new(Cursor::new(bytes));
    if let Some(format) = format {
        reader.set_format(format);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let undecodable = |e: image::ImageError| format!("cannot be decoded: {e}");
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let orientation = decoder.orientation().map_err(undecodable)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    image.apply_orientation(orientation);
    // Before resizing, so that every source format goes through the same arithmetic.
    Ok(image.into_rgb8())
}

/// An image resized and cropped as `pre` says.
///
/// # Errors
/// If it is smaller than what is to be cut out.
pub(super) fn fitted(mut image: RgbImage, pre: &Preprocess) -> Result<RgbImage, String> {
    if let Some(size) = pre.resize
        && size != size_of(&image)
    {
        image = resized(&image, size)?;
    }
    if let Some(size) = pre.crop {
        let have = size_of(&image);
        if have.height < size.height || have.width < size.width {
            return Err(format!(
                "image of {have} is smaller than --crop {size}; use --resize first"
            ));
        }
        let (x, y) = (
            (have.width - size.width) / 2,
            (have.height - size.height) / 2,
        );
        image = imageops::crop_imm(&image, x, y, size.width, size.height).to_image();
    }
    Ok(image)
}

/// An image made another size: linearly, over as many pixels as go into one (as Pillow's `resize`, which
/// torchvision uses).
///
/// # Errors
/// If there is no such size.
pub(super) fn resized(image: &RgbImage, size: Size) -> Result<RgbImage, String> {
    let mut to = RgbImage::new(size.width, size.height);
    let how = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let fail = |e: String| format!("cannot be made {size}: {e}");
    let from = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image);
    let from = from.map_err(|e| fail(e.to_string()))?;
    let view = TypedImage::<U8x3>::from_buffer(size.width, size.height, &mut to);
    let mut view = view.map_err(|e| fail(e.to_string()))?;
    // Of this one kind of pixel: a resizer of any would be compiled for a dozen.
    let done = Resizer::new().resize_typed(&from, &mut view, &how);
    done.map_err(|e| fail(e.to_string()))?;
    Ok(to)
}

/// Height and width of an image.
pub(super) fn size_of(image: &RgbImage) -> Size {
    Size {
        height: image.height(),
        width: image.width(),
    }
}

/// Writes an image into `out`, `[C, H, W]`, red first (the order of `Bgr` is applied in a batch).
pub(super) fn write_planes(image: &RgbImage, channels: Channels, out: &mut [u8]) {
    let area = image.width() as usize * image.height() as usize;
    for (at, pixel) in image.pixels().enumerate() {
        match channels {
            Channels::Gray => out[at] = luma(pixel.0),
            Channels::Rgb | Channels::Bgr => {
                for (channel, value) in pixel.0.into_iter().enumerate() {
                    out[channel * area + at] = value;
                }
            }
        }
    }
}

/// ITU-R 601 luma in the fixed-point form of Pillow's `convert("L")`, which torchvision uses.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let [r, g, b] = [r, g, b].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Rgb, Rgba};

    fn decode(path: &Path, pre: &Preprocess) -> Result<RgbImage, String> {
        let image = original(&std::fs::read(path).unwrap())?;
        fitted(image, pre)
    }

    fn saved(image: DynamicImage, name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        (dir, path)
    }

    #[test]
    fn sixteen_bits_and_alpha_are_converted() {
        let wide = ImageBuffer::from_pixel(2, 1, Rgba([65535u16, 257 * 7, 0, 100]));
        let (_dir, path) = saved(DynamicImage::ImageRgba16(wide), "a.png");
        let image = decode(&path, &Preprocess::default()).unwrap();
        let mut out = [0; 6];
        write_planes(&image, Channels::Rgb, &mut out);
        assert_eq!(out, [255, 255, 7, 7, 0, 0]);
    }

    #[test]
    fn grey_equals_rgb_where_the_channels_agree() {
        for value in 0..=255 {
            assert_eq!(luma([value; 3]), value);
        }
        assert_eq!(luma([255, 0, 0]), 76);
        assert_eq!(luma([0, 255, 0]), 150);
        assert_eq!(luma([0, 0, 255]), 29);
    }

    #[test]
    fn resize_then_centre_crop() {
        let image = ImageBuffer::from_fn(8, 4, |x, _| Rgb([x as u8 * 10, 0, 0]));
        let (_dir, path) = saved(DynamicImage::ImageRgb8(image), "a.png");
        let size = |text: &str| Some(text.parse().unwrap());
        let pre = Preprocess {
            crop: size("2x4"),
            ..Preprocess::default()
        };
        let cut = decode(&path, &pre).unwrap();
        assert_eq!((cut.width(), cut.height()), (4, 2));
        assert_eq!(cut.get_pixel(0, 0).0[0], 20);
        let pre = Preprocess {
            resize: size("4"),
            crop: size("5"),
            ..Preprocess::default()
        };
        let error = decode(&path, &pre).unwrap_err().to_string();
        assert!(error.contains("smaller than --crop 5x5"), "{error}");
    }

    #[test]
    fn broken_files_are_errors_of_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.png");
        let cases: [&[u8]; 3] = [
            b"",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff",
        ];
        for bytes in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = decode(&path, &Preprocess::default())
                .unwrap_err()
                .to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
    }
}
