//! Convolutions by their definition, and numbers to compute with, for tests.

use proptest::prelude::*;

use crate::ConvGeometry;

/// Geometries of convolutions without groups.
pub(crate) fn geometry() -> impl Strategy<Value = ConvGeometry> {
    // Miri is some thousand times slower.
    let sizes = match cfg!(miri) {
        true => (1usize..5, 1usize..6, 1usize..5, 1usize..5, 1usize..8),
        false => (1usize..5, 1usize..20, 1usize..10, 1usize..10, 1usize..40),
    };
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

/// Geometries of convolutions with up to three groups.
pub(crate) fn grouped_geometry() -> impl Strategy<Value = ConvGeometry> {
    (geometry(), 1usize..4).prop_map(|(g, groups)| ConvGeometry {
        channels: g.channels * groups,
        filters: g.filters * groups,
        groups,
        ..g
    })
}

/// Pseudo-random numbers from -1 to 1.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % 2001) as f32 / 1000.0 - 1.0
    };
    (0..count).map(next).collect()
}

/// Calls `visit(filter, output, input, weight)` with their places for every product of a convolution whose
/// input lies inside of the image.
pub(crate) fn products(g: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let (area, channels) = (g.kernel[0] * g.kernel[1], g.channels / g.groups);
    for n in 0..g.batch {
        for o in 0..g.filters {
            let first = o / (g.filters / g.groups) * channels;
            for p in 0..g.out_plane() {
                let (y, x) = (p / g.out_width, p % g.out_width);
                for c in 0..channels {
                    for k in 0..area {
                        let (ky, kx) = (k / g.kernel[1], k % g.kernel[1]);
                        let iy = (y * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.pad[0]);
                        let ix = (x * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.pad[1]);
                        if iy < g.height && ix < g.width {
                            let out = (n * g.filters + o) * g.out_plane() + p;
                            let image = n * g.channels + first + c;
                            let input = (image * g.height + iy) * g.width + ix;
                            visit(o, out, input, (o * channels + c) * area + k);
                        }
                    }
                }
            }
        }
    }
}

/// Fails unless numbers are near what they should be.
pub(crate) fn near(found: &[f32], expected: &[f64], what: &str) -> Result<(), TestCaseError> {
    for (a, b) in found.iter().zip(expected) {
        let apart = (f64::from(*a) - b).abs();
        prop_assert!(apart <= 1e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
    Ok(())
}
