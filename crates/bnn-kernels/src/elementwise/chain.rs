//! The chain: its maps, its normalisation, forward and backward over all channels.

use rayon::prelude::*;

use super::backward::Channel;
use super::compiled::{CompiledChain, Forward, Sum};
use super::element::{Affine, SignStep};
use super::source::{Plane, Source};
use crate::binary::Codes;
use crate::buffers::buffer;
use crate::parallel::{Planes, plane_sums};

/// A function of single elements that may differ from channel to channel: an activation function, a clip, a
/// mask.
pub trait ElementwiseMap: Sync {
    /// For how many channels it has parameters; `None` if for any number.
    fn channels(&self) -> Option<usize> {
        None
    }

    /// Computes the output in place of the input `x`, some elements of a channel.
    fn forward(&self, channel: usize, x: &mut [f32]);

    /// Computes the gradient with respect to the input `x` in place of that of the output.
    fn backward(&self, channel: usize, x: &[f32], grad: &mut [f32]);

    /// The same function on that channel as one that loops are made for, if it is one. It has to give the
    /// same bits as [`Self::forward`] and [`Self::backward`].
    fn known(&self, _channel: usize) -> Option<KnownMap> {
        None
    }
}

/// The functions that loops are made for.
#[derive(Debug, Clone, Copy)]
pub enum KnownMap {
    /// The larger of x and 0.
    Relu,
    /// A sign, or another step.
    Sign(SignStep),
    /// x itself.
    Identity,
    /// 0.
    Zero,
}

/// A batch normalisation, `y = γ · (x - mean) / √(variance + epsilon) + β` in each channel, by the batch's
/// mean and variance or by running ones. All slices have a number for each channel.
pub struct Normalization<'a> {
    /// Added to the variance.
    pub epsilon: f32,
    /// γ, the factor of each channel.
    pub gamma: &'a [f32],
    /// β, what is added to each channel.
    pub beta: &'a [f32],
    /// The running mean of each channel.
    pub mean: &'a [f32],
    /// The running variance of each channel.
    pub variance: &'a [f32],
    /// Whether to normalise by the mean and the biased variance of the batch, which [`ElementwiseChain::forward`]
    /// measures, instead of `mean` and `variance`.
    pub batch_statistics: bool,
}

/// Maps, a normalisation, maps, run as one. Without a normalisation all maps are in front.
#[derive(Default)]
pub struct ElementwiseChain<'a> {
    /// The maps in front of the normalisation, in their order.
    pub before: Vec<Box<dyn ElementwiseMap + 'a>>,
    /// The normalisation.
    pub normalization: Option<Normalization<'a>>,
    /// The maps behind the normalisation, in their order.
    pub after: Vec<Box<dyn ElementwiseMap + 'a>>,
}

/// What a backward pass gives beside the gradient of the input.
#[derive(Debug, Default)]
pub struct ParameterGradients {
    /// For each channel Σ g and Σ g · (normalised x) over its elements, g being the gradient of the
    /// normalisation's output: the gradients of β and γ. Empty without a normalisation, or where neither
    /// they are wanted nor the input's gradient needs them.
    pub normalization: Vec<[f64; 2]>,
    /// For each channel Σ grad · x over its elements, x being the input of the last map and grad the gradient
    /// of its output: that of a factor for each channel. Empty if it is not wanted.
    pub mask: Vec<f64>,
}

/// Which gradients are wanted.
#[derive(Debug, Clone, Copy)]
pub struct WantedGradients {
    /// That with respect to the input.
    pub input: bool,
    /// Those of β and γ.
    pub normalization: bool,
    /// That of the last map, which multiplies each channel with a factor (a mask).
    pub mask: bool,
}

/// Mean and variance of each channel of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel.
    pub variance: Vec<f32>,
    /// Elements that each channel was measured on.
    pub count: usize,
}

impl Normalization<'_> {
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

/// The planes of each channel.
fn by_channel<T>(data: &mut [T], planes: Planes) -> Vec<Vec<&mut [T]>> {
    let mut all: Vec<Vec<&mut [T]>> = Vec::new();
    all.resize_with(planes.channels, || Vec::with_capacity(planes.outer));
    if planes.inner > 0 {
        for (i, plane) in data.chunks_exact_mut(planes.inner).enumerate() {
            all[i % planes.channels].push(plane);
        }
    }
    all
}

impl<'a> ElementwiseChain<'a> {
    /// Adds a map behind all there is so far.
    pub fn push(&mut self, map: Box<dyn ElementwiseMap + 'a>) {
        match self.normalization {
            None => self.before.push(map),
            Some(_) => self.after.push(map),
        }
    }

