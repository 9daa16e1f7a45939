//! What the operators' tests share: random arrays, and gradients against finite differences.

use ndarray::{ArrayD, IxDyn};

use super::{Backward, Op};

/// Reproducible values in (-1, 1) that keep at least 0.02 away from 0 and ±0.5 and ±0.75
/// (kinks).
pub fn random(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        loop {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let v = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            let kinks = [0.0, 0.5, -0.5, 0.75, -0.75];
            if kinks.iter().all(|k| (v - k).abs() > 0.02) {
                return v;
            }
        }
    })
}

/// Values in a scattered order, 0.02 apart, so that no maximum changes hands within a step.
pub fn distinct(shape: &[usize]) -> ArrayD<f32> {
    let count: usize = shape.iter().product();
    // 7919 is a prime that divides no size used here: i · 7919 mod count is a permutation.
    let value = |i: usize| (i * 7919 % count) as f32 * 0.02 - 1.0;
    ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(value).collect()).unwrap()
}

/// A vector.
pub fn vector(v: &[f32]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(&[v.len()]), v.to_vec()).unwrap()
}

/// The output of an operator.
pub fn forward(op: &dyn Op, inputs: &[&ArrayD<f32>]) -> ArrayD<f32> {
    op.forward(inputs).unwrap().0
}

/// The gradients of an operator, which sees only the inputs that it asks for.
pub fn backward(
    op: &dyn Op,
    inputs: &[&ArrayD<f32>],
    upstream: ArrayD<f32>,
    wanted: &[bool],
) -> Vec<Option<ArrayD<f32>>> {
    let (_, saved) = op.forward(inputs).unwrap();
    let given: Vec<_> = (0..inputs.len())
        .map(|k| op.needs_input(k, wanted).then_some(inputs[k]))
        .collect();
    let shapes: Vec<_> = inputs.iter().map(|x| x.shape()).collect();
    let pass = Backward {
        inputs: &given,
        shapes: &shapes,
        saved: &saved,
        wanted,
    };
    op.backward(&pass, upstream)
}

/// Checks every gradient, each alone and all together, against central differences under a random
/// upstream gradient.
pub fn check_gradients(op: &dyn Op, inputs: &[ArrayD<f32>]) {
    check_gradients_of(op, inputs, &vec![true; inputs.len()]);
}

/// See [`check_gradients`]; only for the inputs in `wanted`.
pub fn check_gradients_of(op: &dyn Op, inputs: &[ArrayD<f32>], wanted: &[bool]) {
    let refs: Vec<&ArrayD<f32>> = inputs.iter().collect();
    let (y, _) = op.forward(&refs).unwrap();
    let upstream = random(y.shape(), 99);
    let loss = |inputs: &[ArrayD<f32>]| -> f64 {
        let refs: Vec<&ArrayD<f32>> = inputs.iter().collect();
        let (y, _) = op.forward(&refs).unwrap();
        let pairs = y.iter().zip(&upstream);
        pairs.map(|(y, u)| f64::from(*y) * f64::from(*u)).sum()
    };
    let together = backward(op, &refs, upstream.clone(), wanted);
    for k in (0..inputs.len()).filter(|&k| wanted[k]) {
        let only: Vec<bool> = (0..inputs.len()).map(|j| j == k).collect();
        let grads = backward(op, &refs, upstream.clone(), &only);
        let grad = grads[k].as_ref().expect("a wanted gradient");
        assert_eq!(
            Some(grad),
            together[k].as_ref(),
            "input {k} of {op:?}, alone and together"
        );
        assert_eq!(grad.shape(), inputs[k].shape());
        assert!(grads.iter().enumerate().all(|(j, g)| j == k || g.is_none()));
        // At most some hundred elements, spread over the array.
        let step = inputs[k].len().div_ceil(150);
        for i in (0..inputs[k].len()).step_by(step) {
            let h = 4e-3;
            let shifted = |h: f32| {
                let mut moved = inputs.to_vec();
                moved[k].as_slice_mut().unwrap()[i] += h;
                loss(&moved)
            };
            let numeric = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
            let exact = f64::from(grad.as_slice().unwrap()[i]);
            let tolerance = 2e-3 + 1e-2 * numeric.abs();
            assert!(
                (numeric - exact).abs() < tolerance,
                "input {k}[{i}] of {op:?}: {exact} instead of {numeric}"
            );
        }
    }
}
