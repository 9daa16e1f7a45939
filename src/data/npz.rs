//! Numpy archives: `x` holds the images, `y` the class indices.
//!
//! An archive is unpacked only as far as its header's shape is backed by bytes that are there,
//! so a header that promises terabytes costs nothing.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ndarray::{Array4, ArrayD, Axis, Ix4};
use ndarray_npy::ReadNpyExt;
use ndarray_npy::npy::header::Header;
use zip::ZipArchive;
use zip::result::ZipError;

use super::load::MAX_DATASET_BYTES;
use super::{DataError, Dataset, LoadOptions, Pixels, Size, classes};

/// Longest `.npy` header accepted: numpy writes 128 bytes for an array without fields.
const MAX_HEADER: usize = 1024;
/// Largest class index accepted; one more is the number of classes.
const MAX_CLASS: u64 = 1 << 24;

/// Loads a `.npz`. See [`super::load`].
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let fail = |reason: String| DataError::Npz {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| fail(format!("not a .npz archive: {e}")))?;
    let x = member(&mut archive, "x")
        .map_err(fail)?
        .ok_or_else(|| fail("no array `x`; save the images as x and the labels as y".into()))?;
    let images = match dtype(&x).map_err(fail)?.as_str() {
        "|u1" => Pixels::U8(images(read::<u8>(&x).map_err(fail)?, options).map_err(fail)?),
        "<f4" | ">f4" => {
            Pixels::F32(images(read::<f32>(&x).map_err(fail)?, options).map_err(fail)?)
        }
        "<f8" | ">f8" => {
            let x = read::<f64>(&x).map_err(fail)?.mapv(|v| v as f32);
            Pixels::F32(images(x, options).map_err(fail)?)
        }
        other => {
            return Err(fail(format!(
                "x has type {other}; save uint8 pixels, or float32 values as the model takes them"
            )));
        }
    };
    drop(x);
    let classes = match &options.classes {
        Some(file) => classes::read(file)?,
        None => Vec::new(),
    };
    let mut data = Dataset {
        images,
        labels: None,
        classes,
        source: path.to_owned(),
    };
    if let Some(y) = member(&mut archive, "y").map_err(fail)? {
        let labels = labels(&y).map_err(fail)?;
        if labels.len() != data.len() {
            return Err(fail(format!(
                "x has {} images, y has {} labels",
                data.len(),
                labels.len()
            )));
        }
        data.labels = Some(labels);
    }
    if let (Some(labels), false) = (&data.labels, data.classes.is_empty())
        && let Some(label) = labels.iter().find(|&&label| label >= data.classes.len())
    {
        return Err(fail(format!(
            "y holds class {label}, --classes lists {} classes",
            data.classes.len()
        )));
    }
    Ok(data)
}

/// The bytes of member `name` or `name.npy`; `None` where there is neither.
fn member(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
) -> Result<Option<Vec<u8>>, String> {
    for name in [format!("{name}.npy"), name.to_owned()] {
        let entry = match archive.by_name(&name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => continue,
            Err(error) => return Err(format!("{name}: {error}")),
        };
        let mut bytes = Vec::new();
        entry
            .take(MAX_DATASET_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| format!("{name}: {e}"))?;
        if bytes.len() as u64 > MAX_DATASET_BYTES {
            return Err(format!(
                "{name}: more than {MAX_DATASET_BYTES} bytes; use fewer images"
            ));
        }
        return Ok(Some(bytes));
    }
    Ok(None)
}

