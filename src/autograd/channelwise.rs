//! Operators that work channel by channel, one behind the other, as one: each channel's elements go
//! through all of them while they are in the cache.

use ndarray::ArrayD;
use rayon::prelude::*;

use super::memory::buffer;
use super::ops::{BatchStatistics, Saved};
use super::parallel::{Planes, array, plane_sums, slice, slice_mut, wide};

/// A function of single elements that may differ from channel to channel.
pub trait ChannelMap: Sync {
    /// How many channels it is for; `None`: any number.
    fn channels(&self) -> Option<usize> {
        None
    }

    /// Computes the output in place of the input `x`, some elements of a channel.
    fn forward(&self, channel: usize, x: &mut [f32]);

    /// Computes the gradient with respect to the input `x` in place of that of the output.
    fn backward(&self, channel: usize, x: &[f32], grad: &mut [f32]);
}

/// `y = γ · (x - mean) / √(variance + epsilon) + β`, by the batch's statistics or by running ones.
pub(super) struct Norm<'a> {
    pub epsilon: f32,
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mean: &'a [f32],
    pub variance: &'a [f32],
    /// Normalise by what is measured instead of `mean` and `variance`.
    pub batch_statistics: bool,
}

/// Maps, a normalisation, maps. Without a normalisation all maps are in front.
#[derive(Default)]
pub(super) struct Chain<'a> {
    pub before: Vec<Box<dyn ChannelMap + 'a>>,
    pub norm: Option<Norm<'a>>,
    pub after: Vec<Box<dyn ChannelMap + 'a>>,
}

/// What a backward pass gives.
pub(super) struct ChainGradients {
    /// With respect to the input, if that is wanted.
    pub x: Option<ArrayD<f32>>,
    /// Σ grad and Σ grad · (normalised x) of each channel: those of β and γ. Empty without a
    /// normalisation, or if nobody needs them.
    pub sums: Vec<[f64; 2]>,
}

/// One channel's factor and shift: `(x - mean) · factor + shift`.
#[derive(Clone, Copy)]
struct Affine {
    mean: f32,
    inverse: f32,
    factor: f32,
    shift: f32,
}

impl Norm<'_> {
    fn affine(&self, channel: usize, mean: f32, variance: f32) -> Affine {
        let inverse = (1.0 / (f64::from(variance) + f64::from(self.epsilon)).sqrt()) as f32;
        Affine {
            mean,
            inverse,
            factor: inverse * self.gamma[channel],
            shift: self.beta[channel],
        }
    }
}

impl Affine {
    fn apply(self, x: &mut [f32]) {
        wide(|| {
            x.iter_mut()
                .for_each(|x| *x = (*x - self.mean) * self.factor + self.shift);
        });
    }
}

/// The planes of each channel.
fn by_channel(data: &mut [f32], planes: Planes) -> Vec<Vec<&mut [f32]>> {
    let mut all: Vec<Vec<&mut [f32]>> = Vec::new();
    all.resize_with(planes.channels, || Vec::with_capacity(planes.outer));
    if planes.inner > 0 {
        for (i, plane) in data.chunks_exact_mut(planes.inner).enumerate() {
            all[i % planes.channels].push(plane);
        }
    }
    all
}

/// Mean and biased variance of a channel.
fn statistics(planes: &[&mut [f32]], count: f64) -> [f32; 2] {
    let sum = |f: &dyn Fn(&[f32]) -> [f64; 1]| -> f64 { planes.iter().map(|x| f(x)[0]).sum() };
    let mean = (sum(&|x| plane_sums(x, x, |x, _| [x])) / count) as f32;
    let squares = sum(&|x| {
        plane_sums(x, x, |x, _| {
            let d = x - mean;
            [d * d]
        })
    });
    [mean, (squares / count) as f32]
}

impl<'a> Chain<'a> {
    /// Adds a map behind all there is.
    pub(super) fn push(&mut self, map: Box<dyn ChannelMap + 'a>) {
        match self.norm {
            None => self.before.push(map),
            Some(_) => self.after.push(map),
        }
    }

    /// The output for `x` `[N, C, …]`, and the batch's statistics if it was normalised by those.
    pub(super) fn forward(&self, x: &ArrayD<f32>) -> (ArrayD<f32>, Saved) {
        let planes = Planes::around(x.shape(), 1);
        let count = planes.outer * planes.inner;
        let n = count.max(1) as f64;
        let mut out = buffer(x.len());
        let x_data = slice(x);
        let measured: Vec<[f32; 2]> = by_channel(&mut out, planes)
            .into_par_iter()
            .enumerate()
            .map(|(c, mut outs)| {
                for (i, out) in outs.iter_mut().enumerate() {
                    out.copy_from_slice(planes.of(x_data, i, c));
                    self.before.iter().for_each(|map| map.forward(c, out));
                }
                let [mean, variance] = match &self.norm {
                    Some(norm) if norm.batch_statistics => statistics(&outs, n),
                    Some(norm) => [norm.mean[c], norm.variance[c]],
                    None => [0.0; 2],
                };
                let affine = self.norm.as_ref().map(|n| n.affine(c, mean, variance));
                for out in outs {
                    if let Some(affine) = affine {
                        affine.apply(out);
                    }
                    self.after.iter().for_each(|map| map.forward(c, out));
                }
                [mean, variance]
            })
            .collect();
        let saved = match &self.norm {
            Some(norm) if norm.batch_statistics => Saved::Statistics(BatchStatistics {
                mean: measured.iter().map(|m| m[0]).collect(),
                variance: measured.iter().map(|m| m[1]).collect(),
                count,
            }),
            _ => Saved::Nothing,
        };
        (array(x.shape(), out), saved)
    }

