//! Chains against one function after another, and their gradients against differences of the definition.

use proptest::prelude::*;

use super::*;
use crate::binary::Sums;
use crate::testing::numbers;

/// A map that says or hides that there are loops for it.
struct Plain {
    function: KnownMap,
    told: bool,
}

impl ElementwiseMap for Plain {
    fn forward(&self, _: usize, x: &mut [f32]) {
        x.iter_mut().for_each(|x| {
            *x = match self.function {
                KnownMap::Relu => Relu.forward(*x),
                KnownMap::Sign(step) => step.forward(*x),
                KnownMap::Identity => *x,
                KnownMap::Zero => 0.0,
            }
        });
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        x.iter().zip(grad).for_each(|(x, grad)| {
            *grad = match self.function {
                KnownMap::Relu => Relu.backward(*x, *grad),
                KnownMap::Sign(step) => step.backward(*x, *grad),
                KnownMap::Identity => *grad,
                KnownMap::Zero => 0.0,
            }
        });
    }

    fn known(&self, _: usize) -> Option<KnownMap> {
        self.told.then_some(self.function)
    }
}

/// Parameters of a normalisation of three channels.
struct Parameters([Vec<f32>; 4]);

const CHANNELS: usize = 3;

impl Parameters {
    fn new(seed: u64) -> Self {
        let of = |k: u64| numbers(CHANNELS, seed ^ k);
        let variance = of(4).iter().map(|v| v.abs() + 0.25).collect();
        Self([of(1), of(2), of(3), variance])
    }

    fn normalization(&self) -> Normalization<'_> {
        let Self([gamma, beta, mean, variance]) = self;
        Normalization {
            epsilon: 1e-3,
            gamma,
            beta,
            mean,
            variance,
        }
    }
}

/// ReLU if wanted, a normalisation if wanted, a sign if wanted, a mask if wanted.
fn chain<'a>(
    parts: [bool; 4],
    normalization: Normalization<'a>,
    mask: bool,
    told: bool,
) -> ElementwiseChain<'a> {
    let mut chain = ElementwiseChain::default();
    let map = |function| Box::new(Plain { function, told });
    if parts[0] {
        chain.push(map(KnownMap::Relu));
    }
    chain.normalization = parts[1].then_some(normalization);
    if parts[2] {
        chain.push(map(KnownMap::Sign(SignStep {
            values: [-1.0, 0.0, 1.0],
            threshold: 0.125,
        })));
    }
    if parts[3] {
        chain.push(map(if mask {
            KnownMap::Zero
        } else {
            KnownMap::Identity
        }));
    }
    chain
}

/// Gradients of 0 may have either sign.
fn unsigned_zeros(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| (x + 0.0).to_bits()).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

    #[test]
    fn loops_made_for_a_chain_give_the_bits_of_its_maps(
        (batch, height, width) in (1usize..4, 1usize..5, 1usize..8),
        parts: [bool; 4],
        batch_statistics: bool,
        mask: bool,
        of_sums: bool,
        seed in any::<u64>(),
    ) {
        let shape = [batch, CHANNELS, height, width];
        let count = shape.iter().product();
        let parameters = Parameters::new(seed);
        let floats = numbers(count, seed ^ 5);
        let sums = Sums {
            sums: floats.iter().map(|v| (v * 40.0) as i16).collect(),
            shape: shape.to_vec(),
            scale: numbers(CHANNELS, seed ^ 6),
            bias: numbers(CHANNELS, seed ^ 7),
        };
        let x = match of_sums {
            true => Source::Sums(&sums),
            false => Source::Floats(&floats),
        };
        let as_floats = if of_sums { sums.to_floats() } else { floats.clone() };
        let [told, hidden] = [true, false]
            .map(|told| chain(parts, parameters.normalization(), mask, told));

        let statistics = (parts[1] && batch_statistics).then(|| {
            ChannelStatistics::of_parts(&[hidden.moments(Source::Floats(&as_floats), &shape)])
        });
        let batch = statistics.as_ref();
        let expected = hidden.forward(Source::Floats(&as_floats), &shape, batch);
        for chain in [&told, &hidden] {
            if let Some(statistics) = batch {
                let measured = ChannelStatistics::of_parts(&[chain.moments(x, &shape)]);
                prop_assert_eq!(&measured, statistics);
            }
            prop_assert_eq!(bits(&chain.forward(x, &shape, batch)), bits(&expected));
            let codes = chain.forward_codes(x, shape, batch);
            let ternary = expected.iter().all(|v| [-1.0, 0.0, 1.0].contains(v));
            prop_assert_eq!(codes.is_some(), ternary);
            if let Some(codes) = codes {
                prop_assert_eq!(codes.unpack(), expected.iter().map(|v| v + 0.0).collect::<Vec<_>>());
            }
        }
        for wanted in 0..8 {
            let wanted = WantedGradients {
                input: wanted & 1 > 0,
                normalization: wanted & 2 > 0,
                mask: wanted & 4 > 0 && parts[3],
            };
            let of = |chain: &ElementwiseChain<'_>, x| {
                let mut grad = numbers(count, seed ^ 8);
                let found = backward(chain, (x, &shape), batch, &mut grad, wanted);
                (wanted.input.then(|| unsigned_zeros(&grad)), found.normalization, found.mask)
            };
            let expected = of(&hidden, Source::Floats(&as_floats));
            prop_assert_eq!(&of(&told, x), &expected);
            prop_assert_eq!(&of(&hidden, x), &expected);
        }
    }
}

