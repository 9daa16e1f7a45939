//! Every level against the definition.

use proptest::prelude::*;

use super::*;

/// The same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    /// -1, 0 (one in `zeros`, if any) and +1.
    fn signs(&mut self, count: usize, zeros: u64) -> Vec<f32> {
        let mut sign = || match self.next() {
            n if zeros > 0 && n % zeros == 0 => 0.0,
            n if n & 256 == 0 => -1.0,
            _ => 1.0,
        };
        (0..count).map(|_| sign()).collect()
    }
}

/// Floats `[N, C, plane]` as bits.
fn packed(x: &[f32], shape: [usize; 3], (thresholds, at): (&[f32], i8)) -> (Vec<u8>, usize) {
    let bytes = bytes_of(shape[1]);
    let mut planes = [(); 2].map(|()| vec![0xAA; shape[0] * shape[2] * bytes]);
    let [signs, nonzero] = &mut planes;
    let packing = Packing::signs(x, shape, thresholds, at, signs);
    (0..packing.tasks()).for_each(|task| packing.run(task));
    let zeros = packing.has_zeros();
    let packing = Packing::nonzero(x, shape, thresholds, nonzero);
    (0..packing.tasks()).for_each(|task| packing.run(task));
    match zeros {
        false => (planes[0].clone(), 1),
        true => (interleave(&planes[0], &planes[1], bytes), 2),
    }
}

fn weight_bits(w: &[f32], g: &BitGeometry) -> Vec<u8> {
    let area = g.kernel[0] * g.kernel[1];
    packed(w, [g.filters, g.channels, area], (&[0.0], 1)).0
}

/// The sums, `[N, O, OH, OW]`.
fn sums(
    x: &[f32],
    w: &[f32],
    g: &BitGeometry,
    [n, h, wi]: [usize; 3],
    out: [usize; 2],
) -> Vec<i32> {
    let mut sums = Vec::new();
    for image in 0..n {
        for f in 0..g.filters {
            for o in 0..out[0] * out[1] {
                let mut sum = 0.0;
                for c in 0..g.channels {
                    for k in 0..g.kernel[0] * g.kernel[1] {
                        let at = |i: usize, o: usize, k: usize| {
                            (o * g.stride[i] + k * g.dilation[i]).checked_sub(g.pads[i])
                        };
                        let y = at(0, o / out[1], k / g.kernel[1]).filter(|&y| y < h);
                        let x0 = at(1, o % out[1], k % g.kernel[1]).filter(|&x| x < wi);
                        if let (Some(y), Some(x0)) = (y, x0) {
                            let area = g.kernel[0] * g.kernel[1];
                            sum += x[((image * g.channels + c) * h + y) * wi + x0]
                                * w[(f * g.channels + c) * area + k];
                        }
                    }
                }
                sums.push(sum as i32);
            }
        }
    }
    sums
}