    /// The gradients, from that of the output, `grad`, and the forward pass's input `x` and
    /// statistics.
    pub(super) fn backward(
        &self,
        x: &ArrayD<f32>,
        saved: &Saved,
        mut grad: ArrayD<f32>,
        (wants_x, wants_params): (bool, bool),
    ) -> ChainGradients {
        let planes = Planes::around(x.shape(), 1);
        let batch = match saved {
            Saved::Statistics(s) => Some(s),
            _ => None,
        };
        let needs_sums = self.norm.is_some() && (batch.is_some() || wants_params);
        let x = slice(x);
        let stages = self.before.len() + 1 + self.after.len();
        let sums: Vec<[f64; 2]> = by_channel(slice_mut(&mut grad), planes)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![Vec::new(); stages],
                |inputs: &mut Vec<Vec<f32>>, (c, grads)| {
                    let channel = Channel {
                        chain: self,
                        number: c,
                        affine: self.norm.as_ref().map(|norm| match batch {
                            Some(s) => norm.affine(c, s.mean[c], s.variance[c]),
                            None => norm.affine(c, norm.mean[c], norm.variance[c]),
                        }),
                    };
                    let pairs = grads.into_iter().enumerate();
                    let mut pairs: Vec<_> = pairs.map(|(i, g)| (g, planes.of(x, i, c))).collect();
                    let mut sums = [0f64; 2];
                    for (grad, x) in &mut pairs {
                        let here = channel.gated(x, inputs, grad);
                        sums.iter_mut().zip(here).for_each(|(t, s)| *t += s);
                        if batch.is_none() && wants_x {
                            channel.through(inputs, grad, [0.0; 2]);
                        }
                    }
                    if let (Some(batch), true) = (batch, wants_x) {
                        let means = sums.map(|s| (s / batch.count.max(1) as f64) as f32);
                        for (grad, x) in &mut pairs {
                            channel.inputs_before(x, inputs);
                            channel.through(inputs, grad, means);
                        }
                    }
                    sums
                },
            )
            .collect();
        ChainGradients {
            x: wants_x.then_some(grad),
            sums: match needs_sums {
                true => sums,
                false => Vec::new(),
            },
        }
    }
}

/// One channel on its way back. `inputs` holds those of the maps in front, of the normalisation, and
/// of the maps behind it, of one plane.
struct Channel<'c, 'a> {
    chain: &'c Chain<'a>,
    number: usize,
    affine: Option<Affine>,
}

impl Channel<'_, '_> {
    /// The inputs up to the normalisation's.
    fn inputs_before(&self, x: &[f32], inputs: &mut [Vec<f32>]) {
        inputs[0].clear();
        inputs[0].extend_from_slice(x);
        for (k, map) in self.chain.before.iter().enumerate() {
            follow(inputs, k, |x| map.forward(self.number, x));
        }
    }

    /// Brings the gradient to the normalisation's output, and sums it there, by itself and times the
    /// normalised input.
    fn gated(&self, x: &[f32], inputs: &mut [Vec<f32>], grad: &mut [f32]) -> [f64; 2] {
        self.inputs_before(x, inputs);
        let Some(a) = self.affine else {
            return [0.0; 2];
        };
        let at = self.chain.before.len();
        if let Some((_, others)) = self.chain.after.split_last() {
            follow(inputs, at, |x| a.apply(x));
            for (k, map) in others.iter().enumerate() {
                follow(inputs, at + 1 + k, |x| map.forward(self.number, x));
            }
        }
        let behind = self.chain.after.iter().zip(&inputs[at + 1..]);
        for (map, x) in behind.rev() {
            map.backward(self.number, x, grad);
        }
        plane_sums(grad, &inputs[at], |g, u| {
            [g, g * ((u - a.mean) * a.inverse)]
        })
    }

    /// Brings the gradient from the normalisation's output to the chain's input. `means`: of the
    /// gradient over the batch, and of it times the normalised input; 0 where the statistics do not
    /// depend on the batch.
    fn through(&self, inputs: &[Vec<f32>], grad: &mut [f32], means: [f32; 2]) {
        if let Some(a) = self.affine {
            let slope = means[1] * a.inverse;
            let pairs = grad.iter_mut().zip(&inputs[self.chain.before.len()]);
            wide(|| {
                pairs.for_each(|(g, u)| *g = a.factor * (*g - means[0] - (u - a.mean) * slope));
            });
        }
        for (map, x) in self.chain.before.iter().zip(inputs).rev() {
            map.backward(self.number, x, grad);
        }
    }
}

/// The input of the next stage from that of stage `k`.
fn follow(inputs: &mut [Vec<f32>], k: usize, f: impl FnOnce(&mut [f32])) {
    let (done, next) = inputs.split_at_mut(k + 1);
    if let (Some(from), Some(to)) = (done.last(), next.first_mut()) {
        to.clear();
        to.extend_from_slice(from);
        f(to);
    }
}
