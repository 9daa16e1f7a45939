//! Gradients rounded to 8 bits are those in single precision, but for noise.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::integer::model;
use super::{import, mask, node, run, start};
use crate::engine::{Mode, Plan, Precision, Wanted};
use crate::network::{Network, ParamId, StepId};
use crate::ops::testing::random;
use crate::training::loss::cross_entropy;

/// The gradients of every parameter, by name.
fn gradients(
    n: &Network,
    size: usize,
    from: Option<StepId>,
    precision: Precision,
) -> BTreeMap<String, Vec<f32>> {
    let wanted = Wanted::of(n, (0..n.params().len()).map(ParamId));
    let mode = Mode {
        batch_statistics_from: from,
        wanted: wanted.clone(),
        gradients: precision,
        ..Mode::default()
    };
    let shape = [&[size], n.input_shape()].concat();
    let plan = Plan::new(n, n.all(), mode);
    let trace = run(n, &plan, &start(n, random(&shape, size as u64)));
    let labels: Vec<usize> = (0..size).map(|i| i % 3).collect();
    let loss = cross_entropy(trace.value(n.logits()).unwrap(), &labels);
    let gradients = plan.backward(n, trace, loss.grad).unwrap();
    gradients
        .iter()
        .map(|(p, g)| (n.param(p).name.clone(), g.iter().copied().collect()))
        .collect()
}

fn norm(x: impl Iterator<Item = f32>) -> f32 {
    x.map(|x| x * x).sum::<f32>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rounding_adds_little_noise(
        pool in any::<bool>(), batch in any::<bool>(),
        sizes in [3usize..9, 24usize..40, 24usize..40], size in 2usize..9,
    ) {
        let m = model(pool, sizes);
        let mut n = import(&m);
        let spec = mask(&mut n, sizes[1]);
        n.insert_mask(node(&m, "c2"), 0, spec).unwrap();
        let from = batch.then_some(StepId(0));
        let exact = gradients(&n, size, from, Precision::F32);
        let rounded = gradients(&n, size, from, Precision::Int8);
        let names: Vec<&String> = exact.keys().collect();
        prop_assert!(names.iter().any(|n| *n == "mask"), "{names:?}");
        prop_assert_eq!(&names, &rounded.keys().collect::<Vec<_>>());
        for (name, exact) in &exact {
            let rounded = &rounded[name];
            let size = norm(exact.iter().copied());
            let noise = norm(exact.iter().zip(rounded).map(|(a, b)| a - b));
            prop_assert!(noise <= 0.1 * size + 1e-6, "{name}: {noise} of {size}");
        }
        // They are other numbers: not computed in single precision after all.
        prop_assert!(exact["c2.w"] != rounded["c2.w"]);
        prop_assert_eq!(&exact["fc.w"], &rounded["fc.w"]);
    }
}
