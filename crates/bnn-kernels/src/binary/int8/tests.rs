//! RoundedGradient gradients against the definition, on integers.

use proptest::prelude::*;

use super::rounding::{round, scales, seed};
use super::*;
use crate::binary::Codes;
use crate::binary::weight_gradient::gradient_with;
use crate::float::{conv_backward_input, conv_backward_weight};
use crate::simd::Instructions;
use crate::testing::geometry;

/// Pseudo-random integers from 0 to `below`.
fn integers(count: usize, seed: u64, below: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    (0..count).map(next).collect()
}

fn ternary(count: usize, seed: u64) -> Vec<f32> {
    let values = integers(count, seed, 3).into_iter();
    values.map(|v| v as f32 - 1.0).collect()
}

/// What the gradients of one plane are rounded to, as numbers.
fn rounded(r: &RoundedGradient<'_>, n: usize, o: usize, (factor, unit): (f32, f32)) -> Vec<f32> {
    let mut q = vec![0; r.g.out_plane()];
    round(r.plane(n, o), factor, seed(n, o), &mut q);
    q.into_iter().map(|q| q as f32 * unit).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 96 }))]

    #[test]
    fn gradients_are_those_of_the_rounded_gradient(g in geometry(), s in any::<u64>()) {
        let taps = g.kernel[0] * g.kernel[1];
        let x = ternary(g.batch * g.channels * g.height * g.width, s);
        let signs = ternary(g.filters * g.channels * taps, s ^ 1);
        let signs: Vec<f32> = signs.into_iter().map(|v| if v < 0.0 { -1.0 } else { 1.0 }).collect();
        let codes = Codes::pack(&x, [g.batch, g.channels, g.height, g.width]).unwrap();
        let scale: Vec<f32> = integers(g.filters, s ^ 2, 5).iter().map(|v| *v as f32 - 2.0).collect();
        let grad: Vec<f32> = integers(g.batch * g.filters * g.out_plane(), s ^ 3, 2001)
            .iter()
            .map(|v| (*v as f32 - 1000.0) / 300.0)
            .collect();
        for instructions in Instructions::all() {
            let r = RoundedGradient::new(&g, &grad).unwrap();
            let planes = |n: usize| (0..g.filters).map(move |o| (n, o));
            let all = (0..g.batch).flat_map(planes);

            // Of the input: one factor for each image, and the filters' scales in it.
            let mut by_image = Vec::new();
            for (n, o) in all.clone() {
                let most = planes(n).map(|(n, o)| r.largest(n, o) * scale[o].abs()).fold(0.0, f32::max);
                let (factor, unit) = scales(most);
                by_image.extend(rounded(&r, n, o, (factor * scale[o], unit)));
            }
            let mut expected = vec![0.0; x.len()];
            conv_backward_input(&g, &by_image, &signs, &mut expected);
            let mut found = vec![f32::NAN; x.len()];
            let Some(table) = InputSigns::of(&g, &signs) else {
                continue;
            };
            r.input_gradient(&table.with(instructions), &scale, &mut found);
            for (a, b) in found.iter().zip(&expected) {
                prop_assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{instructions:?}: {a} {b}");
            }

            // Of the weights: one factor for each filter.
            let mut by_filter = Vec::new();
            for (n, o) in all {
                let most = (0..g.batch).map(|n| r.largest(n, o)).fold(0.0, f32::max);
                by_filter.extend(rounded(&r, n, o, scales(most)));
            }
            let mut expected = vec![0.0; signs.len()];
            conv_backward_weight(&g, &x, &by_filter, &mut expected);
            let mut found = vec![f32::NAN; signs.len()];
            let by_filter = weight_gradient::RoundedByFilter::new(&r);
            prop_assert!(gradient_with(&g, &codes, &by_filter, &mut found, instructions));
            for (a, b) in found.iter().zip(&expected) {
                prop_assert!((a - b).abs() <= 1e-3 * (1.0 + b.abs()), "{instructions:?}: {a} {b}");
            }
        }
    }
}

fn small() -> ConvGeometry {
    ConvGeometry {
        batch: 2,
        channels: 3,
        height: 2,
        width: 2,
        filters: 4,
        out_height: 2,
        out_width: 2,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
        groups: 1,
    }
}

#[test]
fn what_cannot_be_rounded_is_declined() {
    let mut grad = vec![0.5; 32];
    assert!(RoundedGradient::new(&small(), &grad).is_some());
    grad[7] = f32::NAN;
    assert!(RoundedGradient::new(&small(), &grad).is_none());
}

/// The gradients of input and weights, both all +1, with one scale.
fn of_ones(
    g: &ConvGeometry,
    grad: &[f32],
    scale: f32,
    instructions: Instructions,
) -> (Vec<f32>, Vec<f32>) {
    let shape = [g.batch, g.channels, g.height, g.width];
    let count = shape.iter().product();
    let weights = g.filters * g.channels * g.kernel[0] * g.kernel[1];
    let rounded = RoundedGradient::new(g, grad).unwrap();
    let (mut x, mut w) = (vec![f32::NAN; count], vec![f32::NAN; weights]);
    let signs = InputSigns::of(g, &vec![1.0; weights]).unwrap();
    rounded.input_gradient(&signs.with(instructions), &vec![scale; g.filters], &mut x);
    let codes = Codes::pack(&vec![1.0; count], shape).unwrap();
    let by_filter = weight_gradient::RoundedByFilter::new(&rounded);
    assert!(gradient_with(g, &codes, &by_filter, &mut w, instructions));
    (x, w)
}

#[test]
fn a_gradient_of_nothing_gives_nothing() {
    let g = small();
    let grad = vec![0.0; 32];
    let (x, w) = of_ones(&g, &grad, 0.0, Instructions::detect());
    assert!(x.iter().chain(&w).all(|&v| v == 0.0));
}

#[test]
fn sums_as_large_as_they_get_do_not_overflow() {
    // Everything has one sign, and is rounded to the largest number there is.
    let many = if cfg!(miri) { 60 } else { 700 };
    let g = ConvGeometry {
        batch: many / 4,
        filters: many,
        channels: 32,
        kernel: [1, 1],
        pad: [0, 0],
        ..small()
    };
    let grad = vec![1.0; g.batch * g.filters * 4];
    for instructions in Instructions::all() {
        let (x, w) = of_ones(&g, &grad, 1.0, instructions);
        // One in some millions is rounded down.
        let near = |a: &[f32], b: usize| a.iter().all(|a| (a / b as f32 - 1.0).abs() < 1e-4);
        assert!(near(&x, many), "{instructions:?}: {}", x[0]);
        assert!(near(&w, g.batch * 4), "{instructions:?}: {}", w[0]);
    }
}
