//! Is an image file all there? Decoders fill what is missing with grey and say nothing.

use image::ImageFormat;

/// What a user is told to do about it.
const REMEDY: &str = "copy it again, or remove it";

/// Whether the file's own structure goes to its end.
///
/// # Errors
/// How it shows that something is missing, and the remedy.
pub(super) fn check(bytes: &[u8], format: ImageFormat) -> Result<(), String> {
    let found = match format {
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Png => png(bytes),
        _ => Ok(()),
    };
    found.map_err(|what| format!("is cut short or damaged: {what}; {REMEDY}"))
}

/// Markers of a JPEG (ITU-T T.81, table B.1).
mod marker {
    pub const TEM: u8 = 0x01;
    pub const RST0: u8 = 0xd0;
    pub const RST7: u8 = 0xd7;
    pub const SOI: u8 = 0xd8;
    pub const EOI: u8 = 0xd9;
    pub const SOS: u8 = 0xda;
}

/// From segment to segment up to the end marker. Within a scan 0xff stands only in front of a zero,
/// a restart or a marker, so what is cut off has no end marker.
fn jpeg(bytes: &[u8]) -> Result<(), String> {
    let (mut at, mut blocks, mut coded) = (2, None, 0usize);
    loop {
        // Stray bytes between segments are passed over, as decoders do.
        let Some(found) = next_marker(bytes, at) else {
            return Err("its end marker is missing".to_owned());
        };
        let (code, after) = found;
        at = after;
        match code {
            marker::EOI => break,
            marker::SOI | marker::TEM | marker::RST0..=marker::RST7 => continue,
            _ => {}
        }
        let Some(length) = number(bytes, at) else {
            return Err("it ends within a header".to_owned());
        };
        if is_frame(code) {
            blocks = frame_blocks(bytes, at, code);
        }
        at = at.saturating_add(length.max(2));
        if code == marker::SOS {
            let end = scan_end(bytes, at);
            coded = coded.saturating_add(end.saturating_sub(at));
            at = end;
        }
    }
    match blocks {
        None => Err("it holds no frame".to_owned()),
        // The shortest code of a block takes so many bits.
        Some((blocks, bits)) if coded.saturating_mul(8) < blocks.saturating_mul(bits) => {
            Err("it holds less than its pixels".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// The next marker from `at` on, and where it ends.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        match (bytes.get(at)?, bytes.get(at.checked_add(1)?)?) {
            (0xff, 0x00) => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, &code) => return Some((code, at + 2)),
            _ => at += 1,
        }
    }
}

/// Where the coded data from `at` on end: at a marker other than a restart, or at the end.
fn scan_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some((code, after)) = next_marker(bytes, at) {
        if !(marker::RST0..=marker::RST7).contains(&code) {
            return after - 2;
        }
        at = after;
    }
    bytes.len()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let &[high, low] = bytes.get(at..at.checked_add(2)?)? else {
        return None;
    };
    Some(usize::from(high) << 8 | usize::from(low))
}

/// Frame headers: SOF0 to SOF15, without the tables (DHT, JPG, DAC) in between.
fn is_frame(code: u8) -> bool {
    (0xc0..=0xcf).contains(&code) && !matches!(code, 0xc4 | 0xc8 | 0xcc)
}

/// Blocks of the luma alone, and the least bits that each takes: a code for its mean, and in a
/// sequential frame one for its end.
fn frame_blocks(bytes: &[u8], at: usize, code: u8) -> Option<(usize, usize)> {
    let (height, width) = (number(bytes, at + 3)?, number(bytes, at + 5)?);
    let blocks = height.div_ceil(8) * width.div_ceil(8);
    Some((blocks, if matches!(code, 0xc0 | 0xc1) { 2 } else { 1 }))
}

/// From chunk to chunk up to the last one, each with its sum.
fn png(bytes: &[u8]) -> Result<(), String> {
    let (mut at, mut data) = (8usize, false);
    loop {
        let field = |from: usize, length: usize| {
            let from = at.checked_add(from)?;
            bytes.get(from..from.checked_add(length)?)
        };
        let word = |from: usize| {
            let four: [u8; 4] = field(from, 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(four)).ok()
        };
        let Some(kind) = field(4, 4) else {
            return Err("its end (IEND) is missing".to_owned());
        };
        let name = String::from_utf8_lossy(kind).escape_default().to_string();
        let whole = word(0).and_then(|length| {
            let sum = word(length.checked_add(8)?)?;
            Some((length, field(4, length.checked_add(4)?)?, sum))
        });
        let Some((length, summed, sum)) = whole else {
            return Err(format!("it ends within the chunk {name}"));
        };
        // The fifth bit of a name says that decoders may do without the chunk.
        let needed = kind.first().is_some_and(|c| c & 0x20 == 0);
        if needed && u32::try_from(sum).ok() != Some(crc32fast::hash(summed)) {
            return Err(format!("the sum of its chunk {name} is wrong"));
        }
        data |= kind == b"IDAT";
        if kind == b"IEND" {
            return match data {
                true => Ok(()),
                false => Err("it holds no pixels".to_owned()),
            };
        }
        at = at.saturating_add(length).saturating_add(12);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageBuffer, Rgb};
    use std::io::Cursor;

    /// A picture that does not compress to nothing.
    fn encoded(format: ImageFormat) -> Vec<u8> {
        let image = ImageBuffer::from_fn(40, 24, |x, y| {
            let at = (x * 7919 + y * 104_729) % 251;
            Rgb([at as u8, (at * 3) as u8, (x * 5) as u8])
        });
        let mut out = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgb8(image);
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn whole_files_pass_and_every_shorter_one_does_not() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let bytes = encoded(format);
            check(&bytes, format).unwrap();
            for length in 2..bytes.len() {
                let cut = &bytes[..length];
                assert!(check(cut, format).is_err(), "{format:?} at {length}");
            }
            // What cameras and archivers leave behind the end.
            let mut more = bytes.clone();
            more.extend([0; 100]);
            check(&more, format).unwrap();
        }
    }

    #[test]
    fn an_end_marker_does_not_make_up_for_missing_pixels() {
        let bytes = encoded(ImageFormat::Jpeg);
        let scan = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
        let header = scan + 2 + number(&bytes, scan + 2).unwrap();
        let mut none = bytes[..header].to_vec();
        none.extend([0xff, 0xd9]);
        let error = check(&none, ImageFormat::Jpeg).unwrap_err();
        assert!(error.contains("less than its pixels"), "{error}");
        // A thumbnail's end marker is not the picture's.
        let mut thumb = vec![0xff, 0xd8, 0xff, 0xe1, 0x00, 0x06, 0xff, 0xd9, 0xff, 0xd9];
        thumb.extend(&bytes[2..]);
        check(&thumb, ImageFormat::Jpeg).unwrap();
        thumb.truncate(thumb.len() - 50);
        assert!(check(&thumb, ImageFormat::Jpeg).is_err());
    }

    #[test]
    fn a_flipped_bit_of_a_png_shows() {
        let bytes = encoded(ImageFormat::Png);
        let data = bytes.windows(4).position(|w| w == b"IDAT").unwrap();
        let mut damaged = bytes.clone();
        damaged[data + 20] ^= 1;
        let error = check(&damaged, ImageFormat::Png).unwrap_err();
        assert!(error.contains("IDAT"), "{error}");
    }
}
