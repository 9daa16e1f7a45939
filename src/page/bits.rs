//! The filters of a binary layer as one picture, a pixel a weight.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PageError;
use crate::report::FilterSigns;

/// Width over height of a picture, about.
const ASPECT: f64 = 2.4;
/// Pixels between filters.
const GAP: usize = 3;
/// So wide a picture becomes at most by magnifying its pixels.
const WIDTH: usize = 960;
/// And so much larger each pixel.
const LARGEST: usize = 5;

/// Nothing, then +1 and -1 of filters that stay, then those of filters that go: red, green, blue, alpha.
/// They stand on light and on dark paper.
pub(super) const PALETTE: [[u8; 4]; 5] = [
    [0, 0, 0, 0],
    [38, 120, 204, 255],
    [38, 120, 204, 64],
    [128, 128, 128, 150],
    [128, 128, 128, 50],
];

/// A picture that is part of a page.
pub(super) struct Picture {
    /// As a `data:` address.
    pub address: String,
    /// As large as it is shown where there is room.
    pub width: usize,
    pub height: usize,
}

/// Where filters and their kernels stand.
struct Grid {
    /// Kernels of a filter in a row.
    kernels: usize,
    /// Pixels from one kernel to the next.
    pitch: [usize; 2],
    /// Pixels of a filter.
    block: [usize; 2],
    /// Filters in a row.
    across: usize,
    /// Pixels of all.
    size: [usize; 2],
}

impl Grid {
    fn of(layer: &FilterSigns) -> Self {
        let [height, width] = layer.kernel;
        // Kernels of one weight need no space between them.
        let gap = usize::from(height * width > 1);
        let kernels = ceil_sqrt(layer.shown);
        let rows = layer.shown.div_ceil(kernels.max(1));
        let pitch = [height + gap, width + gap];
        let block = [
            (rows * pitch[0]).saturating_sub(gap).max(1),
            (kernels * pitch[1]).saturating_sub(gap).max(1),
        ];
        let [tall, wide] = block.map(|side| side + GAP);
        let across = (layer.filters as f64 * ASPECT * tall as f64 / wide as f64).sqrt();
        let across = (across.round() as usize).clamp(1, layer.filters.max(1));
        let down = layer.filters.div_ceil(across).max(1);
        Self {
            kernels,
            pitch,
            block,
            across,
            size: [down * tall - GAP, across * wide - GAP],
        }
    }
}

fn ceil_sqrt(n: usize) -> usize {
    let root = n.isqrt();
    root + usize::from(root * root < n)
}

/// The picture of a layer, filters `pruned` dimmed.
///
/// # Errors
/// If it cannot be encoded.
pub(super) fn picture(layer: &FilterSigns, pruned: &[usize]) -> Result<Picture, PageError> {
    let grid = Grid::of(layer);
    let [height, width] = grid.size;
    let mut pixels = vec![0u8; height * width];
    let [tall, wide] = layer.kernel;
    let area = tall * wide;
    let per_filter = layer.shown * area;
    for (filter, signs) in layer.signs.chunks(per_filter.max(1)).enumerate() {
        let gone = pruned.binary_search(&filter).is_ok();
        let top = filter / grid.across * (grid.block[0] + GAP);
        let left = filter % grid.across * (grid.block[1] + GAP);
        for (at, &sign) in signs.iter().enumerate() {
            let (kernel, weight) = (at / area.max(1), at % area.max(1));
            let row = top + kernel / grid.kernels * grid.pitch[0] + weight / wide.max(1);
            let column = left + kernel % grid.kernels * grid.pitch[1] + weight % wide.max(1);
            let value = match sign {
                0 => 0,
                1.. => 1,
                _ => 2,
            };
            let dimmed = if gone && value > 0 { 2 } else { 0 };
            if let Some(pixel) = pixels.get_mut(row * width + column) {
                *pixel = value + dimmed;
            }
        }
    }
    let scale = (WIDTH / width.max(1)).clamp(1, LARGEST);
    Ok(Picture {
        address: format!(
            "data:image/png;base64,{}",
            STANDARD.encode(encoded(&pixels, width, height)?)
        ),
        width: width * scale,
        height: height * scale,
    })
}

/// A PNG with [`PALETTE`], four bits a pixel.
fn encoded(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, PageError> {
    let mut packed = Vec::with_capacity(pixels.len() / 2 + height);
    for row in pixels.chunks(width.max(1)) {
        let pairs = row.chunks(2);
        packed.extend(pairs.map(|pair| match *pair {
            [a, b] => a << 4 | b,
            [a] => a << 4,
            _ => 0,
        }));
    }
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side(width), side(height));
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_compression(png::Compression::High);
    encoder.set_palette(
        PALETTE
            .iter()
            .flat_map(|c| [c[0], c[1], c[2]])
            .collect::<Vec<u8>>(),
    );
    encoder.set_trns(PALETTE.iter().map(|c| c[3]).collect::<Vec<u8>>());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&packed)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_weight_is_a_pixel_of_its_own() {
        // Two filters of two channels, 1 × 2.
        let layer = FilterSigns {
            filters: 2,
            inputs: 2,
            shown: 2,
            kernel: [1, 2],
            signs: vec![1, -1, 0, 1, -1, -1, 1, 1],
            ..FilterSigns::default()
        };
        let made = picture(&layer, &[1]).unwrap();
        let bytes = made.address.split_once(',').unwrap().1;
        let bytes = STANDARD.decode(bytes).unwrap();
        let image = image::load_from_memory(&bytes).unwrap().to_rgba8();
        let mut counts = std::collections::BTreeMap::new();
        for pixel in image.pixels().filter(|p| p.0[3] > 0) {
            *counts.entry(pixel.0).or_insert(0) += 1;
        }
        let expected = [
            (PALETTE[1], 2),
            (PALETTE[2], 1),
            (PALETTE[3], 2),
            (PALETTE[4], 2),
        ];
        assert_eq!(counts, expected.into());
        // The first filter's first weights stand in the corner.
        assert_eq!(image.get_pixel(0, 0).0, PALETTE[1]);
        assert_eq!(image.get_pixel(1, 0).0, PALETTE[2]);
    }

    #[test]
    fn a_layer_without_filters_or_weights_is_no_trouble() {
        for (filters, shown) in [(0, 0), (1, 1), (3, 0)] {
            let layer = FilterSigns {
                filters,
                shown,
                kernel: [1, 1],
                signs: vec![1; filters * shown],
                ..FilterSigns::default()
            };
            assert!(picture(&layer, &[]).unwrap().width > 0);
        }
    }
}
