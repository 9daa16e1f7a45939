//! Ties behind each operator that channels pass, or that mixes them: explained where they are
//! genuine, refused where they hide a fault.

use crate::pairs::behind::{ACTIVATIONS, ARITHMETIC, Case, MOVEMENT, NORMALISATIONS, REDUCTIONS};
use crate::pairs::{Net, PLAIN, Part, Parts, fails, passes, with};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::operators::{self, Kind};
use onnx_bnnprune::verify::{
    KeptChannels, OrtRuntime, Samples, SessionOptions, VerifyOptions, verify,
};

/// Samples that a pair is judged on: each has hundreds of decisions.
const SAMPLES: usize = 12;

/// Rounding in front of an operator and ties behind it are explained; a weight that is off by a
/// fiftieth in front of it, and a sign behind it, are found.
fn judged(cases: &[Case]) {
    let net = Net::new(0.1);
    // The same sums without rounding, then a division.
    let mut exact = net.clone();
    exact.w1.mapv_inplace(f32::signum);
    exact.w2.mapv_inplace(f32::signum);
    let mut sign = exact.clone();
    sign.w2[[7, 3, 0, 2]] *= -1.0;
    let mut weight = exact.clone();
    weight.w1[[7, 3, 1, 1]] *= 1.02;
    let divided: Part = |b, x| with(b, "Div", &x, 10.0);
    let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
    let map = KeptChannels::default();
    let samples = Samples::Random {
        seed: 9,
        count: SAMPLES,
    };
    let options = VerifyOptions {
        session: SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        },
        ..VerifyOptions::in_batches_of(SAMPLES)
    };
    for (number, Case { name, opset, part }) in cases.iter().enumerate() {
        let plain = Parts {
            middle: *part,
            ..PLAIN
        };
        let divided = Parts {
            early: divided,
            late: divided,
            ..plain
        };
        let model = |net: &Net, parts: Parts| -> ModelProto {
            let mut model = net.model(parts);
            model.opset_import[0].version = Some(*opset);
            model.ir_version = Some(if *opset >= 18 { 9 } else { 8 });
            model
        };
        let reference = model(&net, plain);
        let judge = |candidate: &ModelProto| {
            verify(&runtime, &reference, candidate, &map, &samples, &options).unwrap()
        };
        let right = model(&exact, divided);
        let found = judge(&right);
        assert!(found.passed && found.ties > 0, "{name}: {found:?}");
        for (what, fault) in [("a sign", &sign), ("a weight", &weight)] {
            let wrong = model(fault, divided);
            let found = judge(&wrong);
            assert!(!found.passed, "{name}, {what}: {found:?}");
            if number == 0 {
                // As a user runs it.
                passes(name, &reference, &right);
                fails(name, &reference, &wrong);
            }
        }
    }
}

#[test]
fn behind_activations() {
    judged(ACTIVATIONS);
}

#[test]
fn behind_arithmetic() {
    judged(ARITHMETIC);
}

#[test]
fn behind_normalisations() {
    judged(NORMALISATIONS);
}

#[test]
fn behind_reductions_and_pools() {
    judged(REDUCTIONS);
}

#[test]
fn behind_movement() {
    judged(MOVEMENT);
}

/// A new row without a case here fails, unless it says that it has no bound.
#[test]
fn every_bounded_operator_is_judged() {
    let families = [
        ACTIVATIONS,
        ARITHMETIC,
        NORMALISATIONS,
        REDUCTIONS,
        MOVEMENT,
    ];
    let judged: Vec<&str> = families.into_iter().flatten().map(|c| c.name).collect();
    // The network itself, and what stands beside another case's operator.
    let beside = ["Conv", "Flatten", "Unsqueeze", "DepthToSpace", "Concat"];
    for row in operators::all() {
        let exempt = row.decides || matches!(row.kind, Kind::Logic | Kind::OfShape);
        let known = judged.contains(&row.name) || beside.contains(&row.name);
        assert!(exempt || known || row.unbounded.is_some(), "{}", row.name);
    }
}
