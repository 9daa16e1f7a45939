//! Any bytes as a masks file; masks that fit are applied, and the pruned model must give what the
//! masked one gives.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ndarray::Array4;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};
use onnx_bnnprune_fuzz::{assert_same, file};
use prost::Message as _;

static MODEL: LazyLock<ModelProto> = LazyLock::new(|| {
    let bytes = include_bytes!("../../fixtures/digits_float.onnx");
    ModelProto::decode(&bytes[..]).expect("a fixture")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(masks) = FilterMasks::load(&file("masks.json", bytes)) else {
        return;
    };
    let again = file("again.json", &[]);
    masks.save(&again).expect("masks can be written");
    assert_eq!(FilterMasks::load(&again).expect("and read"), masks);
    let x = Array4::from_shape_fn((2, 1, 8, 8), |(n, _, y, x)| {
        ((n * 29 + y * 8 + x) * 37 % 23) as f32 / 23.0
    });
    for removal in [Removal::Drop, Removal::Fold] {
        if let Ok(masked) = apply_masks(&MODEL, &masks, removal) {
            let pruned = eliminate(&masked.model).expect("a sound model is rewritten");
            assert_same(&masked.model, &pruned.model, &x.clone().into_dyn());
        }
    }
});
