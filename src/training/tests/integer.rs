//! Inference on packed activations gives the bits of the steps computed one by one.

use proptest::prelude::*;

use super::{forward, infer, start};
use super::{import, mask, node};
use crate::engine::Mode;
use crate::network::testing::ModelBuilder;
use crate::network::{BinaryId, Network, ParamId};
use crate::onnx::proto::ModelProto;
use crate::ops::testing::random;

/// Sign → binary convolution → (MaxPool) → BatchNormalization → PRelu → Sign → binary convolution,
/// and a binary Gemm at the end.
pub(super) fn model(pool: bool, sizes: [usize; 3]) -> ModelProto {
    let [a, b, c] = sizes;
    let builder = ModelBuilder::new(&[0, a as i64, 7, 7])
        .node("s0", "Sign", &["x"], &[])
        .binary_conv("c1", "s0", b, a);
    let (builder, at) = match pool {
        true => {
            let attributes: [(&str, &[i64]); 3] = [
                ("kernel_shape", &[3, 3]),
                ("strides", &[2, 2]),
                ("pads", &[1, 1, 1, 1]),
            ];
            (builder.node("p1", "MaxPool", &["c1"], &attributes), "p1")
        }
        false => (builder, "c1"),
    };
    builder
        .batch_norm("bn1", at, b)
        .constant("slope", random(&[b, 1, 1], 8).mapv(f32::abs))
        .node("r1", "PRelu", &["bn1", "slope"], &[])
        .node("s1", "Sign", &["r1"], &[])
        .binary_conv("c2", "s1", c, b)
        .batch_norm("bn2", "c2", c)
        .node("gap", "GlobalAveragePool", &["bn2"], &[])
        .node("flat", "Flatten", &["gap"], &[])
        .constant("fc.w", random(&[3, c], 3))
        .node("fc", "Gemm", &["flat", "fc.w"], &[("transB", &[1])])
        .build()
}

/// Moves a BatchNormalization's parameters far enough that some filters turn around and some never
/// change.
fn upset(n: &mut Network, seed: u64) {
    for i in 0..n.params().len() {
        let name = n.params()[i].name.clone();
        let mut value = n.values_mut(ParamId(i));
        if name.starts_with("bn") {
            let noise = random(value.shape(), seed + i as u64);
            match name.ends_with(".v") {
                true => value.zip_mut_with(&noise, |v, n| *v = n.abs() + 0.1),
                false => value.zip_mut_with(&noise, |v, n| *v = 2.0 * n),
            }
        }
    }
}

fn step_by_step(n: &Network, x: ndarray::ArrayD<f32>) -> ndarray::ArrayD<f32> {
    let trace = forward(n, &start(n, x), n.end(), Mode::default());
    trace.value(n.logits()).unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn the_same_bits(
        pool: bool,
        masked: bool,
        sizes in [1usize..20, 1usize..40, 1usize..40],
        seed in 0u64..1000,
    ) {
        let m = model(pool, sizes);
        let mut n = import(&m);
        upset(&mut n, seed);
        if masked {
            let spec = mask(&mut n, sizes[1]);
            n.insert_mask(node(&m, "c2"), 0, spec).unwrap();
        }
        let x = random(&[3, sizes[0], 7, 7], seed);
        prop_assert_eq!(infer(&n, x.clone()).unwrap(), step_by_step(&n, x));
    }
}

#[test]
fn a_latent_of_zero_or_a_falling_slope_is_left_to_floats() {
    let m = model(true, [5, 9, 6]);
    let mut n = import(&m);
    let x = random(&[2, 5, 7, 7], 1);
    let slope = (0..n.params().len())
        .find(|&i| n.params()[i].name == "slope")
        .unwrap();
    n.values_mut(ParamId(slope))[[3, 0, 0]] = -1.5;
    assert_eq!(infer(&n, x.clone()).unwrap(), step_by_step(&n, x.clone()));
    let latent = n.binaries()[0].latent;
    n.binary_mut(BinaryId(0)).zero = 0.0;
    n.values_mut(latent)[[0, 0, 0, 0]] = 0.0;
    assert_eq!(infer(&n, x.clone()).unwrap(), step_by_step(&n, x));
}
