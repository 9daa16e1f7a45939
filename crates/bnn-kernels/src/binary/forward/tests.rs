//! Packed convolutions against float ones, on integers: the same numbers.

use proptest::prelude::*;

use super::convolution::{forward_codes_with, forward_scaled_with};
use crate::ConvGeometry;
use crate::binary::{Codes, PoolWindows, SignWeight, Thresholds, WeightStrides};
use crate::float::conv_forward;
use crate::simd::Instructions;

/// Values in {-1, 0, +1}, or ±1.
fn values(count: usize, seed: u64, zeros: bool) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    let value = |v: u64| match v % 7 {
        0 if zeros => 0.0,
        r => (r % 2) as f32 * 2.0 - 1.0,
    };
    (0..count).map(|_| value(next())).collect()
}

fn geometry() -> impl Strategy<Value = ConvGeometry> {
    let sizes = match cfg!(miri) {
        true => (1usize..3, 1usize..9, 1usize..4, 1usize..4, 1usize..36),
        false => (1usize..4, 1usize..40, 1usize..7, 1usize..7, 1usize..70),
    };
    let window = (
        (1usize..4, 1usize..4),
        (1usize..3, 1usize..3),
        (1usize..3, 1usize..3),
    );
    (
        sizes,
        window,
        (0usize..3, 0usize..3),
        (0usize..3, 0usize..3),
        1usize..4,
    )
        .prop_map(
            |((batch, channels, height, width, filters), (k, s, d), begin, end, groups)| {
                let groups = if groups == 3 { 2 } else { 1 };
                let (kernel, stride, dilation) = ([k.0, k.1], [s.0, s.1], [d.0, d.1]);
                let (pad, end, size) = ([begin.0, begin.1], [end.0, end.1], [height, width]);
                let out = [0, 1].map(|i| {
                    let extent = (kernel[i] - 1) * dilation[i] + 1;
                    ((size[i] + pad[i] + end[i]).saturating_sub(extent)) / stride[i] + 1
                });
                // PoolWindows that do not fit reach into zeros below and at the right.
                ConvGeometry {
                    batch,
                    channels: if groups == 2 {
                        channels.div_ceil(4) * 8
                    } else {
                        channels
                    },
                    height,
                    width,
                    filters: filters * groups,
                    out_height: out[0],
                    out_width: out[1],
                    kernel,
                    stride,
                    dilation,
                    pad,
                    groups,
                }
            },
        )
}

/// Input, weight, and the float convolution of both.
fn example(g: &ConvGeometry, seed: u64) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let x = values(g.batch * g.channels * g.height * g.width, seed, true);
    let area = g.kernel[0] * g.kernel[1];
    let weight = values(g.filters * g.channels / g.groups * area, seed + 1, false);
    let mut y = vec![0.0; g.batch * g.filters * g.out_plane()];
    conv_forward(g, &x, &weight, None, &mut y);
    (x, weight, y)
}

