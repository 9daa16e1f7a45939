//! Several processes learn what one does, to the bit.

use ndarray::Array4;

use super::{Control, Options, Subject, TrainOptions, learn, retrain};
use crate::data::{Augment, Dataset, Images, Pixels, Preprocess};
use crate::distributed::{Alone, Communicator, in_threads};
use crate::graph::{Facts, Graph};
use crate::network::Network;
use crate::network::testing::ModelBuilder;
use crate::onnx::proto::ModelProto;
use crate::ops::testing::random;
use crate::progress::Silent;
use crate::recognize;
use crate::rewrite::{self, Analysis, FilterMasks};

/// Stem, three binary layers, one of them behind a normalisation of single values, and a classifier.
fn model() -> ModelProto {
    ModelBuilder::new(&[0, 2, 6, 6])
        .constant("stem.w", random(&[6, 2, 3, 3], 1))
        .node("stem", "Conv", &["x", "stem.w"], &[("pads", &[1, 1, 1, 1])])
        .batch_norm("bn0", "stem", 6)
        .binary_conv("c1", "bn0", 10, 6)
        .batch_norm("bn1", "c1", 10)
        .binary_conv("c2", "bn1", 8, 10)
        .batch_norm("bn2", "c2", 8)
        .node("gap", "GlobalAveragePool", &["bn2"], &[])
        .batch_norm("bn3", "gap", 8)
        .node("flat", "Flatten", &["bn3"], &[])
        .constant("fc.w", random(&[3, 8], 3))
        .node("fc", "Gemm", &["flat", "fc.w"], &[("transB", &[1])])
        .build()
}

/// So many that no number of processes divides the batches evenly.
const IMAGES: usize = 603;

fn images() -> Images {
    let values = random(&[IMAGES, 2, 6, 6], 9);
    let pixel = |(n, c, y, x)| {
        let class = if n % 3 == c { 0.8 } else { 0.0 };
        values[[n, c, y, x]] + class
    };
    Images {
        train: Dataset {
            images: Pixels::F32(Array4::from_shape_fn((IMAGES, 2, 6, 6), pixel)),
            labels: Some((0..IMAGES).map(|i| i % 3).collect()),
            classes: Vec::new(),
            source: "d".into(),
            skipped: Vec::new(),
        },
        train_indices: (0..550).collect(),
        val: None,
        val_indices: (550..IMAGES).collect(),
        preprocess: Preprocess::default(),
        val_source: String::new(),
    }
}

fn bits(network: &Network) -> Vec<Vec<u32>> {
    let values = network.params().iter().map(|p| &p.value);
    values
        .map(|v| v.iter().map(|x| x.to_bits()).collect())
        .collect()
}

/// What a process ends with: the masks, the network, and every figure on the way.
fn learned(
    processes: &dyn Communicator,
    options: &Options,
) -> (FilterMasks, Vec<Vec<u32>>, String) {
    let model = model();
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 2).unwrap();
    let layers = recognize::layers(&graph, &facts);
    let analysis = Analysis::new(&graph, &facts);
    let costs = rewrite::cost(&graph, &facts, &layers).layers;
    let subject = Subject {
        graph: &graph,
        layers: &layers,
        costs: &costs,
        analysis: &analysis,
    };
    let mut network = Network::import(&graph, &facts, &layers).unwrap();
    let control = Control {
        observer: &Silent,
        checkpoint: None,
        processes,
    };
    let found = learn(&mut network, &subject, &images(), options, control).unwrap();
    let figures = format!("{:?} {:?}", found.stages, found.final_retraining);
    (found.masks, bits(&network), figures)
}

fn options() -> Options {
    Options {
        mask_epochs: 1,
        main_epochs: 1,
        final_epochs: 1,
        batch_size: 70,
        ..Options::for_images(IMAGES)
    }
}

#[test]
fn any_number_of_processes_learns_the_same() {
    let flipped = Augment {
        flip: true,
        ..Augment::default()
    };
    for (options, what) in [
        (options(), "as it is"),
        (
            Options {
                augment: flipped,
                views: 2,
                ..options()
            },
            "in two views",
        ),
        (
            Options {
                augment: flipped,
                cache_mb: 0,
                cache_disk_mb: 0,
                ..options()
            },
            "varied, nothing kept",
        ),
    ] {
        let one = learned(&Alone, &options);
        assert!(!one.0.layers.is_empty());
        for size in [2, 3, 7] {
            let all = in_threads(size, |processes| learned(processes, &options));
            for (rank, found) in all.into_iter().enumerate() {
                assert!(found == one, "{what}: process {rank} of {size} differs");
            }
        }
    }
}

#[test]
fn more_processes_than_parts_learn_the_same() {
    // Two parts of a batch, and a last batch of one.
    let options = Options {
        batch_size: 30,
        ..options()
    };
    let one = learned(&Alone, &options);
    for found in in_threads(5, |processes| learned(processes, &options)) {
        assert!(found == one);
    }
}

#[test]
fn any_number_of_processes_trains_the_same() {
    let trained = |processes: &dyn Communicator| {
        let model = model();
        let graph = Graph::new(&model).unwrap();
        let facts = Facts::infer(&graph, 2).unwrap();
        let layers = recognize::layers(&graph, &facts);
        let mut network = Network::import(&graph, &facts, &layers).unwrap();
        let options = TrainOptions {
            epochs: 2,
            lr: 1e-3,
            warm_up: 1,
            lr_schedule: super::Decay::Cosine,
            optimizer: &crate::training::Adam,
            gradients: crate::engine::Precision::Int8,
            batch_size: 64,
            seed: 3,
        };
        let control = Control {
            observer: &Silent,
            checkpoint: None,
            processes,
        };
        let images = images();
        let found = retrain(&mut network, &images, Augment::default(), &options, control);
        (found.unwrap(), bits(&network))
    };
    let one = trained(&Alone);
    for size in [2, 4] {
        assert!(
            in_threads(size, |processes| trained(processes))
                .iter()
                .all(|f| *f == one)
        );
    }
}
