//! Ties and faults told apart.

use super::testing::Build;
use super::ties::{Explanation, TieExplainer};
use super::{
    KeptChannels, OrtRuntime, Runtime, Samples, SessionOptions, TensorInfo, Tolerance,
    Verification, VerifyOptions, verify,
};
use crate::onnx::proto::ModelProto;
use ndarray::{Array2, Axis};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::SeedableRng;
use ndarray_rand::rand_distr::StandardNormal;
use rand_chacha::ChaCha12Rng;

/// Filters of the hidden layers, and how many of the first one's are masked.
const WIDE: usize = 64;
const MASKED: usize = 24;

/// Weights of x·w0 → Sign → ·w1 + b1 → binariser → ·w2.
#[derive(Clone)]
struct Weights {
    w0: Array2<f32>,
    w1: Array2<f32>,
    b1: Array2<f32>,
    w2: Array2<f32>,
    threshold: f32,
}

impl Weights {
    fn random(bias: f32) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let mut normal = |shape| Array2::random_using(shape, StandardNormal, &mut rng);
        let w0 = normal((16, WIDE));
        // Scales that no sum of ±s represents exactly: sums that should be 0 are not.
        let mut w1: Array2<f32> = normal((WIDE, WIDE)).mapv(|w: f32| w.signum() * 0.1);
        w1.slice_mut(ndarray::s![..MASKED, ..]).fill(0.0);
        Weights {
            w0,
            w1,
            b1: normal((1, WIDE)) * bias,
            w2: normal((WIDE, 10)),
            threshold: 0.0,
        }
    }

    /// Without the masked filters, the others in reverse: another order of summation.
    fn pruned(&self) -> (Self, KeptChannels) {
        let kept: Vec<usize> = (MASKED..WIDE).rev().collect();
        let mut map = KeptChannels::default();
        for tensor in ["a0", "s0"] {
            map.insert(tensor, 1, kept.clone());
        }
        let pruned = Weights {
            w0: self.w0.select(Axis(1), &kept),
            w1: self.w1.select(Axis(0), &kept),
            ..self.clone()
        };
        (pruned, map)
    }

    fn model(&self, compare: bool) -> ModelProto {
        let weight = |build: Build, name: &str, w: &Array2<f32>| {
            let shape = [w.nrows() as i64, w.ncols() as i64];
            build.weight(name, &shape, w.as_standard_layout().as_slice().unwrap())
        };
        let mut build = Build::default().input("x", &[-1, 16]);
        for (name, w) in [
            ("w0", &self.w0),
            ("w1", &self.w1),
            ("b1", &self.b1),
            ("w2", &self.w2),
        ] {
            build = weight(build, name, w);
        }
        build = build
            .node("MatMul", &["x", "w0"], "a0")
            .node("Sign", &["a0"], "s0")
            .node("MatMul", &["s0", "w1"], "m1")
            .node("Add", &["m1", "b1"], "a1");
        build = if compare {
            build
                .weight("t", &[], &[self.threshold])
                .weight("one", &[], &[1.0])
                .weight("minus", &[], &[-1.0])
                .node("GreaterOrEqual", &["a1", "t"], "c1")
                .node("Where", &["c1", "one", "minus"], "s1")
        } else {
            build.node("Sign", &["a1"], "s1")
        };
        build.node("MatMul", &["s1", "w2"], "y").output("y").model()
    }
}

fn check(reference: &ModelProto, candidate: &ModelProto, map: &KeptChannels) -> Verification {
    let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
    check_in(&runtime, reference, candidate, map)
}

fn check_in(
    runtime: &dyn Runtime,
    reference: &ModelProto,
    candidate: &ModelProto,
    map: &KeptChannels,
) -> Verification {
    let samples = Samples::Random { seed: 9, count: 64 };
    let options = VerifyOptions {
        session: SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        },
        ..VerifyOptions::in_batches_of(16)
    };
    verify(runtime, reference, candidate, map, &samples, &options).unwrap()
}

#[test]
fn rounding_at_a_jump_is_a_tie() {
    for compare in [false, true] {
        let weights = Weights::random(0.0);
        let (pruned, map) = weights.pruned();
        let found = check(&weights.model(compare), &pruned.model(compare), &map);
        assert!(found.ties > 0, "{found:?}");
        assert!(found.passed, "{found:?}");
        assert!(found.max_abs_diff > 0.1, "{found:?}");
        let note = &found.tie_notes[0];
        let node = if compare {
            "GreaterOrEqual_c1"
        } else {
            "Sign_s1"
        };
        assert!(
            note.contains(&format!("tie at node '{node}', |margin| = ")),
            "{note}"
        );
    }
}

