//! Reading, masking, eliminating and writing models.
//!
//! ```text
//! cargo bench --bench model
//! ```
//!
//! `fixtures/digits_resnet.onnx` loses a random half of each group's filters; the file of 16 MB has
//! one Gemm of 1000×4096. Writing includes making it durable, so it depends on the disk.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/graphs/mod.rs"]
mod graphs;

use std::path::Path;

use common::network;
use criterion::{Criterion, criterion_group, criterion_main};
use graphs::Builder;
use onnx_bnnprune::onnx::{Model, save};
use onnx_bnnprune::pipeline::View;
use onnx_bnnprune::rewrite::{FilterMasks, Removal, apply_masks, eliminate};
use onnx_bnnprune::subsidiary::{Grouping, mask_groups, rules};

fn random_half(view: &View<'_>) -> FilterMasks {
    let mut masks = FilterMasks::default();
    let (groups, _) = mask_groups(
        &view.graph,
        &view.layers,
        &view.analysis,
        Grouping::default(),
    );
    for (seed, group) in groups.iter().enumerate() {
        let keep = rules::random(group.filters, group.filters / 2, seed as u64);
        let pruned: Vec<usize> = (0..group.filters).filter(|&f| !keep[f]).collect();
        for (name, filters) in group.class.filters_of(&pruned) {
            let count = view.analysis.filters(&name).unwrap_or(group.filters);
            masks.prune(&name, count, filters);
        }
    }
    masks
}

fn rewriting(c: &mut Criterion) {
    let path = network("resnet");
    let model = Model::load(&path).expect("the fixture").proto;
    let view = View::new(&path, &model).expect("a valid graph");
    let masks = random_half(&view);
    let masked = apply_masks(&model, &masks, Removal::Drop)
        .expect("masks that fit")
        .model;
    let mut group = c.benchmark_group("digits_resnet.onnx, random half");
    group.bench_function("apply masks", |b| {
        b.iter(|| apply_masks(&model, &masks, Removal::Drop))
    });
    group.bench_function("eliminate", |b| b.iter(|| eliminate(&masked)));
    group.finish();
}

fn large(c: &mut Criterion) {
    let (model, masks) = graphs::large(480);
    let masked = apply_masks(&model, &masks, Removal::Drop)
        .expect("masks that fit")
        .model;
    let mut group = c.benchmark_group("100 MB, 40 % masked");
    group.sample_size(10);
    group.bench_function("apply masks", |b| {
        b.iter(|| apply_masks(&model, &masks, Removal::Drop))
    });
    group.bench_function("eliminate", |b| b.iter(|| eliminate(&masked)));
    group.finish();
}

fn files(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let large = dir.path().join("large.onnx");
    let mut b = Builder::new(&[4096]);
    let weight = b.weight(&[4096, 1000], vec![0.5; 4096 * 1000]);
    let y = b.node("Gemm", &["x", &weight], vec![]);
    save(&b.model(&[&y]), &large).expect("room for 16 MB");
    let mut group = c.benchmark_group("files");
    group.sample_size(20);
    let out = dir.path().join("out.onnx");
    let mut of = |name: &str, path: &Path| {
        group.bench_function(format!("load {name}"), |b| b.iter(|| Model::load(path)));
        let model = Model::load(path).expect("a model").proto;
        group.bench_function(format!("save {name}"), |b| {
            b.iter(|| save(&model, &out).expect("room for the model"))
        });
    };
    of("digits_vgg.onnx, 215 KiB", &network("vgg"));
    of("a Gemm of 16 MB", &large);
    group.finish();
}

criterion_group!(benches, rewriting, large, files);
criterion_main!(benches);
