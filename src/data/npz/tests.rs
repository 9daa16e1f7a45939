//! What archives hold, and what they should not.

use super::*;
use crate::data::load;
use ndarray::{Array, Array1, Array3, Axis};
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
    let data = load(&path, &options(3), &|_, _| true).unwrap();
    assert_eq!(data.image_shape(), [3, 4, 5]);
    assert_eq!(data.labels, Some(vec![1, 0]));
    let Pixels::U8(images) = &data.images else {
        panic!("not 8-bit")
    };
    assert_eq!(images[[1, 2, 3, 4]], x[[1, 3, 4, 2]]);
    let error = load(&path, &options(1), &|_, _| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 channel(s)"), "{error}");
    write(&path, |npz| {
        npz.add_array("x", &Array3::<f64>::from_elem((2, 4, 5), 0.25))
            .unwrap();
    });
    let data = load(&path, &options(1), &|_, _| true).unwrap();
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
    assert_eq!(load(&path, &options(1), &|_, _| true).unwrap().len(), 3);
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
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
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
        let error = load(&path, &options(1), &|_, _| true)
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
        assert!(load(&path, &options(1), &|_, _| true).is_err());
    }
    std::fs::write(&path, b"PK\x03\x04 not an archive").unwrap();
    assert!(load(&path, &options(1), &|_, _| true).is_err());
}

#[test]
fn pixels_that_are_no_numbers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    for (value, word) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "infinite")] {
        let mut x = Array3::<f32>::zeros((5, 4, 4));
        x[[3, 1, 2]] = value;
        write(&path, |npz| npz.add_array("x", &x).unwrap());
        let error = load(&path, &options(1), &|_, _| true)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("x[3, 1, 2]") && error.contains(word),
            "{error}"
        );
    }
    // What a double holds and a float does not.
    let x = Array3::<f64>::from_elem((1, 4, 4), 1e300);
    write(&path, |npz| npz.add_array("x", &x).unwrap());
    let error = load(&path, &options(1), &|_, _| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("x[0, 0, 0]"), "{error}");
}

#[test]
fn flat_images_take_the_models_shape_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    let x = Array::from_shape_fn((2, 12), |(n, i)| (n * 12 + i) as u8);
    write(&path, |npz| npz.add_array("x", &x).unwrap());
    let with = |channels, size: &str| {
        let options = LoadOptions {
            size: Some(size.parse().unwrap()),
            ..options(channels)
        };
        load(&path, &options, &|_, _| true)
    };
    let data = with(1, "3x4").unwrap();
    let Pixels::U8(images) = &data.images else {
        panic!("not 8-bit")
    };
    assert_eq!(images[[1, 0, 2, 1]], 12 + 9);
    let error = with(3, "2x2").unwrap_err().to_string();
    assert!(error.contains("x.reshape(-1, 3, 2, 2)"), "{error}");
    let error = with(1, "4x4").unwrap_err().to_string();
    assert!(
        error.contains("12 values") && error.contains("1x4x4"),
        "{error}"
    );
}

/// A `.npz` whose `y` has that type, `count` elements of `width` bytes.
fn with_labels(path: &Path, descr: &str, count: usize, width: usize) {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}\n");
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(vec![49; count * width]);
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    zip.start_file("x.npy", options).unwrap();
    Array3::<u8>::zeros((count, 4, 4))
        .write_npy(&mut zip)
        .unwrap();
    zip.start_file("y.npy", options).unwrap();
    zip.write_all(&npy).unwrap();
    zip.finish().unwrap();
}

#[test]
fn labels_of_other_types_say_what_to_save() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    for (descr, width, word) in [
        ("<U3", 12, "np.unique"),
        ("|S2", 2, "np.unique"),
        ("|O", 8, "Python objects"),
        ("<f8", 8, "astype"),
    ] {
        with_labels(&path, descr, 2, width);
        let error = load(&path, &options(1), &|_, _| true)
            .unwrap_err()
            .to_string();
        assert!(error.contains("y") && error.contains(word), "{error}");
        assert!(!error.contains("truncated"), "{error}");
    }
}