#[test]
fn equal_models_pass_without_ties() {
    let weights = Weights::random(0.03);
    let model = weights.model(false);
    let found = check(&model, &model, &KeptChannels::default());
    assert!(found.passed && found.ties == 0, "{found:?}");
    assert_eq!((found.max_abs_diff, found.top1_agreement), (0.0, Some(1.0)));
}

/// What is wrong, and how to make it so.
type Fault<'a> = (&'a str, &'a dyn Fn(&mut Weights));

/// Every fault is found although ties abound.
#[test]
fn a_fault_is_never_a_tie() {
    for bias in [0.0, 0.03] {
        let weights = Weights::random(bias);
        let (good, map) = weights.pruned();
        let faults: [Fault<'_>; 7] = [
            ("scale of the last layer", &|w| w.w2 *= 1.001),
            ("one weight of the last layer", &|w| w.w2[[5, 3]] *= 1.01),
            ("one sign", &|w| w.w1[[7, 11]] *= -1.0),
            ("wrong channel", &|w| {
                let moved = weights.w0.column(0).to_owned();
                w.w0.column_mut(9).assign(&moved);
            }),
            ("two channels exchanged", &|w| {
                let (a, b) = (w.w1.row(3).to_owned(), w.w1.row(4).to_owned());
                w.w1.row_mut(3).assign(&b);
                w.w1.row_mut(4).assign(&a);
            }),
            ("a bias too many", &|w| w.b1[[0, 2]] += 0.3),
            ("a filter missing", &|w| w.w1.column_mut(2).fill(0.0)),
        ];
        for (what, fault) in faults {
            let mut bad = good.clone();
            fault(&mut bad);
            let found = check(&weights.model(false), &bad.model(false), &map);
            assert!(!found.passed, "{what}, bias {bias}: {found:?}");
            assert!(found.failures.iter().all(|line| !line.contains('\n')));
        }
    }
}

#[test]
fn faults_before_a_sign_are_found() {
    let weights = Weights::random(0.5);
    let (good, map) = weights.pruned();
    let faults: [Fault<'_>; 2] = [
        ("scale off by a thousandth", &|w| w.w1 *= 1.001),
        ("a bias dropped", &|w| w.b1[[0, 5]] = 0.0),
    ];
    for (what, fault) in faults {
        let mut bad = good.clone();
        fault(&mut bad);
        let (reference, candidate) = (weights.model(false), bad.model(false));
        let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
        let samples = Samples::Random { seed: 1, count: 8 };
        let tolerance = Tolerance::default();
        let mut explainer =
            TieExplainer::new(&runtime, &reference, &candidate, &map, &samples, tolerance).unwrap();
        let info = [TensorInfo {
            bytes: false,
            name: "x".into(),
            float: true,
            shape: vec![None, Some(16)],
        }];
        let inputs = Samples::Random { seed: 1, count: 1 }
            .batch(&info, 0..1)
            .unwrap();
        let explanation = explainer.explain(&inputs).unwrap();
        assert!(
            matches!(explanation, Explanation::Fault(_)),
            "{what}: {explanation:?}"
        );
    }
}

#[test]
fn another_threshold_is_a_fault() {
    let weights = Weights::random(0.0);
    let (mut bad, map) = weights.pruned();
    bad.threshold = 0.05;
    let found = check(&weights.model(true), &bad.model(true), &map);
    assert!(!found.passed, "{found:?}");
    assert!(
        found.failures[1].contains("differs by more than rounding"),
        "{found:?}"
    );
}

/// What a map says is a guess; what it leaves out, or says wrongly, is found by value.
#[test]
fn channels_are_found_without_a_map_and_faults_in_spite_of_it() {
    let weights = Weights::random(0.0);
    let (pruned, map) = weights.pruned();
    let mut bad = pruned.clone();
    bad.w1[[7, 11]] *= -1.0;
    let mut shifted = KeptChannels::default();
    shifted.insert("s0", 1, (0..WIDE - MASKED).collect());
    let reference = weights.model(false);
    for map in [&map, &shifted, &KeptChannels::default()] {
        let found = check(&reference, &pruned.model(false), map);
        assert!(found.passed && found.ties > 0, "{found:?}");
        assert!(!check(&reference, &bad.model(false), map).passed);
    }
}

#[cfg(feature = "tract")]
#[test]
fn tract_explains_ties_too() {
    let weights = Weights::random(0.0);
    let (pruned, map) = weights.pruned();
    let mut bad = pruned.clone();
    bad.w2 *= 1.001;
    for compare in [false, true] {
        let (reference, candidate) = (weights.model(compare), pruned.model(compare));
        let runtime = super::TractRuntime;
        let found = check_in(&runtime, &reference, &candidate, &map);
        assert!(found.passed, "{found:?}");
        assert!(!check_in(&runtime, &reference, &bad.model(compare), &map).passed);
    }
}
