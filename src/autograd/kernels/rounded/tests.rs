//! Rounded gradients against the definition, on integers.

use proptest::prelude::*;

use super::super::panel::Panel;
use super::round::{round, scales, seed};
use super::tile::{LANES, Signed};
use super::*;
use crate::autograd::kernels::packed::Codes;
use crate::autograd::kernels::{Activations, conv_backward_input, conv_backward_weight};

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

fn geometry() -> impl Strategy<Value = ConvGeometry> {
    let sizes = match cfg!(miri) {
        true => (1usize..3, 1usize..8, 1usize..4, 1usize..4, 1usize..20),
        false => (1usize..5, 1usize..20, 1usize..9, 1usize..9, 1usize..70),
    };
    let window = (1usize..4, 1usize..4, 1usize..3, 1usize..3);
    (sizes, window, [0usize..4, 0..4, 0..4, 0..4]).prop_map(|(s, (kh, kw, dh, dw), pads)| {
        let (batch, channels, height, width, filters) = s;
        let out = |size: usize, pads: usize, k: usize, d: usize| {
            // Windows that do not fit reach into zeros below and at the right.
            (size + pads).saturating_sub((k - 1) * d + 1) + 1
        };
        ConvGeometry {
            batch,
            channels,
            height,
            width,
            filters,
            out_height: out(height, pads[0] + pads[2], kh, dh),
            out_width: out(width, pads[1] + pads[3], kw, dw),
            kernel: [kh, kw],
            stride: [1, 1],
            dilation: [dh, dw],
            pad: [pads[0], pads[1]],
            groups: 1,
        }
    })
}

/// What the gradients of one plane are rounded to, as numbers.
fn rounded(r: &Rounded<'_>, n: usize, o: usize, (factor, unit): (f32, f32)) -> Vec<f32> {
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
        let scale: Vec<f32> = integers(g.filters, s ^ 2, 5).iter().map(|v| *v as f32 - 2.0).collect();
        let grad: Vec<f32> = integers(g.batch * g.filters * g.out_plane(), s ^ 3, 2001)
            .iter()
            .map(|v| (*v as f32 - 1000.0) / 300.0)
            .collect();
        for instructions in Instructions::all() {
            let mut r = Rounded::new(&g, &grad).unwrap();
            r.instructions = instructions;
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
            r.input(&SignBytes::new(&g, &signs), &scale, &mut found);
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
            prop_assert!(r.weight(Activations::Floats(&x), &mut found));
            let codes = Codes::pack(&x, [g.batch, g.channels, g.height, g.width]).unwrap();
            let mut of_codes = vec![f32::NAN; signs.len()];
            prop_assert!(r.weight(Activations::Codes(&codes), &mut of_codes));
            prop_assert_eq!(&found, &of_codes);
            for (a, b) in found.iter().zip(&expected) {
                prop_assert!((a - b).abs() <= 1e-3 * (1.0 + b.abs()), "{instructions:?}: {a} {b}");
            }
        }
    }

    #[test]
    fn tiles_are_the_same_with_all_instructions(
        s in any::<u64>(), rows in 1usize..30, lanes in 1usize..40, steps in 0usize..300, of_left: bool,
    ) {
        // Signed bytes at their limits; the others at most 2.
        let signed = |count: usize, seed: u64| -> Vec<u8> {
            integers(count, seed, 3).iter().map(|&v| [0x81, 0x7f, 5][v as usize]).collect()
        };
        let small = |count: usize, seed: u64| -> Vec<u8> {
            integers(count, seed, 3).iter().map(|&v| v as u8).collect()
        };
        let mut panel = Panel::default();
        panel.resize(steps, lanes);
        let words = steps * lanes.next_multiple_of(LANES);
        let (left, right) = match of_left {
            true => (signed(2000, s), small(4 * words, s ^ 1)),
            false => (small(2000, s), signed(4 * words, s ^ 1)),
        };
        let mut right = right.chunks_exact(4);
        for word in panel.blocks_mut().flatten() {
            let four = right.next().unwrap();
            *word = u32::from_le_bytes(four.try_into().unwrap());
        }
        let offsets: Vec<u32> = integers(steps, s ^ 2, 1000).iter().map(|&o| o as u32).collect();
        let rows: Vec<usize> = integers(rows, s ^ 3, 996).iter().map(|&r| r as usize).collect();
        let which = if of_left { Signed::Left } else { Signed::Right };
        let run = |instructions: Instructions| {
            let mut out = vec![7; rows.len() * lanes.next_multiple_of(LANES)];
            instructions.add(which, (&left, &rows, &offsets), &panel, &mut out);
            out
        };
        let expected = run(Instructions::Portable);
        for instructions in Instructions::all() {
            prop_assert_eq!(&run(instructions), &expected, "{:?}", instructions);
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
    let g = small();
    let mut grad = vec![0.5; 32];
    assert!(
        Rounded::new(
            &ConvGeometry {
                stride: [2, 1],
                ..g
            },
            &grad
        )
        .is_none()
    );
    assert!(Rounded::new(&ConvGeometry { groups: 2, ..g }, &grad).is_none());
    let rounded = Rounded::new(&g, &grad).unwrap();
    assert!(!rounded.weight(Activations::Floats(&[0.5; 24]), &mut [0.0; 108]));
    grad[7] = f32::NAN;
    assert!(Rounded::new(&g, &grad).is_none());
}

#[test]
fn a_gradient_of_nothing_gives_nothing() {
    let g = small();
    let grad = vec![0.0; 32];
    let rounded = Rounded::new(&g, &grad).unwrap();
    let (mut x, mut w) = (vec![f32::NAN; 24], vec![f32::NAN; 108]);
    rounded.input(&SignBytes::new(&g, &[1.0; 108]), &[0.0; 4], &mut x);
    assert!(rounded.weight(Activations::Floats(&[1.0; 24]), &mut w));
    assert!(x.iter().chain(&w).all(|&v| v == 0.0));
}