/// The numpy type of a `.npy` file such as `<f4`, once its header is short enough to parse and
/// its shape is backed by exactly the bytes that follow.
fn dtype(npy: &[u8]) -> Result<String, String> {
    // Magic (6), version (2), header length (2 or 4): bounded here, for the header's parser is
    // recursive and takes any length.
    let length = match npy.get(6) {
        Some(1) => npy
            .get(8..10)
            .map(|b| usize::from(b[0]) | usize::from(b[1]) << 8),
        _ => npy.get(8..12).map(|b| {
            let word = b
                .iter()
                .rev()
                .fold(0u32, |n, &byte| n << 8 | u32::from(byte));
            usize::try_from(word).unwrap_or(usize::MAX)
        }),
    };
    if length.is_none_or(|length| length > MAX_HEADER) {
        return Err("not a numpy array, or one with fields; save plain arrays".into());
    }
    let mut rest = npy;
    let header = Header::from_reader(&mut rest).map_err(|e| format!("numpy header: {e}"))?;
    let dtype = header
        .type_descriptor
        .to_string()
        .trim_matches('\'')
        .to_owned();
    let width = match dtype.get(2..).and_then(|width| width.parse::<u128>().ok()) {
        Some(width) => width,
        None => return Err(format!("type {dtype} is not a number; save plain arrays")),
    };
    let needed = header
        .shape
        .iter()
        .try_fold(width, |bytes, &side| bytes.checked_mul(side as u128));
    if needed != Some(rest.len() as u128) {
        return Err(format!(
            "numpy header says {:?} of {dtype}, the array has {} bytes: truncated or corrupt",
            header.shape,
            rest.len()
        ));
    }
    if header.shape.contains(&0) {
        return Err(format!("empty array of shape {:?}", header.shape));
    }
    Ok(dtype)
}

/// Decodes a `.npy` that [`dtype`] has checked.
fn read<T: ndarray_npy::ReadableElement>(npy: &[u8]) -> Result<ArrayD<T>, String> {
    ArrayD::<T>::read_npy(npy).map_err(|e| format!("numpy array: {e}"))
}

/// Brings `x` to `[N, C, H, W]`. The model's channel count decides what a shape means.
fn images<T: Copy>(x: ArrayD<T>, options: &LoadOptions) -> Result<Array4<T>, String> {
    let shape = x.shape().to_vec();
    let channels = options.channels;
    let nchw = match shape.as_slice() {
        [_, _] => x.insert_axis(Axis(2)).insert_axis(Axis(3)),
        [_, _, _] => x.insert_axis(Axis(1)),
        [_, c, _, last] => match channels {
            Some(want) if *c == want => x,
            Some(want) if *last == want => x.permuted_axes(vec![0, 3, 1, 2]),
            Some(_) => x,
            // With no model to ask: one or three channels, in the place where they stand.
            None if !matches!(c, 1 | 3) && matches!(last, 1 | 3) => {
                x.permuted_axes(vec![0, 3, 1, 2])
            }
            None => x,
        },
        _ => {
            return Err(format!(
                "x has shape {shape:?}; expected [N,H,W], [N,C,H,W] or [N,H,W,C]"
            ));
        }
    };
    let images = nchw
        .as_standard_layout()
        .into_owned()
        .into_dimensionality::<Ix4>()
        .map_err(|e| e.to_string())?;
    let (_, c, h, w) = images.dim();
    if let Some(want) = channels
        && c != want
    {
        return Err(format!(
            "x has shape {shape:?}, the model's input has {want} channel(s); save x with {want} channel(s)"
        ));
    }
    if let Some(Size { height, width }) = options.size
        && (h, w) != (height as usize, width as usize)
    {
        return Err(format!(
            "x has images of {h}x{w}, the model's input is {height}x{width}; save x in that size"
        ));
    }
    Ok(images)
}

