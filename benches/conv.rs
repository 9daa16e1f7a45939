//! One layer of the width of a VGG in its middle, forward and backward, binary and float.
//!
//! ```text
//! cargo bench --bench conv
//! ```
//!
//! The layer is BatchNormalization → (Sign →) Conv 128 → 128, 3×3, on 16×16, batch 64: 2.4 G
//! multiply-accumulates forward, twice that backward (weights and input). The binary layer's weights
//! are `Sign(W)·mean|W|`; forward it runs on packed activations, backward in floats or 8 bits. The
//! kernels alone: `cargo bench -p bnn-kernels`.

#[path = "../tests/graphs/mod.rs"]
mod graphs;

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use graphs::{Attr, Builder};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::engine::{Boundary, Mode, Plan, Precision, Wanted, Weights};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::network::Network;
use onnx_bnnprune::recognize;

const BATCH: usize = 64;
const CHANNELS: usize = 128;
const SIDE: usize = 16;

/// Numbers in [-1, 1), the same in every run.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i * 7919 % 10_007) as f32 / 5_003.5 - 1.0)
        .collect()
}

fn layer(binary: bool) -> Network {
    let side = SIDE as i64;
    let mut b = Builder::new(&[CHANNELS as i64, side, side]);
    let per_channel = |b: &mut Builder, v: f32| b.weight(&[CHANNELS], vec![v; CHANNELS]);
    let statistics: Vec<String> = [1.0, 0.0, 0.0, 1.0]
        .into_iter()
        .map(|v| per_channel(&mut b, v))
        .collect();
    let inputs: Vec<&str> = std::iter::once("x")
        .chain(statistics.iter().map(String::as_str))
        .collect();
    let mut data = b.node("BatchNormalization", &inputs, vec![]);
    let shape = [CHANNELS, CHANNELS, 3, 3];
    let mut weight = b.weight(&shape, values(shape.iter().product()));
    if binary {
        data = b.node("Sign", &[&data], vec![]);
        let sign = b.node("Sign", &[&weight], vec![]);
        let abs = b.node("Abs", &[&weight], vec![]);
        let axes = vec![("axes", Attr::Ints(vec![1, 2, 3]))];
        let scale = b.node("ReduceMean", &[&abs], axes);
        weight = b.node("Mul", &[&sign, &scale], vec![]);
    }
    let pads = vec![("pads", Attr::Ints(vec![1; 4]))];
    let y = b.node("Conv", &[&data, &weight], pads);
    let model = b.model(&[&y]);
    let graph = Graph::new(&model).expect("a valid graph");
    let facts = Facts::infer(&graph, 1).expect("static shapes");
    let layers = recognize::layers(&graph, &facts);
    assert_eq!(layers[0].is_binary(), binary);
    Network::import(&graph, &facts, &layers).expect("operators of the native network")
}

fn conv(c: &mut Criterion) {
    let shape = [BATCH, CHANNELS, SIDE, SIDE];
    let x = ArrayD::from_shape_vec(IxDyn(&shape), values(shape.iter().product()))
        .expect("as many values as the shape has");
    let mut group = c.benchmark_group("conv 128x128x3x3 on 16x16, batch 64");
    group.sample_size(10);
    let macs = BATCH * SIDE * SIDE * CHANNELS * CHANNELS * 9;
    for (name, binary, gradients) in [
        ("float", false, Precision::F32),
        ("binary", true, Precision::F32),
        ("binary, 8 bits", true, Precision::Int8),
    ] {
        let network = layer(binary);
        let start = Boundary::start(&network, x.clone()).expect("the model's input shape");
        let mode = Mode {
            batch_statistics_from: None,
            wanted: Wanted::of(&network, network.main_params(network.all())),
            gradients,
            ..Mode::default()
        };
        let plan = Plan::new(&network, network.all(), mode);
        let run = || {
            let weights = Arc::new(Weights::new(&network));
            plan.forward(&network, &weights, &start)
                .expect("shapes that fit")
        };
        group.throughput(Throughput::Elements(macs as u64));
        group.bench_function(format!("{name} forward"), |b| b.iter(&run));
        // The output has the input's shape.
        group.throughput(Throughput::Elements(2 * macs as u64));
        group.bench_function(format!("{name} backward"), |b| {
            b.iter_batched(
                &run,
                |trace| plan.backward(&network, trace, x.clone()),
                criterion::BatchSize::LargeInput,
            )
        });
    }
    group.finish();
}

criterion_group!(benches, conv);
criterion_main!(benches);