/// All the way back, for a batch of one part.
fn backward(
    chain: &ElementwiseChain<'_>,
    (x, shape): (Source<'_>, &[usize]),
    batch: Option<&ChannelStatistics>,
    grad: &mut [f32],
    wanted: WantedGradients,
) -> ParameterGradients {
    let Some(batch) = batch else {
        return chain.backward(x, shape, grad, wanted);
    };
    let found = chain.backward_to_normalization(x, shape, batch, grad, wanted.mask);
    if wanted.input {
        chain.backward_from_normalization(x, shape, batch, &found.normalization, grad);
    }
    found
}

#[test]
fn parts_give_the_statistics_and_gradients_of_the_whole_batch() {
    let shape = [5, CHANNELS, 2, 5];
    let row: usize = shape[1..].iter().product();
    // Far from 0, where sums of squares would cancel.
    let x: Vec<f32> = numbers(5 * row, 1).iter().map(|v| v + 300.0).collect();
    let parameters = Parameters::new(3);
    let chain = ElementwiseChain {
        before: Vec::new(),
        normalization: Some(parameters.normalization()),
        after: vec![Box::new(Parabola)],
    };
    let source = Source::Floats;
    let whole = ChannelStatistics::of_parts(&[chain.moments(source(&x), &shape)]);
    let rows = [0..2, 2..3, 3..5];
    let shapes = rows.clone().map(|r| [r.len(), CHANNELS, 2, 5]);
    let part = |x: &[f32], k: usize| x[rows[k].start * row..rows[k].end * row].to_vec();
    let xs = [0, 1, 2].map(|k| part(&x, k));
    let moments = [0, 1, 2].map(|k| chain.moments(source(&xs[k]), &shapes[k]));
    let pooled = ChannelStatistics::of_parts(&moments);
    assert_eq!(pooled.count, whole.count);
    for c in 0..CHANNELS {
        assert!((pooled.mean[c] - whole.mean[c]).abs() < 1e-4);
        assert!((pooled.variance[c] / whole.variance[c] - 1.0).abs() < 1e-4);
    }
    let mut grad = numbers(5 * row, 2);
    let mut grads = [0, 1, 2].map(|k| part(&grad, k));
    let found = chain.backward_to_normalization(source(&x), &shape, &whole, &mut grad, false);
    let sums = &found.normalization;
    chain.backward_from_normalization(source(&x), &shape, &whole, sums, &mut grad);
    let mut total = vec![[0.0; 2]; CHANNELS];
    for k in 0..3 {
        let x = source(&xs[k]);
        let of_part = chain.backward_to_normalization(x, &shapes[k], &whole, &mut grads[k], false);
        for (total, part) in total.iter_mut().zip(of_part.normalization) {
            (0..2).for_each(|i| total[i] += part[i]);
        }
    }
    for k in 0..3 {
        let x = source(&xs[k]);
        chain.backward_from_normalization(x, &shapes[k], &whole, &total, &mut grads[k]);
    }
    assert!(
        (grads.concat().iter().zip(&grad)).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()))
    );
}

/// A smooth map: x² / 2 + x.
struct Parabola;

impl ElementwiseMap for Parabola {
    fn forward(&self, _: usize, x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x = 0.5 * *x * *x + *x);
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        x.iter().zip(grad).for_each(|(x, grad)| *grad *= x + 1.0);
    }
}

/// A factor for each channel.
struct Factors([f32; CHANNELS]);

impl ElementwiseMap for Factors {
    fn channels(&self) -> Option<usize> {
        Some(CHANNELS)
    }

    fn forward(&self, channel: usize, x: &mut [f32]) {
        x.iter_mut().for_each(|x| *x *= self.0[channel]);
    }

    fn backward(&self, channel: usize, _: &[f32], grad: &mut [f32]) {
        grad.iter_mut().for_each(|grad| *grad *= self.0[channel]);
    }
}

