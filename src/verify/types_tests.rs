//! Ties and faults of models that compute in other float types than `f32`.

use ndarray::{Array2, Axis, concatenate};
use ndarray_rand::RandomExt as _;
use ndarray_rand::rand::SeedableRng as _;
use ndarray_rand::rand_distr::StandardNormal;
use rand_chacha::ChaCha12Rng;

use super::testing::Build;
use super::{
    KeptChannels, OrtRuntime, Samples, SessionOptions, Verification, VerifyOptions, verify,
};
use crate::onnx::proto::{AttributeProto, ModelProto, attribute_proto::AttributeType};
use crate::onnx::{DataType, Tensor};

const INPUTS: usize = 16;
const WIDE: usize = 32;

/// (x, x)·w0 + b0 → Sign → ·w2, all of type `kind`. The first unit's weights cancel each other, so
/// that rounding alone decides its sign. `swapped`: two terms are added up in the other order.
fn network(kind: DataType, swapped: bool, shift: f64) -> ModelProto {
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let mut normal =
        |shape| -> Array2<f64> { Array2::random_using(shape, StandardNormal, &mut rng) };
    let first = normal((INPUTS, WIDE));
    let mut second = normal((INPUTS, WIDE));
    let w2 = normal((WIDE, 10)).mapv(f64::signum);
    second.column_mut(0).assign(&-&first.column(0));
    let mut w0 = concatenate![Axis(0), first, second];
    if swapped {
        let (mut above, mut below) = w0.multi_slice_mut((ndarray::s![3, ..], ndarray::s![19, ..]));
        // Both read the same input.
        ndarray::Zip::from(&mut above)
            .and(&mut below)
            .for_each(std::mem::swap);
    }
    let b0 = Array2::from_elem((1, WIDE), shift);
    let mut model = Build::default()
        .input("x", &[-1, INPUTS as i64])
        .node("Cast", &["x"], "xk")
        .node("Concat", &["xk", "xk"], "xx")
        .node("MatMul", &["xx", "w0"], "m0")
        .node("Add", &["m0", "b0"], "a0")
        .node("Sign", &["a0"], "s0")
        .node("MatMul", &["s0", "w2"], "y")
        .output("y")
        .model();
    let graph = model.graph.as_mut().unwrap();
    for (name, values) in [("w0", w0), ("b0", b0), ("w2", w2)] {
        let tensor = Tensor::of(kind, &values.into_dyn());
        graph.initializer.push(tensor.to_proto(name));
    }
    let int = |name: &str, value: i32| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(i64::from(value)),
        ..AttributeProto::default()
    };
    graph.node[0].attribute.push(int("to", kind.to_onnx()));
    graph.node[1].attribute.push(int("axis", 1));
    for value in &mut graph.output {
        value.r#type = None;
    }
    model
}

fn check(reference: &ModelProto, candidate: &ModelProto) -> Verification {
    let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
    let samples = Samples::Random { seed: 9, count: 64 };
    let options = VerifyOptions {
        session: SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        },
        ..VerifyOptions::in_batches_of(16)
    };
    let map = KeptChannels::default();
    verify(&runtime, reference, candidate, &map, &samples, &options).unwrap()
}

#[test]
fn ties_and_faults_in_every_float_type() {
    // The smallest shift that is far above rounding.
    for (kind, shift) in [
        (DataType::F32, 1e-3),
        (DataType::F16, 1e-3),
        (DataType::F64, 1e-9),
    ] {
        let reference = network(kind, false, 0.0);
        let found = check(&reference, &network(kind, true, 0.0));
        let failures = &found.failures;
        assert!(found.passed && found.ties > 0, "{kind:?}: {failures:?}");
        for swapped in [false, true] {
            let found = check(&reference, &network(kind, swapped, shift));
            assert!(!found.passed, "{kind:?}: {} ties", found.ties);
        }
    }
}
