//! Any bytes as a model file: loaded, checked by the rules of ONNX, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_bnnprune::check::{CheckOptions, check_file};
use onnx_bnnprune::onnx::{Model, decode, to_bytes};
use onnx_bnnprune_fuzz::{file, mutants::NoRuntime};

fuzz_target!(|bytes: &[u8]| {
    let path = file("load.onnx", bytes);
    let report = check_file(&path, &NoRuntime, &CheckOptions::default());
    assert!(!report.passed, "nothing passes without a runtime");
    if let Ok(model) = Model::load_any_opset(&path) {
        let written = to_bytes(&model.proto);
        let again = decode(written.clone()).expect("what is written can be read");
        assert!(
            to_bytes(&again) == written,
            "reading and writing changed it"
        );
    }
});
