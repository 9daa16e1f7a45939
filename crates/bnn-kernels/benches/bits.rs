//! Layers of bits, beside the same layers on codes of four activations, for each level of instructions.
//!
//! ```text
//! cargo bench -p bnn-kernels --bench bits
//! ```

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::bits::{
    Affine, BitConv, BitGeometry, Bits, Floats, Job, Level, Packing, bytes_of,
};
use bnn_kernels::binary::{Codes, SignWeight, Thresholds, WeightStrides, forward_codes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Filters and channels, side of the image, side of the kernel.
const LAYERS: [(usize, usize, usize, usize); 8] = [
    (128, 128, 16, 3),
    (512, 512, 4, 3),
    (64, 64, 30, 3),
    (16, 16, 32, 3),
    (64, 64, 8, 3),
    (40, 48, 32, 1),
    (48, 24, 16, 5),
    (512, 512, 1, 1),
];

/// Bytes, the same in every run.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7919 / 13) as u8).collect()
}

fn layers(c: &mut Criterion) {
    for (filters, channels, side, kernel) in LAYERS {
        let pad = kernel / 2;
        let g = BitGeometry {
            channels,
            filters,
            kernel: [kernel; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [pad; 4],
        };
        let area = kernel * kernel;
        let conv = BitConv::new(g, &bytes(filters * area * bytes_of(channels))).expect("sizes");
        let x = bytes(side * side * bytes_of(channels));
        let bits = Bits {
            bytes: &x,
            batch: 1,
            height: side,
            width: side,
            channels,
            planes: 1,
        };
        let name = format!("{channels} to {filters}, {kernel}x{kernel} on {side}x{side}");
        let mut group = c.benchmark_group(name);
        group
            .sample_size(20)
            .measurement_time(std::time::Duration::from_millis(500));
        group.warm_up_time(std::time::Duration::from_millis(200));
        let macs = side * side * filters * channels * area;
        group.throughput(Throughput::Elements(macs as u64));
        let affine = Affine {
            divisor: Some(vec![3.0; filters]),
            factor: Some(vec![0.3; filters]),
            shift: Some(vec![0.1; filters]),
            ..Affine::default()
        };
        for level in Level::all() {
            let mut out = vec![0; side * side * bytes_of(filters)];
            group.bench_function(format!("signs, {}", level.name()), |b| {
                b.iter(|| {
                    let job = Job::with(&conv, bits, level).expect("fits");
                    let to = job.signs_to(&vec![1; filters], &mut out);
                    (0..job.sign_tasks()).for_each(|task| job.signs(task, &to));
                });
            });
            let mut y = vec![0.0; side * side * filters];
            let residual = vec![1.0; y.len()];
            group.bench_function(format!("floats, {}", level.name()), |b| {
                b.iter(|| {
                    let job = Job::with(&conv, bits, level).expect("fits");
                    let to = Floats::new(&affine, Some(&residual), &mut y).with_signs(&mut out);
                    (0..job.float_tasks()).for_each(|task| job.floats(task, &to));
                });
            });
        }
        let g = ConvGeometry {
            batch: 1,
            channels,
            height: side,
            width: side,
            filters,
            out_height: side,
            out_width: side,
            kernel: [kernel; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pad: [pad; 2],
            groups: 1,
        };
        let x = vec![1.0; channels * side * side];
        let codes = Codes::pack(&x, [1, channels, side, side]).expect("±1");
        let strides = WeightStrides {
            filter: channels * area,
            channel: area,
        };
        let weight = vec![1.0; filters * channels * area];
        let weight = SignWeight::pack(&weight, strides, &g, false).expect("±1");
        let thresholds = Thresholds {
            direction: vec![1; filters],
            not_negative: vec![0; filters],
            positive: vec![1; filters],
        };
        group.bench_function("codes", |b| {
            b.iter(|| forward_codes(&g, &codes, &weight, None, &thresholds));
        });
        let mut signs = vec![0; side * side * bytes_of(channels)];
        group.throughput(Throughput::Elements(x.len() as u64));
        group.bench_function("pack", |b| {
            b.iter(|| {
                let shape = [1, channels, side * side];
                let packing = Packing::signs(&x, shape, &[0.0], 0, &mut signs);
                (0..packing.tasks()).for_each(|task| packing.run(task));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
