//! Filters whose binarised output never changes, because a sum of that many ±1 cannot reach the
//! threshold: removed without any mask, and never where it could.

use std::collections::BTreeMap;

use crate::graphs::{Attr, Builder, run};
use ndarray::{ArrayD, IxDyn};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::eliminate;
use onnx_bnnprune::verify::Optimization;

fn signs(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| if i * 7 % 5 < 2 { 1.0 } else { -1.0 })
        .collect()
}

/// Float stem → Sign → 3×3 convolution over 2 channels (sums of at most 18) → `threshold` → 1×1 head.
fn network(pad: i64, threshold: impl FnOnce(&mut Builder, &str) -> String) -> (ModelProto, String) {
    let mut b = Builder::new(&[2, 5, 5]);
    let w = b.weight(&[2, 2, 1, 1], vec![1.0, 0.5, -0.5, 1.0]);
    let stem = b.node("Conv", &["x", &w], vec![]);
    let x = b.node("Sign", &[&stem], vec![]);
    let w = b.weight(&[4, 2, 3, 3], signs(72));
    let a = b.node("Conv", &[&x, &w], vec![("pads", Attr::Ints(vec![pad; 4]))]);
    let y = threshold(&mut b, &a);
    let w = b.weight(&[3, 4, 1, 1], signs(12));
    let last = b.node("Conv", &[&y, &w], vec![]);
    (b.model(&[&last]), a)
}

fn kept(model: &ModelProto, layer: &str) -> Vec<usize> {
    let e = eliminate(model).unwrap();
    let x = (0..200).map(|i| ((i * 37 % 23) as f32 - 11.0) / 4.0);
    let x = ArrayD::from_shape_vec(IxDyn(&[4, 2, 5, 5]), x.collect()).unwrap();
    let run = |m: &ModelProto| run(m, &x, Optimization::Basic);
    assert_eq!(run(model), run(&e.model));
    let layers: BTreeMap<_, _> = e.layers.into_iter().map(|l| (l.name, l.kept)).collect();
    layers[layer].clone()
}

#[test]
fn a_threshold_beyond_the_fan_in_never_fires() {
    for pad in [0, 1] {
        let (model, a) = network(pad, |b, x| {
            let t = b.weight(&[1, 4, 1, 1], vec![18.5, 0.5, -19.0, 17.5]);
            let moved = b.node("Add", &[x, &t], vec![]);
            b.node("Sign", &[&moved], vec![])
        });
        assert_eq!(kept(&model, &a), [1, 3]);
    }
}

#[test]
fn at_the_bound_itself_it_may() {
    // -18 + 18 is 0, whose sign is 0 and not 1.
    let (model, a) = network(0, |b, x| {
        let t = b.weight(&[1, 4, 1, 1], vec![18.0, -18.0, 18.0, -18.0]);
        let moved = b.node("Add", &[x, &t], vec![]);
        b.node("Sign", &[&moved], vec![])
    });
    assert_eq!(kept(&model, &a).len(), 4);
}

#[test]
fn through_batch_normalization_and_other_steps() {
    let bn = |b: &mut Builder, x: &str, shift: [f32; 4]| {
        let scale = b.weight(&[4], vec![0.25, -0.5, 0.5, 1.0]);
        let bias = b.weight(&[4], shift.to_vec());
        let mean = b.weight(&[4], vec![0.0; 4]);
        let var = b.weight(&[4], vec![1.0; 4]);
        b.node(
            "BatchNormalization",
            &[x, &scale, &bias, &mean, &var],
            vec![],
        )
    };
    // Beyond 18 times the scale in channels 0 and 1.
    let shift = [5.0, -10.0, 0.5, 0.0];
    let (model, a) = network(0, |b, x| {
        let n = bn(b, x, shift);
        b.node("Sign", &[&n], vec![])
    });
    assert_eq!(kept(&model, &a), [2, 3]);
    let (model, a) = network(0, |b, x| {
        let n = bn(b, x, shift);
        let zero = b.weight(&[], vec![0.0]);
        let ge = b.node("GreaterOrEqual", &[&n, &zero], vec![]);
        let (plus, minus) = (b.weight(&[], vec![1.0]), b.weight(&[], vec![-1.0]));
        b.node("Where", &[&ge, &plus, &minus], vec![])
    });
    assert_eq!(kept(&model, &a), [2, 3]);
    // Relu of what is always negative, Clip of what is always above.
    let (model, a) = network(0, |b, x| {
        let n = bn(b, x, shift);
        b.node("Relu", &[&n], vec![])
    });
    assert_eq!(kept(&model, &a), [0, 2, 3]);
    let (model, a) = network(0, |b, x| {
        let n = bn(b, x, shift);
        let (low, high) = (b.weight(&[], vec![-0.25]), b.weight(&[], vec![0.25]));
        b.node("Clip", &[&n, &low, &high], vec![])
    });
    assert_eq!(kept(&model, &a), [2, 3]);
}

#[test]
fn an_input_that_is_not_bounded_bounds_nothing() {
    let mut b = Builder::new(&[2, 5, 5]);
    let w = b.weight(&[4, 2, 3, 3], signs(72));
    let a = b.node("Conv", &["x", &w], vec![]);
    let t = b.weight(&[1, 4, 1, 1], vec![1e6; 4]);
    let moved = b.node("Add", &[&a, &t], vec![]);
    let y = b.node("Sign", &[&moved], vec![]);
    let w = b.weight(&[3, 4, 1, 1], signs(12));
    let last = b.node("Conv", &[&y, &w], vec![]);
    assert_eq!(kept(&b.model(&[&last]), &a).len(), 4);
}

/// Bounded on one side alone: what is behind Relu, and its averages.
#[test]
fn a_shift_beyond_zero_behind_relu_never_turns() {
    for pooled in [false, true] {
        let mut b = Builder::new(&[2, 5, 5]);
        let w = b.weight(&[4, 2, 3, 3], signs(72));
        let a = b.node("Conv", &["x", &w], vec![]);
        let mut at = b.node("Relu", &[&a], vec![]);
        if pooled {
            let kernel = ("kernel_shape", Attr::Ints(vec![2, 2]));
            let pads = ("pads", Attr::Ints(vec![1; 4]));
            at = b.node("AveragePool", &[&at], vec![kernel, pads]);
        }
        // 0 becomes 0.5, -0.25, -0.5 and 0.5; the first two only move away from there.
        let [scale, shift, mean, var] = [
            [0.25, -0.5, 0.5, -1.0],
            [0.5, -0.25, -0.5, 0.5],
            [0.0; 4],
            [1.0; 4],
        ]
        .map(|v| b.weight(&[4], v.to_vec()));
        let inputs = [at.as_str(), &scale, &shift, &mean, &var];
        at = b.node("BatchNormalization", &inputs, vec![]);
        at = b.node("Sign", &[&at], vec![]);
        let w = b.weight(&[3, 4, 1, 1], signs(12));
        let last = b.node("Conv", &[&at, &w], vec![]);
        assert_eq!(kept(&b.model(&[&last]), &a), [2, 3], "pooled: {pooled}");
    }
}
