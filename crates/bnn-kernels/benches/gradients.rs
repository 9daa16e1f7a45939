//! The gradients of binary layers, kernel by kernel: of the input and of the weights.
//!
//! ```text
//! cargo bench -p bnn-kernels --bench gradients
//! ```
//!
//! Layers of NIN, VGG-11 and ResNet-18 for CIFAR-10. "tables": from tables of sums, in single
//! precision; "8 bits": the same of rounded gradients, rounding included; "products": by fused
//! multiply-adds, as layers with other weights are computed. A result's element is one
//! multiply-accumulate of the definition. One thread, unless RAYON_NUM_THREADS says otherwise.

use bnn_kernels::ConvGeometry;
use bnn_kernels::binary::{Codes, InputSigns, RoundedGradient, weight_gradient};
use bnn_kernels::float::{InputWeights, conv_backward_weight};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Channels, filters, side of the planes and of the kernel, images.
const LAYERS: [[usize; 5]; 6] = [
    [160, 96, 32, 1, 4],
    [96, 192, 16, 5, 8],
    [192, 192, 16, 1, 8],
    [192, 192, 8, 3, 16],
    [64, 64, 32, 3, 4],
    [512, 512, 4, 3, 32],
];

/// +1 and -1, the same in every run.
fn signs(count: usize, seed: usize) -> Vec<f32> {
    let sign = |i: usize| match ((i * 7919 + seed) / 13).is_multiple_of(2) {
        true => 1.0,
        false => -1.0,
    };
    (0..count).map(sign).collect()
}

fn gradients(c: &mut Criterion) {
    let mut group = c.benchmark_group("gradients");
    group.sample_size(20);
    for [channels, filters, side, kernel, batch] in LAYERS {
        let g = ConvGeometry {
            batch,
            channels,
            height: side,
            width: side,
            filters,
            out_height: side,
            out_width: side,
            kernel: [kernel; 2],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [kernel / 2; 2],
            groups: 1,
        };
        let plane = side * side;
        let weight = signs(filters * channels * kernel * kernel, 1);
        let x = signs(batch * channels * plane, 2);
        let codes = Codes::pack(&x, [batch, channels, side, side]).expect("values of ±1");
        let grad: Vec<f32> = (0..batch * filters * plane)
            .map(|i| (i * 7919 % 10_007) as f32 / 5_003.5 - 1.0)
            .collect();
        let scale = vec![0.1; filters];
        let (mut grad_x, mut grad_w) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
        let single = InputSigns::<f32>::new(&g, &weight).expect("worth a table");
        let short = InputSigns::<i16>::new(&g, &weight).expect("worth a table");
        let products = InputWeights::new(&g, &weight).expect("a convolution without strides");
        let name = format!("{channels} → {filters}, {kernel}×{kernel} on {side}×{side}");
        group.throughput(Throughput::Elements(
            (x.len() * filters * kernel * kernel) as u64,
        ));
        let mut bench = |what: &str, f: &mut dyn FnMut()| {
            group.bench_function(BenchmarkId::new(what, &name), |b| b.iter(&mut *f));
        };
        bench("input, tables", &mut || {
            single.gradient(&g, &grad, &scale, &mut grad_x);
        });
        bench("input, 8 bits", &mut || {
            let rounded = RoundedGradient::new(&g, &grad).expect("numbers");
            rounded.input_gradient(&short, &scale, &mut grad_x);
        });
        bench("input, products", &mut || {
            products.gradient(&g, &grad, &mut grad_x);
        });
        bench("weights, tables", &mut || {
            assert!(weight_gradient(&g, &codes, &grad, &mut grad_w));
        });
        bench("weights, 8 bits", &mut || {
            let rounded = RoundedGradient::new(&g, &grad).expect("numbers");
            assert!(rounded.weight_gradient(&codes, &mut grad_w));
        });
        bench("weights, products", &mut || {
            conv_backward_weight(&g, &x, &grad, &mut grad_w);
        });
    }
    group.finish();
}

fn one_thread(c: &mut Criterion) {
    let threads = std::env::var("RAYON_NUM_THREADS");
    let threads = threads.ok().and_then(|t| t.parse().ok()).unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().expect("the first pool");
    gradients(c);
}

criterion_group!(benches, one_thread);
criterion_main!(benches);
