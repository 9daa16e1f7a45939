//! Structured input: a random graph with random masks, whose pruned form must give what the masked one
//! gives; or a fixture with changes, of which only a sound graph or an error may come.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray_rand::rand::SeedableRng as _;
use ndarray_rand::rand::rngs::StdRng;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{EliminateOptions, Removal, Residual, apply_masks, eliminate_with};
use onnx_bnnprune_fuzz::graphs::random::{Family, Random, input, masks};
use onnx_bnnprune_fuzz::mutants::{change, drive, seeds, sound};
use onnx_bnnprune_fuzz::{assert_same, file};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
enum Case {
    /// A graph of these steps.
    Made {
        smooth: bool,
        steps: Vec<u64>,
        percent: u8,
        seed: u64,
        fold: bool,
        scatter: bool,
    },
    /// The fixture of this number, changed once for each seed.
    Changed { fixture: u8, changes: Vec<u64> },
}

static FIXTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dialects");
    seeds(&folder, 1 << 16)
});

fuzz_target!(|case: Case| match case {
    Case::Made {
        smooth,
        steps,
        percent,
        seed,
        fold,
        scatter,
    } => {
        let family = if smooth {
            Family::Smooth
        } else {
            Family::Dyadic
        };
        let model = Random::model(family, steps.get(..24).unwrap_or(&steps));
        let masks = masks(&model, u64::from(percent % 100), seed);
        let removal = if fold { Removal::Fold } else { Removal::Drop };
        let Ok(masked) = apply_masks(&model, &masks, removal) else {
            return;
        };
        let options = EliminateOptions {
            residual: if scatter {
                Residual::Scatter
            } else {
                Residual::Coupled
            },
            ..EliminateOptions::default()
        };
        let pruned = eliminate_with(&masked.model, &options).expect("a sound model is rewritten");
        sound(&pruned.model);
        assert_same(&masked.model, &pruned.model, &input(family, seed));
    }
    Case::Changed { fixture, changes } => {
        let bytes = &FIXTURES[usize::from(fixture) % FIXTURES.len()];
        let mut model = ModelProto::decode(&bytes[..]).expect("a fixture");
        for &seed in changes.iter().take(8) {
            change::model(&mut model, &mut StdRng::seed_from_u64(seed));
        }
        let path = file("mutant.onnx", &[]);
        let folder = path.parent().expect("it lies in a folder");
        drive(&model.encode_to_vec(), folder).expect("no panic");
    }
});