fn packed(g: &ConvGeometry, x: &[f32], weight: &[f32]) -> (Codes, SignWeight) {
    let area = g.kernel[0] * g.kernel[1];
    let strides = WeightStrides {
        filter: g.channels / g.groups * area,
        channel: area,
    };
    let codes = Codes::pack(x, [g.batch, g.channels, g.height, g.width]).unwrap();
    (codes, SignWeight::pack(weight, strides, g, false).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }) })]

    #[test]
    fn sums_are_those_of_the_float_convolution(g in geometry(), seed in 0u64..1000) {
        let (x, weight, y) = example(&g, seed);
        let (codes, signs) = packed(&g, &x, &weight);
        let scale: Vec<f32> = (0..g.filters).map(|f| 0.25 * (f as f32 - 3.0)).collect();
        let bias: Vec<f32> = (0..g.filters).map(|f| f as f32).collect();
        let plane = g.out_plane();
        let expected: Vec<f32> = y.iter().enumerate().map(|(i, y)| {
            let f = i / plane % g.filters;
            scale[f] * y + bias[f]
        }).collect();
        for instructions in Instructions::all() {
            let mut found = vec![f32::NAN; y.len()];
            forward_scaled_with(&g, &codes, &signs, &scale, &bias, &mut found, instructions);
            prop_assert_eq!(&found, &expected, "{:?}", instructions);
        }
    }

    #[test]
    fn thresholds_and_windows_are_exact(g in geometry(), seed in 0u64..1000, pooled: bool) {
        prop_assume!(g.groups == 1);
        let (x, weight, y) = example(&g, seed);
        let (codes, signs) = packed(&g, &x, &weight);
        let thresholds = Thresholds {
            direction: (0..g.filters).map(|f| if f % 3 == 0 { -1 } else { 1 }).collect(),
            not_negative: (0..g.filters).map(|f| f as i16 % 5 - 2).collect(),
            positive: (0..g.filters).map(|f| f as i16 % 5 - 2 + (f as i16 % 2)).collect(),
        };
        let halves = |n: usize| -> Vec<Vec<usize>> {
            (0..n.div_ceil(2)).map(|i| (2 * i..(2 * i + 2).min(n)).collect()).collect()
        };
        let singles = |n: usize| -> Vec<Vec<usize>> { (0..n).map(|i| vec![i]).collect() };
        let windows = match pooled {
            true => PoolWindows { rows: halves(g.out_height), columns: halves(g.out_width) },
            false => PoolWindows { rows: singles(g.out_height), columns: singles(g.out_width) },
        };
        let mut expected = Vec::new();
        for image in y.chunks(g.filters * g.out_plane()) {
            for (f, plane) in image.chunks(g.out_plane()).enumerate() {
                for rows in &windows.rows {
                    for columns in &windows.columns {
                        let each = rows.iter().flat_map(|y| columns.iter().map(move |x| (y, x)));
                        let most = each.map(|(y, x)| plane[y * g.out_width + x]).fold(f32::MIN, f32::max);
                        let u = most * f32::from(thresholds.direction[f]);
                        let zero = f32::from(thresholds.not_negative[f]);
                        let one = f32::from(thresholds.positive[f]);
                        expected.push(if u >= one { 1.0 } else if u >= zero { 0.0 } else { -1.0 });
                    }
                }
            }
        }
        for instructions in Instructions::all() {
            let windows = pooled.then_some(&windows);
            let found = forward_codes_with(&g, &codes, &signs, windows, &thresholds, instructions);
            prop_assert_eq!(found.unpack(), &expected[..], "{:?}", instructions);
        }
    }
}

#[test]
fn a_zero_weight_has_no_sign() {
    let g = ConvGeometry {
        batch: 1,
        channels: 1,
        height: 1,
        width: 1,
        filters: 2,
        out_height: 1,
        out_width: 1,
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
        groups: 1,
    };
    let strides = WeightStrides {
        filter: 1,
        channel: 1,
    };
    assert!(SignWeight::pack(&[1.0, 0.0], strides, &g, true).is_some());
    for w in [0.0, f32::NAN] {
        assert!(SignWeight::pack(&[1.0, w], strides, &g, false).is_none());
    }
}

#[test]
fn sums_as_large_as_they_get_are_exact() {
    // Each step adds 4 to a sum of bytes, or -4: one step too many in it overflows.
    let most = if cfg!(miri) { 128 } else { 1000 };
    for channels in [124, 128, 252, 256, 1000]
        .into_iter()
        .filter(|&c| c <= most)
    {
        let g = ConvGeometry {
            batch: 1,
            channels,
            height: 2,
            width: 3,
            filters: 40,
            out_height: 2,
            out_width: 3,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
            groups: 1,
        };
        for sign in [1.0, -1.0] {
            let (x, weight) = (vec![sign; channels * 6], vec![1.0; 40 * channels]);
            let (codes, signs) = packed(&g, &x, &weight);
            for instructions in Instructions::all() {
                let mut found = vec![f32::NAN; 240];
                let (ones, zeros) = ([1.0; 40], [0.0; 40]);
                forward_scaled_with(&g, &codes, &signs, &ones, &zeros, &mut found, instructions);
                let expected = sign * channels as f32;
                assert!(found.iter().all(|&y| y == expected), "{instructions:?}");
            }
        }
    }
}
