//! The output of one binary layer, kernel by kernel, beside the same layer in single precision.
//!
//! ```text
//! cargo bench -p bnn-kernels --bench forward
//! ```
//!
//! A layer of the width of a VGG in its middle: 128 → 128, 3×3, on 16×16, batch 64, 2.4 G
//! multiply-accumulates. "codes": from packed activations to packed activations, by thresholds; "sums": to
//! integers; "scaled": to floats, each filter's sums times its scale; "pack": floats to packed
//! activations; "float": floats to floats, by fused multiply-adds.

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{
    Codes, SignWeight, Thresholds, WeightStrides, forward_codes, forward_scaled, forward_sums,
};
use bnn_kernels::float::OutputWeights;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 64;
const CHANNELS: usize = 128;
const SIDE: usize = 16;

/// +1 and -1, the same in every run.
fn signs(count: usize) -> Vec<f32> {
    let sign = |i: usize| match (i * 7919 / 13).is_multiple_of(2) {
        true => 1.0,
        false => -1.0,
    };
    (0..count).map(sign).collect()
}

fn forward(c: &mut Criterion) {
    let g = ConvGeometry {
        batch: BATCH,
        channels: CHANNELS,
        height: SIDE,
        width: SIDE,
        filters: CHANNELS,
        out_height: SIDE,
        out_width: SIDE,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
        groups: 1,
    };
    let shape = [BATCH, CHANNELS, SIDE, SIDE];
    let x = signs(shape.iter().product());
    let codes = Codes::pack(&x, shape).expect("values of ±1");
    let weight = signs(CHANNELS * CHANNELS * 9);
    let strides = WeightStrides {
        filter: CHANNELS * 9,
        channel: 9,
    };
    let packed = SignWeight::pack(&weight, strides, &g, false).expect("weights of ±1");
    let float = OutputWeights::new(&g, &weight).expect("a geometry that has a path");
    let thresholds = Thresholds {
        direction: vec![1; CHANNELS],
        not_negative: vec![0; CHANNELS],
        positive: vec![1; CHANNELS],
    };
    let (scale, bias) = (vec![0.1; CHANNELS], vec![0.5; CHANNELS]);
    let mut y = vec![0.0; x.len()];
    let mut sums = vec![0; x.len()];

    let mut group = c.benchmark_group("forward 128x128x3x3 on 16x16, batch 64");
    group.sample_size(10);
    let macs = BATCH * SIDE * SIDE * CHANNELS * CHANNELS * 9;
    group.throughput(Throughput::Elements(macs as u64));
    group.bench_function("codes", |b| {
        b.iter(|| forward_codes(&g, &codes, &packed, None, &thresholds));
    });
    group.bench_function("sums", |b| {
        b.iter(|| forward_sums(&g, &codes, &packed, &mut sums));
    });
    group.bench_function("scaled", |b| {
        b.iter(|| forward_scaled(&g, &codes, &packed, &scale, &bias, &mut y));
    });
    group.bench_function("pack", |b| b.iter(|| Codes::pack(&x, shape)));
    group.bench_function("float", |b| {
        b.iter(|| float.output(&g, &x, Some(&bias), &mut y))
    });
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