    /// The output for `x` of that shape, `[N, C, …]`, and the statistics of the normalisation's input if it
    /// was normalised by those of the batch.
    ///
    /// # Panics
    /// If the shape has no second axis, `x` is shorter than the shape, or parameters are fewer than channels.
    pub fn forward(&self, x: Source<'_>, shape: &[usize]) -> (Vec<f32>, Option<ChannelStatistics>) {
        let planes = Planes::around(shape, 1);
        let mut out = buffer(shape.iter().product());
        let measured: Vec<[f32; 2]> = by_channel(&mut out, planes)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![0.0; planes.inner],
                |scratch, (c, outs)| {
                    let measured = self.measured(x, planes, c, scratch);
                    let chain = (self.affine(c, measured), self.compiled(c));
                    for (n, out) in outs.into_iter().enumerate() {
                        self.emit(c, chain, x.plane(planes, n, c), out);
                    }
                    measured
                },
            )
            .collect();
        (out, self.statistics(measured, planes))
    }

    /// The same, packed, `shape` being `[N, C, H, W]`; `None` if the output holds other values than -1, 0
    /// and +1.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_codes(
        &self,
        x: Source<'_>,
        shape: [usize; 4],
    ) -> Option<(Codes, Option<ChannelStatistics>)> {
        const FOUR: usize = Codes::CHANNELS;
        let planes = Planes::around(&shape, 1);
        let groups = Planes {
            channels: planes.channels.div_ceil(FOUR),
            ..planes
        };
        let mut codes = vec![0u8; planes.outer * groups.channels * planes.inner];
        let found: Vec<(Vec<[f32; 2]>, bool)> = by_channel(&mut codes, groups)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![0.0; (FOUR + 1) * planes.inner],
                |scratch, (g, outs)| {
                    let (four, scratch) = scratch.split_at_mut(FOUR * planes.inner);
                    four.fill(0.0);
                    let channels = FOUR * g..(FOUR * (g + 1)).min(planes.channels);
                    let measured: Vec<_> = channels
                        .clone()
                        .map(|c| self.measured(x, planes, c, scratch))
                        .collect();
                    let chains: Vec<_> = (channels.clone().zip(&measured))
                        .map(|(c, &measured)| (self.affine(c, measured), self.compiled(c)))
                        .collect();
                    let mut fits = true;
                    for (n, out) in outs.into_iter().enumerate() {
                        let each = channels.clone().zip(&chains);
                        for ((c, &chain), plane) in each.zip(four.chunks_exact_mut(planes.inner)) {
                            self.emit(c, chain, x.plane(planes, n, c), plane);
                        }
                        fits &= Codes::code_planes(four, out);
                    }
                    (measured, fits)
                },
            )
            .collect();
        if !found.iter().all(|(_, fits)| *fits) {
            return None;
        }
        let measured = found.into_iter().flat_map(|(m, _)| m).collect();
        Some((
            Codes::of_planes(&codes, shape),
            self.statistics(measured, planes),
        ))
    }

    fn affine(&self, c: usize, [mean, variance]: [f32; 2]) -> Option<Affine> {
        self.normalization
            .as_ref()
            .map(|n| n.affine(c, mean, variance))
    }

    /// The chain of a channel, if loops are made for it.
    fn compiled(&self, c: usize) -> Option<CompiledChain> {
        CompiledChain::of(
            self.before.iter().map(|map| map.known(c)),
            self.after.iter().map(|map| map.known(c)),
        )
    }

    /// The output for some elements of a channel.
    fn emit(
        &self,
        c: usize,
        (affine, compiled): (Option<Affine>, Option<CompiledChain>),
        x: Plane<'_>,
        out: &mut [f32],
    ) {
        if let Some(compiled) = compiled {
            let norm = affine.unwrap_or(Affine::IDENTITY);
            return compiled.visit(x, Forward { norm, out });
        }
        self.apply(c, (affine, self.maps()), x, out);
    }

    pub(super) fn maps(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// What so many maps give, and the normalisation, step by step.
    pub(super) fn apply(
        &self,
        c: usize,
        (affine, maps): (Option<Affine>, usize),
        x: Plane<'_>,
        out: &mut [f32],
    ) {
        x.load(out);
        let before = self.before.iter().take(maps);
        before.for_each(|map| map.forward(c, out));
        if let Some(affine) = affine {
            affine.apply(out);
        }
        let after = maps.saturating_sub(self.before.len());
        let after = self.after.iter().take(after);
        after.for_each(|map| map.forward(c, out));
    }

    /// Mean and variance that a channel is normalised by.
    fn measured(&self, x: Source<'_>, planes: Planes, c: usize, scratch: &mut [f32]) -> [f32; 2] {
        let Some(norm) = &self.normalization else {
            return [0.0; 2];
        };
        if !norm.batch_statistics {
            return [norm.mean[c], norm.variance[c]];
        }
        let count = (planes.outer * planes.inner).max(1) as f64;
        if let Some(compiled) = self.compiled(c) {
            let plane = |n| x.plane(planes, n, c);
            let sum = |away| -> f64 {
                let planes = (0..planes.outer).map(plane);
                planes.map(|x| compiled.visit(x, Sum { away })).sum()
            };
            let mean = (sum(None) / count) as f32;
            return [mean, (sum(Some(mean)) / count) as f32];
        }
        let mut sum = |f: &dyn Fn(&[f32]) -> f64| -> f64 {
            let planes = (0..planes.outer).map(|n| match x {
                Source::Floats(x) if self.before.is_empty() => f(planes.of(x, n, c)),
                _ => {
                    x.plane(planes, n, c).load(scratch);
                    self.before.iter().for_each(|map| map.forward(c, scratch));
                    f(scratch)
                }
            });
            planes.sum()
        };
        let mean = (sum(&|x| plane_sums(x, x, |x, _| [x])[0]) / count) as f32;
        let squares = sum(&|x| {
            let squares = plane_sums(x, x, |x, _| {
                let d = x - mean;
                [d * d]
            });
            squares[0]
        });
        [mean, (squares / count) as f32]
    }

    fn statistics(&self, measured: Vec<[f32; 2]>, planes: Planes) -> Option<ChannelStatistics> {
        let measures = self
            .normalization
            .as_ref()
            .is_some_and(|n| n.batch_statistics);
        measures.then(|| ChannelStatistics {
            mean: measured.iter().map(|m| m[0]).collect(),
            variance: measured.iter().map(|m| m[1]).collect(),
            count: planes.outer * planes.inner,
        })
    }

    /// The gradients, from that of the output, `grad`, the forward pass's input `x` of that shape, and the
    /// statistics that it gave. `grad` becomes the gradient of the input if that is wanted; else what it
    /// holds afterwards is of no use.
    ///
    /// # Panics
    /// As [`Self::forward`], and if `grad` is shorter than the shape.
    pub fn backward(
        &self,
        x: Source<'_>,
        shape: &[usize],
        statistics: Option<&ChannelStatistics>,
        grad: &mut [f32],
        wanted: WantedGradients,
    ) -> ParameterGradients {
        let planes = Planes::around(shape, 1);
        let batch = statistics;
        let needs_sums = self.normalization.is_some()
            && (batch.is_some() && wanted.input || wanted.normalization);
        let stages = self.before.len() + 1 + self.after.len();
        let found: Vec<([f64; 2], f64)> = by_channel(grad, planes)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![vec![0.0; planes.inner]; stages],
                |inputs: &mut Vec<Vec<f32>>, (c, mut grads)| {
                    let channel = Channel {
                        chain: self,
                        compiled: self.compiled(c),
                        number: c,
                        affine: self.normalization.as_ref().map(|norm| match batch {
                            Some(s) => norm.affine(c, s.mean[c], s.variance[c]),
                            None => norm.affine(c, norm.mean[c], norm.variance[c]),
                        }),
                    };
                    let (mut sums, mut dot) = ([0f64; 2], 0.0);
                    for (n, grad) in grads.iter_mut().enumerate() {
                        let x = x.plane(planes, n, c);
                        if wanted.mask {
                            dot += channel.dot(x, inputs, grad);
                        }
                        if !wanted.input && !needs_sums {
                            continue;
                        }
                        if batch.is_none() && !needs_sums && channel.backward_in_registers(x, grad)
                        {
                            continue;
                        }
                        let here = channel.to_normalization(x, inputs, grad, needs_sums);
                        sums.iter_mut().zip(here).for_each(|(t, s)| *t += s);
                        if batch.is_none() && wanted.input {
                            channel.through_normalization(x, inputs, grad, [0.0; 2]);
                        }
                    }
                    if let (Some(batch), true) = (batch, wanted.input) {
                        let means = sums.map(|s| (s / batch.count.max(1) as f64) as f32);
                        for (n, grad) in grads.iter_mut().enumerate() {
                            channel.through_normalization(
                                x.plane(planes, n, c),
                                inputs,
                                grad,
                                means,
                            );
                        }
                    }
                    (sums, dot)
                },
            )
            .collect();
        ParameterGradients {
            normalization: match needs_sums {
                true => found.iter().map(|(sums, _)| *sums).collect(),
                false => Vec::new(),
            },
            mask: match wanted.mask {
                true => found.iter().map(|(_, dot)| *dot).collect(),
                false => Vec::new(),
            },
        }
    }
}
