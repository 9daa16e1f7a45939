//! Against the definition, on all instructions.

use proptest::prelude::*;

use super::tile::Instructions;
use super::weight::backward_weight_with;
use super::*;
use crate::autograd::kernels::Activations;
use crate::autograd::kernels::packed::Codes;

fn geometry() -> impl Strategy<Value = ConvGeometry> {
    let sizes = (1usize..5, 1usize..20, 1usize..10, 1usize..10, 1usize..40);
    let window = (1usize..4, 1usize..4, [1usize..3, 1..3], [1usize..3, 1..3]);
    (sizes, window, [0usize..4, 0..4, 0..4, 0..4]).prop_map(|(s, (kh, kw, stride, d), pads)| {
        let (batch, channels, height, width, filters) = s;
        let out = |i: usize, size: usize, k: usize| {
            (size + pads[i] + pads[i + 2]).saturating_sub((k - 1) * d[i] + 1) / stride[i] + 1
        };
        ConvGeometry {
            batch,
            channels,
            height,
            width,
            filters,
            out_height: out(0, height, kh),
            out_width: out(1, width, kw),
            kernel: [kh, kw],
            stride,
            dilation: d,
            pad: [pads[0], pads[1]],
            groups: 1,
        }
    })
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % 2001) as f32 / 1000.0 - 1.0
    };
    (0..count).map(next).collect()
}

/// `visit(image and filter, output, input if it is inside, weight)` for every product.
fn products(g: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    for n in 0..g.batch {
        for o in 0..g.filters {
            for p in 0..g.out_plane() {
                let (y, x) = (p / g.out_width, p % g.out_width);
                for c in 0..g.channels {
                    for k in 0..g.kernel[0] * g.kernel[1] {
                        let (ky, kx) = (k / g.kernel[1], k % g.kernel[1]);
                        let iy = (y * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.pad[0]);
                        let ix = (x * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.pad[1]);
                        if iy < g.height && ix < g.width {
                            let out = (n * g.filters + o) * g.out_plane() + p;
                            let input = ((n * g.channels + c) * g.height + iy) * g.width + ix;
                            let area = g.kernel[0] * g.kernel[1];
                            visit(o, out, input, (o * g.channels + c) * area + k);
                        }
                    }
                }
            }
        }
    }
}

fn near(found: &[f32], expected: &[f64], what: &str) -> Result<(), TestCaseError> {
    for (a, b) in found.iter().zip(expected) {
        let apart = (f64::from(*a) - b).abs();
        prop_assert!(apart <= 1e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 96 }))]

    #[test]
    fn codes_give_what_their_values_give(g in geometry(), s in any::<u64>()) {
        prop_assume!(usable(&g));
        let x = numbers(g.batch * g.channels * g.height * g.width, s);
        let x: Vec<f32> = x.into_iter().map(|v| (2.0 * v).trunc().clamp(-1.0, 1.0)).collect();
        let grad = numbers(g.batch * g.filters * g.out_plane(), s ^ 3);
        let codes = Codes::pack(&x, [g.batch, g.channels, g.height, g.width]).unwrap();
        let mut found = vec![f32::NAN; g.filters * g.channels * g.kernel[0] * g.kernel[1]];
        let mut expected = found.clone();
        prop_assert!(binary_weight(&g, &codes, &grad, &mut found));
        backward_weight(&g, &x, &grad, &mut expected);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn all_three_are_the_definition(g in geometry(), s in any::<u64>()) {
        prop_assume!(usable(&g));
        let x = numbers(g.batch * g.channels * g.height * g.width, s);
        let w = numbers(g.filters * g.channels * g.kernel[0] * g.kernel[1], s ^ 1);
        let bias = numbers(g.filters, s ^ 2);
        let grad = numbers(g.batch * g.filters * g.out_plane(), s ^ 3);
        let mut y: Vec<f64> = (0..grad.len())
            .map(|i| f64::from(bias[i / g.out_plane() % g.filters]))
            .collect();
        let (mut grad_x, mut grad_w) = (vec![0f64; x.len()], vec![0f64; w.len()]);
        products(&g, |_, out, input, weight| {
            let (a, b, d) = (f64::from(x[input]), f64::from(w[weight]), f64::from(grad[out]));
            y[out] += a * b;
            grad_x[input] += d * b;
            grad_w[weight] += d * a;
        });
        for instructions in Instructions::all() {
            let mut found = vec![f32::NAN; y.len()];
            let weights = OutputWeights::new(&g, &w).unwrap();
            weights.output_with(&g, (&x, Some(&bias)), &mut found, instructions);
            near(&found, &y, "output")?;
            let mut found = vec![f32::NAN; w.len()];
            backward_weight_with(&g, Activations::Floats(&x), &grad, &mut found, instructions);
            near(&found, &grad_w, "weight")?;
            if let Some(weights) = InputWeights::new(&g, &w) {
                let mut found = vec![f32::NAN; x.len()];
                weights.gradient_with(&g, &grad, &mut found, instructions);
                near(&found, &grad_x, "input")?;
            }
        }
    }
}