/// Class indices from an integer array of shape `[N]` or `[N, 1]`.
fn labels(npy: &[u8]) -> Result<Vec<usize>, String> {
    let kind = dtype(npy).map_err(|e| format!("y: {e}"))?;
    macro_rules! integers {
        ($type:ty) => {
            read::<$type>(npy)?.mapv(|v| u64::try_from(v).ok())
        };
    }
    let y: ArrayD<Option<u64>> = match kind.as_str() {
        "|u1" => integers!(u8),
        "|i1" => integers!(i8),
        "<u2" | ">u2" => integers!(u16),
        "<i2" | ">i2" => integers!(i16),
        "<u4" | ">u4" => integers!(u32),
        "<i4" | ">i4" => integers!(i32),
        "<u8" | ">u8" => integers!(u64),
        "<i8" | ">i8" => integers!(i64),
        other => return Err(format!("y has type {other}; save integer class indices")),
    };
    match y.shape() {
        [_] | [_, 1] => {}
        shape => {
            return Err(format!(
                "y has shape {shape:?}; expected one class index an image"
            ));
        }
    }
    y.iter()
        .map(|label| match *label {
            Some(label) if label <= MAX_CLASS => Ok(label as usize),
            _ => Err("y holds a value that is no class index (0, 1, 2, ...)".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load;
    use ndarray::{Array, Array1, Array3};
    use ndarray_npy::{NpzWriter, WriteNpyExt};
    use std::io::Write;

    fn write(path: &Path, fill: impl FnOnce(&mut NpzWriter<File>)) {
        let mut npz = NpzWriter::new(File::create(path).unwrap());
        fill(&mut npz);
        npz.finish().unwrap();
    }

    fn options(channels: usize) -> LoadOptions {
        LoadOptions {
            channels: Some(channels),
            ..LoadOptions::default()
        }
    }

    #[test]
    fn layouts_follow_the_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.npz");
        let x = Array::from_shape_fn((2, 4, 5, 3), |(n, y, x, c)| {
            (n * 60 + y * 15 + x * 3 + c) as u8
        });
        write(&path, |npz| {
            npz.add_array("x", &x).unwrap();
            npz.add_array("y", &Array1::from(vec![1i64, 0])).unwrap();
        });
        let data = load(&path, &options(3), &|_, _| {}).unwrap();
        assert_eq!(data.image_shape(), [3, 4, 5]);
        assert_eq!(data.labels, Some(vec![1, 0]));
        let Pixels::U8(images) = &data.images else {
            panic!("not 8-bit")
        };
        assert_eq!(images[[1, 2, 3, 4]], x[[1, 3, 4, 2]]);
        let error = load(&path, &options(1), &|_, _| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains("1 channel(s)"), "{error}");
        write(&path, |npz| {
            npz.add_array("x", &Array3::<f64>::from_elem((2, 4, 5), 0.25))
                .unwrap();
        });
        let data = load(&path, &options(1), &|_, _| {}).unwrap();
        assert!(matches!(data.images, Pixels::F32(_)));
        assert_eq!((data.image_shape(), data.labels.clone()), ([1, 4, 5], None));
    }

    #[test]
    fn compressed_archives_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.npz");
        let options_zip = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("x.npy", options_zip).unwrap();
        Array3::<u8>::zeros((3, 8, 8)).write_npy(&mut zip).unwrap();
        zip.finish().unwrap();
        assert_eq!(load(&path, &options(1), &|_, _| {}).unwrap().len(), 3);
    }

    #[test]
    fn lying_headers_are_refused_before_memory_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.npz");
        for shape in [
            "(1000000000, 1000000, 3)",
            "(18446744073709551615, 2)",
            "(2, 2, 2)",
            "(0, 4, 4)",
        ] {
            let header =
                format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut npy = b"\x93NUMPY\x01\x00".to_vec();
            npy.extend((header.len() as u16).to_le_bytes());
            npy.extend(header.as_bytes());
            npy.extend([0; 7]);
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            zip.start_file(
                "x.npy",
                zip::write::SimpleFileOptions::default()
                    .compression_method(zip::CompressionMethod::Stored),
            )
            .unwrap();
            zip.write_all(&npy).unwrap();
            zip.finish().unwrap();
            let error = load(&path, &options(1), &|_, _| {})
                .unwrap_err()
                .to_string();
            assert!(error.contains("d.npz") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn bad_labels_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.npz");
        for y in [vec![0i64], vec![0, -1], vec![0, 1 << 40]] {
            write(&path, |npz| {
                npz.add_array("x", &Array3::<u8>::zeros((2, 4, 4))).unwrap();
                npz.add_array("y", &Array1::from(y)).unwrap();
            });
            assert!(load(&path, &options(1), &|_, _| {}).is_err());
        }
        std::fs::write(&path, b"PK\x03\x04 not an archive").unwrap();
        assert!(load(&path, &options(1), &|_, _| {}).is_err());
    }
}
