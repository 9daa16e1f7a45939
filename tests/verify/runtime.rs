//! The fixtures in ONNX Runtime: accuracy as documented, and faults found by the verification.

use std::path::{Path, PathBuf};

use onnx_bnnprune::data::{Channels, Dataset, LoadOptions, Preprocess, load};
use onnx_bnnprune::error::Error;
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::verify::{
    BatchedSession, KeptChannels, OrtRuntime, Runtime, RuntimeError, Samples, SessionOptions,
    VerifyOptions, accuracy, output_classes, verify,
};
use prost::Message;

const BINARY: [&str; 4] = ["digits_vgg", "digits_nin", "digits_resnet", "digits_folded"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn model(name: &str) -> ModelProto {
    Model::load(&fixture(&format!("{name}.onnx")))
        .unwrap()
        .proto
}

fn options() -> LoadOptions {
    LoadOptions {
        preprocess: Preprocess {
            channels: Channels::Gray,
            ..Preprocess::default()
        },
        channels: Some(1),
        size: Some("8".parse().unwrap()),
        classes: None,
        ..LoadOptions::default()
    }
}

fn digits(name: &str) -> Dataset {
    load(&fixture(name), &options(), &|_, _| true).unwrap()
}

fn runtime() -> OrtRuntime {
    OrtRuntime::new(None).expect("the tests need ONNX Runtime")
}

#[test]
fn accuracy_is_what_the_fixtures_document() {
    let data = digits("digits_test.npz");
    let indices: Vec<usize> = (0..data.len()).collect();
    let samples = Samples::Images {
        data: &data,
        indices: &indices,
        preprocess: &options().preprocess,
    };
    let readme = std::fs::read_to_string(fixture("README.md")).unwrap();
    for name in BINARY.into_iter().chain(["digits_float"]) {
        let bytes = model(name).encode_to_vec();
        let session = runtime().load(&bytes, &SessionOptions::default()).unwrap();
        let mut session = BatchedSession::new(session);
        assert_eq!(output_classes(&mut session, &samples).unwrap(), 10);
        let labels = data.labels.as_deref().unwrap();
        let found = accuracy(&mut session, &samples, labels, 64, 0.0).unwrap();
        let row = readme
            .lines()
            .find(|line| line.contains(&format!("| `{name}.onnx` |")));
        let documented: f64 = row
            .and_then(|row| {
                row.split('|')
                    .find_map(|cell| cell.trim().strip_suffix('%'))
            })
            .and_then(|percent| percent.parse().ok())
            .expect("an accuracy in fixtures/README.md");
        // One image of leeway: a tie may fall the other way in another version.
        let difference = (found.fraction * 100.0 - documented).abs();
        assert!(
            difference < 0.3,
            "{name}: {} against {documented}",
            found.fraction
        );
    }
}

#[test]
fn the_folder_holds_the_same_images_as_the_archive() {
    let archive = digits("digits_train.npz");
    let folder = digits("digits_png");
    assert_eq!(
        folder.classes,
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    let pre = options().preprocess;
    let labels = archive.labels.as_deref().unwrap();
    for class in 0..10 {
        let first = labels.iter().position(|&label| label == class).unwrap();
        let in_folder = folder
            .labels
            .as_ref()
            .unwrap()
            .iter()
            .position(|&l| l == class)
            .unwrap();
        assert_eq!(
            archive.batch(&[first], &pre).unwrap(),
            folder.batch(&[in_folder], &pre).unwrap()
        );
    }
}

/// Multiplies the weights of the layer whose node's name starts with `layer`.
fn scaled(mut model: ModelProto, layer: &str, factor: f32) -> ModelProto {
    let graph = model.graph.as_mut().unwrap();
    let mut nodes = graph.node.iter();
    let node = nodes
        .find(|node| node.name().starts_with(layer) && ["Conv", "Gemm"].contains(&node.op_type()));
    let weight = &node.expect("such a layer").input[1];
    let mut initializers = graph.initializer.iter_mut();
    let tensor = initializers
        .find(|tensor| tensor.name() == weight)
        .expect("its weight");
    let raw = tensor
        .raw_data()
        .chunks_exact(4)
        .flat_map(|bytes| (f32::from_le_bytes(bytes.try_into().unwrap()) * factor).to_le_bytes());
    let raw: Vec<u8> = raw.collect();
    tensor.raw_data = Some(raw.into());
    model
}

#[test]
fn a_scaled_layer_fails_and_an_equal_model_passes() {
    let data = digits("digits_test.npz");
    let indices: Vec<usize> = (0..100).collect();
    let pre = options().preprocess;
    let samples = Samples::Images {
        data: &data,
        indices: &indices,
        preprocess: &pre,
    };
    let map = KeptChannels::default();
    let check = |reference: &ModelProto, candidate: &ModelProto| {
        let options = VerifyOptions::in_batches_of(32);
        verify(&runtime(), reference, candidate, &map, &samples, &options).unwrap()
    };
    for name in BINARY {
        let good = model(name);
        let equal = check(&good, &good);
        assert!(equal.passed && equal.ties == 0, "{name}: {equal:?}");
        assert_eq!(equal.top1_agreement, Some(1.0));
        for layer in ["/classifier", "/stem"] {
            let found = check(&good, &scaled(good.clone(), layer, 1.002));
            assert!(!found.passed, "{name}, {layer}: {found:?}");
        }
    }
}

#[test]
fn an_image_that_is_gone_is_no_fault_of_a_model() {
    let dir = tempfile::tempdir().unwrap();
    for (class, image) in [("3", "01"), ("3", "11"), ("4", "00"), ("4", "01")] {
        let of_class = fixture("digits_png").join(class);
        let mut images = std::fs::read_dir(of_class).unwrap();
        let from = images.next().unwrap().unwrap().path();
        std::fs::create_dir_all(dir.path().join(class)).unwrap();
        std::fs::copy(from, dir.path().join(class).join(format!("{image}.png"))).unwrap();
    }
    let streams = LoadOptions {
        streams: true,
        ..options()
    };
    let data = load(dir.path(), &streams, &|_, _| true).unwrap();
    std::fs::remove_file(dir.path().join("4/01.png")).unwrap();
    let samples = Samples::Images {
        data: &data,
        indices: &[0, 1, 2, 3],
        preprocess: &streams.preprocess,
    };
    let good = model("digits_vgg");
    let options = VerifyOptions::in_batches_of(2);
    let map = KeptChannels::default();
    let failed = verify(&runtime(), &good, &good, &map, &samples, &options).unwrap_err();
    assert!(matches!(failed, RuntimeError::Images(_)), "{failed}");
    let said = Error::from(failed).about(Path::new("model.onnx"));
    assert!(said.to_string().contains("4/01.png"), "{said}");
    assert!(!said.to_string().contains("model.onnx"), "{said}");
    assert_eq!(said.exit_code(), 2);
}