/// An archive with `x` in that numpy type, packed or not.
fn archive_of<T: ndarray_npy::WritableElement>(
    path: &Path,
    (x, y): (&ArrayD<T>, &Array1<i64>),
    packed: bool,
) {
    let file = File::create(path).unwrap();
    let packing = match packed {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let packing = zip::write::SimpleFileOptions::default().compression_method(packing);
    let mut npz = NpzWriter::new_with_options(file, packing);
    npz.add_array("x", x).unwrap();
    npz.add_array("y", y).unwrap();
    npz.finish().unwrap();
}

/// What memory has no room for is the same, image by image, as what it holds.
fn same_where_it_is<T: ndarray_npy::WritableElement>(x: &ArrayD<T>, channels: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    let y = Array1::from_shape_fn(x.len_of(Axis(0)), |i| i as i64 % 3);
    for packed in [false, true] {
        archive_of(&path, (x, &y), packed);
        let with = |memory| {
            let options = LoadOptions {
                memory,
                ..options(channels)
            };
            load(&path, &options, &|_, _| true).unwrap()
        };
        let (held, stored) = (with(1 << 30), with(0));
        assert!(matches!(stored.images, Pixels::Stored(_)));
        assert_eq!(held.images.are_floats(), stored.images.are_floats());
        assert_eq!(held.image_shape(), stored.image_shape());
        assert_eq!((held.len(), held.sums()), (stored.len(), stored.sums()));
        assert_eq!(held.labels, stored.labels);
        let pre = crate::data::Preprocess::default();
        let chosen = [4, 0, 3];
        let batch = |set: &Dataset| set.batch(&chosen, &pre).unwrap();
        assert_eq!(batch(&held), batch(&stored));
        let alone = stored.select(&chosen).unwrap();
        assert_eq!(alone.batch(&[0, 1, 2], &pre).unwrap(), batch(&held));
        assert_eq!(stored.bytes(), 0);
    }
}

#[test]
fn what_memory_has_no_room_for_is_read_row_by_row() {
    let number = |i: IxDynIndex| (i[0] * 50 + i[1] * 20 + i[2] * 4 + i[3]) as u8;
    let pixels = ArrayD::from_shape_fn(vec![5, 3, 4, 3], number);
    same_where_it_is(&pixels, 3);
    let last = ArrayD::from_shape_fn(vec![5, 4, 6, 2], number);
    same_where_it_is(&last, 2);
    same_where_it_is(&pixels.mapv(|v| f32::from(v) * 0.37 - 20.0), 3);
    same_where_it_is(&last.mapv(|v| f64::from(v) * 0.37 - 20.0), 2);
    let gray = ArrayD::from_shape_fn(vec![5, 6, 7], |i| (i[0] * 42 + i[1] * 7 + i[2]) as u8);
    same_where_it_is(&gray, 1);
    let flat = ArrayD::from_shape_fn(vec![5, 12], |i| (i[0] * 12 + i[1]) as f32);
    same_where_it_is(&flat, 12);
}

type IxDynIndex = ndarray::Dim<ndarray::IxDynImpl>;

#[test]
fn what_is_wrong_with_stored_images_is_said_as_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    let loaded = |progress: &Progress<'_>| {
        let options = LoadOptions {
            memory: 0,
            ..options(1)
        };
        load(&path, &options, progress)
    };
    let error = || loaded(&|_, _| true).unwrap_err().to_string();
    let mut x = Array3::<f32>::zeros((5, 4, 4));
    x[[3, 1, 2]] = f32::NAN;
    write(&path, |npz| npz.add_array("x", &x).unwrap());
    assert!(error().contains("x[3, 1, 2] is NaN"), "{}", error());

    let whole = Array3::<u8>::from_shape_fn((50, 8, 8), |(n, y, x)| (n * 5 + y * 8 + x) as u8);
    write(&path, |npz| npz.add_array("x", &whole).unwrap());
    let interrupted = loaded(&|_, _| false);
    assert!(matches!(interrupted, Err(DataError::Interrupted)));
    // One pixel is another one: the archive's own sum says so.
    let mut bytes = std::fs::read(&path).unwrap();
    let row: Vec<u8> = (100..108).collect();
    let at = bytes.windows(8).position(|w| w == row).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(error().contains("x.npy"), "{}", error());

    let turned = whole.t();
    write(&path, |npz| npz.add_array("x", &turned).unwrap());
    let error = error();
    assert!(
        error.contains("--images-mb") && error.contains("ascontiguousarray"),
        "{error}"
    );
}

#[test]
fn an_archive_that_shrinks_later_is_an_error_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.npz");
    let x = Array3::<u8>::zeros((5, 4, 4));
    write(&path, |npz| npz.add_array("x", &x).unwrap());
    let options = LoadOptions {
        memory: 0,
        ..options(1)
    };
    let set = load(&path, &options, &|_, _| true).unwrap();
    std::fs::write(&path, b"PK").unwrap();
    let error = set.batch(&[1], &crate::data::Preprocess::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("d.npz"), "{error}");
}