/// Σ weights · output of parabola, normalisation, parabola, factors, by the definition.
fn defined(
    x: &[f64],
    [gamma, beta, mean, variance]: &[Vec<f64>; 4],
    factors: &[f64],
    (plane, batch_statistics): (usize, bool),
    weights: &[f32],
) -> f64 {
    let parabola = |x: f64| 0.5 * x * x + x;
    let before: Vec<f64> = x.iter().map(|&x| parabola(x)).collect();
    let channel = |i: usize| i / plane % CHANNELS;
    let of = |c: usize| {
        before
            .iter()
            .enumerate()
            .filter(move |(i, _)| channel(*i) == c)
    };
    let mean_of = |c: usize| of(c).map(|(_, u)| u).sum::<f64>() / of(c).count() as f64;
    let (mut mean, mut variance) = (mean.clone(), variance.clone());
    if batch_statistics {
        for c in 0..CHANNELS {
            mean[c] = mean_of(c);
            let squares: f64 = of(c).map(|(_, u)| (u - mean[c]).powi(2)).sum();
            variance[c] = squares / of(c).count() as f64;
        }
    }
    let outputs = before.iter().enumerate().map(|(i, u)| {
        let c = channel(i);
        let normalised = (u - mean[c]) / (variance[c] + f64::from(1e-3f32)).sqrt();
        factors[c] * parabola(gamma[c] * normalised + beta[c])
    });
    outputs.zip(weights).map(|(y, &w)| y * f64::from(w)).sum()
}

#[test]
fn gradients_are_those_of_the_definition() {
    let shape = [4, CHANNELS, 2, 5];
    let count = shape.iter().product();
    let (x, weights) = (numbers(count, 1), numbers(count, 2));
    let parameters = Parameters::new(3);
    let factors = [0.5, -1.5, 2.0];
    for batch_statistics in [false, true] {
        let chain = ElementwiseChain {
            before: vec![Box::new(Parabola)],
            normalization: Some(parameters.normalization()),
            after: vec![Box::new(Parabola), Box::new(Factors(factors))],
        };
        let source = Source::Floats(&x);
        let statistics =
            batch_statistics.then(|| ChannelStatistics::of_parts(&[chain.moments(source, &shape)]));
        let batch = statistics.as_ref();
        let y = chain.forward(source, &shape, batch);
        let mut grad = weights.clone();
        let wanted = WantedGradients {
            input: true,
            normalization: true,
            mask: true,
        };
        let found = backward(&chain, (source, &shape), batch, &mut grad, wanted);

        let exact = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
        let (x, factors) = (exact(&x), exact(&factors));
        let parameters = parameters.0.each_ref().map(|p| exact(p));
        let how = (10, batch_statistics);
        let value = defined(&x, &parameters, &factors, how, &weights);
        let sum: f64 = y.iter().zip(&weights).map(|(y, w)| f64::from(y * w)).sum();
        assert!(
            (sum - value).abs() < 1e-4 * (1.0 + value.abs()),
            "{sum} {value}"
        );
        let near = |found: f64, change: &dyn Fn(f64) -> f64| {
            let slope = (change(1e-5) - change(-1e-5)) / 2e-5;
            assert!(
                (found - slope).abs() < 1e-3 * (1.0 + slope.abs()),
                "{found} {slope}"
            );
        };
        for (i, grad) in grad.iter().enumerate() {
            near(f64::from(*grad), &|by| {
                let mut x = x.clone();
                x[i] += by;
                defined(&x, &parameters, &factors, how, &weights)
            });
        }
        for c in 0..CHANNELS {
            // β, then γ.
            for (k, which) in [1, 0].into_iter().enumerate() {
                near(found.normalization[c][k], &|by| {
                    let mut parameters = parameters.clone();
                    parameters[which][c] += by;
                    defined(&x, &parameters, &factors, how, &weights)
                });
            }
            near(found.mask[c], &|by| {
                let mut factors = factors.clone();
                factors[c] += by;
                defined(&x, &parameters, &factors, how, &weights)
            });
        }
    }
}

#[test]
fn a_step_has_its_three_values_and_keeps_nan() {
    let step = SignStep {
        values: [-1.0, 0.5, 2.0],
        threshold: 1.0,
    };
    let found = [0.0, 1.0, 1.5, f32::NEG_INFINITY].map(|x| step.forward(x));
    assert_eq!(found, [-1.0, 0.5, 2.0, -1.0]);
    assert!(step.forward(f32::NAN).is_nan());
    // Half the height of the step, up to one beside the threshold.
    assert_eq!(
        [-0.5, 0.0, 2.0, 2.5].map(|x| step.backward(x, 2.0)),
        [0.0, 3.0, 3.0, 0.0]
    );
}

#[test]
fn rectifiers_compare_and_do_not_multiply() {
    assert_eq!(relu(f32::NEG_INFINITY), 0.0);
    assert_eq!(
        [-2.0, 0.0, 3.0].map(|x| leaky_relu(x, 0.5)),
        [-1.0, 0.0, 3.0]
    );
    assert_eq!(
        [-2.0, 0.0, 3.0].map(|x| leaky_relu_slope(x, 0.5)),
        [0.5, 0.5, 1.0]
    );
}