fn geometry() -> impl Strategy<Value = (BitGeometry, [usize; 3])> {
    let sizes = (
        1..70usize,
        1..40usize,
        [1..4usize, 1..6],
        [1..3usize, 1..3],
        [1..3usize, 1..3],
    );
    (
        sizes,
        [0..3usize, 0..3, 0..3, 0..3],
        [1..4usize, 1..9, 1..9],
    )
        .prop_map(
            |((channels, filters, kernel, stride, dilation), pads, size)| {
                let g = BitGeometry {
                    channels,
                    filters,
                    kernel,
                    stride,
                    dilation,
                    pads,
                };
                (g, size)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    #[test]
    fn signs_and_floats_are_those_of_the_sums(
        (g, [n, h, w]) in geometry(),
        zeros in prop::sample::select(vec![0u64, 3, 200]),
        seed in any::<u64>(),
    ) {
        let Some(out) = g.out_size([h, w]) else { return Ok(()) };
        let mut numbers = Numbers(seed);
        let x = numbers.signs(n * g.channels * h * w, zeros);
        let weight = numbers.signs(g.filters * g.channels * g.kernel[0] * g.kernel[1], 0);
        let (bytes, planes) = packed(&x, [n, g.channels, h * w], (&[0.0], 0));
        let bits = Bits { bytes: &bytes, batch: n, height: h, width: w, channels: g.channels, planes };
        let conv = BitConv::new(g, &weight_bits(&weight, &g)).expect("sizes fit");
        let sums = sums(&x, &weight, &g, [n, h, w], out);
        let thresholds: Vec<i32> = (0..g.filters).map(|_| (numbers.next() % 21) as i32 - 10).collect();
        let affine = Affine {
            divisor: Some((0..g.filters).map(|f| 1.0 + f as f32 / 7.0).collect()),
            bias: (seed & 1 == 0).then(|| vec![0.3; g.filters]),
            factor: Some((0..g.filters).map(|f| f as f32 - 3.0).collect()),
            shift: Some(vec![0.7; g.filters]),
        };
        let plane = out[0] * out[1];
        let residual = numbers.signs(sums.len(), 5);
        let floats: Vec<f32> = sums.iter().enumerate().map(|(i, &s)| {
            let f = i / plane % g.filters;
            let number = |of: &Option<Vec<f32>>| of.as_ref().map(|v| v[f]);
            let y = s as f32 / number(&affine.divisor).unwrap();
            let y = y + number(&affine.bias).unwrap_or(0.0);
            y * number(&affine.factor).unwrap() + number(&affine.shift).unwrap() + residual[i]
        }).collect();
        let above: Vec<f32> = sums.iter().enumerate().map(|(i, &s)| {
            if s >= thresholds[i / plane % g.filters] { 1.0 } else { -1.0 }
        }).collect();
        for level in Level::all() {
            let job = Job::with(&conv, bits, level).expect("channels fit");
            prop_assert_eq!(job.out_size(), out);
            let mut signs = vec![0xAA; job.sign_bytes()];
            let to = job.signs_to(&thresholds, &mut signs);
            (0..job.sign_tasks()).for_each(|task| job.signs(task, &to));
            let shape = [n, g.filters, plane];
            prop_assert_eq!(&signs, &packed(&above, shape, (&[0.0], 1)).0, "{}", level.name());

            let mut y = vec![f32::NAN; floats.len()];
            let mut plus = vec![0xAA; job.sign_bytes()];
            let to = Floats::new(&affine, Some(&residual), &mut y).with_signs(&mut plus);
            (0..job.float_tasks()).for_each(|task| job.floats(task, &to));
            let zeros = to.has_zeros();
            prop_assert_eq!(&y, &floats, "{}", level.name());
            let (wanted, planes) = packed(&floats, shape, (&[0.0], 0));
            prop_assert_eq!(zeros, planes == 2);
            if !zeros {
                prop_assert_eq!(plus, wanted, "{}", level.name());
            } else {
                let pixels = wanted.chunks_exact(2 * bytes_of(g.filters));
                let signs: Vec<u8> = pixels.flat_map(|p| p[..p.len() / 2].to_vec()).collect();
                prop_assert_eq!(plus, signs, "{}", level.name());
            }
        }
    }

    #[test]
    fn bits_are_unpacked_as_they_were(
        shape in [1..4usize, 1..40, 1..150],
        zeros in prop::sample::select(vec![0u64, 3]),
        at in -1..=1i8,
        seed in any::<u64>(),
    ) {
        let [batch, channels, width] = shape;
        let x = Numbers(seed).signs(batch * channels * width, zeros);
        let thresholds: Vec<f32> = (0..channels).map(|c| (c % 3) as f32 - 1.0).collect();
        let (bytes, planes) = packed(&x, shape, (&thresholds, at));
        let bits = Bits { bytes: &bytes, batch, height: 1, width, channels, planes };
        let mut y = vec![f32::NAN; x.len()];
        unpack(&bits, &mut y);
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            let t = thresholds[i / width % channels];
            let wanted = if x == &t { f32::from(at) } else { (x - t).signum() };
            prop_assert_eq!(wanted, y);
        }
    }

    #[test]
    fn pooling_takes_the_largest(
        (g, [n, h, w]) in geometry(),
        zeros in prop::sample::select(vec![0u64, 2]),
        seed in any::<u64>(),
    ) {
        let pads = [0, 1, 2, 3].map(|i| g.pads[i].min(g.kernel[i % 2] - 1).min(h.min(w) - 1));
        let g = BitGeometry { pads, dilation: [1, 1], ..g };
        let Some(out) = g.out_size([h, w]) else { return Ok(()) };
        let x = Numbers(seed).signs(n * g.channels * h * w, zeros);
        let (bytes, planes) = packed(&x, [n, g.channels, h * w], (&[0.0], 0));
        let bits = Bits { bytes: &bytes, batch: n, height: h, width: w, channels: g.channels, planes };
        let pool = BitPool { kernel: g.kernel, stride: g.stride, dilation: g.dilation, pads };
        let turned: Vec<f32> = Numbers(seed ^ 1).signs(g.channels, 0);
        let turned_bits = packed(&turned, [1, g.channels, 1], (&[0.0], 1)).0;
        let mut pooled = vec![0xAA; n * out[0] * out[1] * planes * bytes_of(g.channels)];
        pool.run(&bits, out, Some(&turned_bits), &mut pooled);
        let pooled = Bits { bytes: &pooled, height: out[0], width: out[1], ..bits };
        let mut y = vec![f32::NAN; n * g.channels * out[0] * out[1]];
        unpack(&pooled, &mut y);
        for (i, y) in y.into_iter().enumerate() {
            let (o, c) = (i % (out[0] * out[1]), i / (out[0] * out[1]));
            let mut most = f32::NEG_INFINITY;
            for k in 0..g.kernel[0] * g.kernel[1] {
                let y = (o / out[1] * g.stride[0] + k / g.kernel[1]).checked_sub(pads[0]);
                let x0 = (o % out[1] * g.stride[1] + k % g.kernel[1]).checked_sub(pads[1]);
                if let (Some(y), Some(x0)) = (y.filter(|&y| y < h), x0.filter(|&x| x < w)) {
                    most = most.max(x[(c * h + y) * w + x0]);
                }
            }
            prop_assert_eq!(y, if turned[c % g.channels] > 0.0 { -most } else { most });
        }
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let g = BitGeometry {
        channels: 8,
        filters: 2,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0; 4],
    };
    assert!(BitConv::new(g, &[0; 18]).is_some());
    assert!(BitConv::new(g, &[0; 17]).is_none());
    for wrong in [
        BitGeometry { channels: 0, ..g },
        BitGeometry { filters: 0, ..g },
        BitGeometry {
            kernel: [0, 3],
            ..g
        },
        BitGeometry {
            stride: [1, 0],
            ..g
        },
        BitGeometry {
            dilation: [1, 0],
            ..g
        },
        BitGeometry {
            stride: [usize::MAX, 1],
            ..g
        },
        BitGeometry {
            kernel: [usize::MAX, 3],
            ..g
        },
        BitGeometry {
            pads: [usize::MAX, 0, 0, 0],
            ..g
        },
    ] {
        assert!(
            !wrong.is_supported() && BitConv::new(wrong, &[0; 18]).is_none(),
            "{wrong:?}"
        );
    }
    assert_eq!(g.out_size([2, 5]), None);
    assert_eq!(g.out_size([usize::MAX, 5]), None);
    assert_eq!(g.out_size([3, 5]), Some([1, 3]));
}

/// What ThreadSanitizer is to look at.
#[test]
fn tasks_run_on_many_threads_at_once() {
    let g = BitGeometry {
        channels: 40,
        filters: 50,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [1; 4],
    };
    // So many that there are several tasks; less under Miri.
    let (batch, side) = if cfg!(miri) { (1, 4) } else { (16, 40) };
    let mut numbers = Numbers(1);
    let x = numbers.signs(batch * g.channels * side * side, 9);
    let weight = numbers.signs(g.filters * g.channels * 9, 0);
    let (bytes, planes) = packed(&x, [batch, g.channels, side * side], (&[0.0], 0));
    let bits = Bits {
        bytes: &bytes,
        batch,
        height: side,
        width: side,
        channels: g.channels,
        planes,
    };
    let conv = BitConv::new(g, &weight_bits(&weight, &g)).expect("sizes fit");
    let job = Job::new(&conv, bits).expect("channels fit");
    let affine = Affine::default();
    let run = |threads: usize| {
        let mut signs = vec![0xAA; job.sign_bytes()];
        let mut y = vec![f32::NAN; job.floats_len()];
        let mut of_floats = vec![0xAA; job.sign_bytes()];
        let mut of_input = vec![0xAA; bytes.len() / planes];
        let to = job.signs_to(&vec![2; g.filters], &mut signs);
        let floats = Floats::new(&affine, None, &mut y).with_signs(&mut of_floats);
        let shape = [batch, g.channels, side * side];
        let packing = Packing::signs(&x, shape, &[0.0], 0, &mut of_input);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (job, to, floats, packing) = (&job, &to, &floats, &packing);
                scope.spawn(move || {
                    let mine = |tasks| (thread..tasks).step_by(threads);
                    mine(job.sign_tasks()).for_each(|task| job.signs(task, to));
                    mine(job.float_tasks()).for_each(|task| job.floats(task, floats));
                    mine(packing.tasks()).for_each(|task| packing.run(task));
                });
            }
        });
        assert!(packing.has_zeros());
        (signs, y, of_floats, of_input)
    };
    assert!(cfg!(miri) || job.sign_tasks() > 3 && job.float_tasks() > 3);
    assert_eq!(run(1), run(4));
}

#[test]
#[should_panic(expected = "each task is computed once")]
fn no_task_writes_twice() {
    let mut signs = [0; 1];
    let packing = Packing::signs(&[1.0], [1, 1, 1], &[0.0], 1, &mut signs);
    packing.run(0);
    packing.run(0);
}

#[test]
#[should_panic(expected = "an output is of one job")]
fn jobs_that_are_cut_in_another_way_do_not_share_an_output() {
    let g = BitGeometry {
        channels: 8,
        filters: 8,
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0; 4],
    };
    let conv = BitConv::new(g, &[0; 8]).expect("sizes fit");
    let bytes = [0; 64];
    let of = |height: usize, width: usize, batch: usize| {
        let bits = Bits {
            bytes: &bytes,
            batch,
            height,
            width,
            channels: 8,
            planes: 1,
        };
        Job::new(&conv, bits).expect("channels fit")
    };
    // As many signs.
    let (one, two) = (of(8, 8, 1), of(4, 8, 2));
    let mut out = [0; 64];
    let to = one.signs_to(&[0; 8], &mut out);
    one.signs(0, &to);
    two.signs(0, &to);
}
