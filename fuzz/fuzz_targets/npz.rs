//! Any bytes as a numpy archive of images and labels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_bnnprune::data::{LoadOptions, load};
use onnx_bnnprune_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    let path = file("data.npz", bytes);
    for channels in [None, Some(1), Some(3)] {
        let options = LoadOptions {
            channels,
            ..LoadOptions::default()
        };
        if let Ok(data) = load(&path, &options, &|_, _| {}) {
            assert!(data.labels.as_ref().is_none_or(|y| y.len() == data.len()));
            assert!(data.image_shape().iter().all(|&side| side > 0));
        }
    }
});
