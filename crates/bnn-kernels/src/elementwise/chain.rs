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

/// A batch normalisation, `y = γ · (x - mean) / √(variance + epsilon) + β` in each channel, by running mean and
/// variance, or by those of a batch where they are given. All slices have a number for each channel.
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

/// What some images of a batch add to its statistics, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Elements of each channel.
    pub count: usize,
    /// For each channel the sum of its elements, and that of the squares of their distances from
    /// [`Moments::centre`].
    pub sums: Vec<[f64; 2]>,
}

impl Moments {
    /// What a channel's squares are taken around: its mean, in single precision.
    fn centre(count: usize, sum: f64) -> f32 {
        (sum / count.max(1) as f64) as f32
    }
}

impl ChannelStatistics {
    /// Those of a batch from those of its parts, in that order. Without parts there are no channels.
    ///
    /// # Panics
    /// If a part has fewer channels than the first one.
    pub fn of_parts(parts: &[Moments]) -> Self {
        let count: usize = parts.iter().map(|p| p.count).sum();
        let n = count.max(1) as f64;
        let channels = parts.first().map_or(0, |p| p.sums.len());
        let each = (0..channels).map(|c| {
            let sum: f64 = parts.iter().map(|p| p.sums[c][0]).sum();
            let mean = Moments::centre(count, sum);
            let squares = parts.iter().map(|p| {
                let [sum, squares] = p.sums[c];
                let centre = Moments::centre(p.count, sum);
                let away = f64::from(centre) - f64::from(mean);
                let size = p.count as f64;
                squares + away * (2.0 * (sum - size * f64::from(centre)) + size * away)
            });
            (mean, (squares.sum::<f64>().max(0.0) / n) as f32)
        });
        let (mean, variance) = each.unzip();
        Self {
            mean,
            variance,
            count,
        }
    }
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

    /// What `x` of that shape, `[N, C, …]`, some images of a batch, adds to the statistics of the
    /// normalisation's input.
    ///
    /// # Panics
    /// If the shape has no second axis, `x` is shorter than the shape, or parameters are fewer than channels.
    pub fn moments(&self, x: Source<'_>, shape: &[usize]) -> Moments {
        let planes = Planes::around(shape, 1);
        let sums = (0..planes.channels).into_par_iter().map_init(
            || vec![0.0; planes.inner],
            |scratch, c| self.channel_moments(x, planes, c, scratch),
        );
        Moments {
            count: planes.outer * planes.inner,
            sums: sums.collect(),
        }
    }

    /// The output for `x` of that shape, `[N, C, …]`, normalised by the statistics of a batch, or by the
    /// running ones.
    ///
    /// # Panics
    /// As [`Self::moments`], or if the statistics are of fewer channels.
    pub fn forward(
        &self,
        x: Source<'_>,
        shape: &[usize],
        batch: Option<&ChannelStatistics>,
    ) -> Vec<f32> {
        let planes = Planes::around(shape, 1);
        let mut out = buffer(shape.iter().product());
        by_channel(&mut out, planes)
            .into_par_iter()
            .enumerate()
            .for_each(|(c, outs)| {
                let (affine, compiled) = (self.affine(c, batch), self.compiled(c));
                for (n, out) in outs.into_iter().enumerate() {
                    self.emit(c, affine, compiled, x.plane(planes, n, c), out);
                }
            });
        out
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
        batch: Option<&ChannelStatistics>,
    ) -> Option<Codes> {
        const FOUR: usize = Codes::CHANNELS;
        let planes = Planes::around(&shape, 1);
        let groups = Planes {
            channels: planes.channels.div_ceil(FOUR),
            ..planes
        };
        let mut codes = vec![0u8; planes.outer * groups.channels * planes.inner];
        let fits = by_channel(&mut codes, groups)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![0.0; FOUR * planes.inner],
                |four, (g, outs)| {
                    four.fill(0.0);
                    let channels = FOUR * g..(FOUR * (g + 1)).min(planes.channels);
                    let chains: Vec<_> = (channels.clone())
                        .map(|c| (self.affine(c, batch), self.compiled(c)))
                        .collect();
                    let mut fits = true;
                    for (n, out) in outs.into_iter().enumerate() {
                        let each = channels.clone().zip(&chains);
                        for ((c, &(affine, compiled)), plane) in
                            each.zip(four.chunks_exact_mut(planes.inner))
                        {
                            self.emit(c, affine, compiled, x.plane(planes, n, c), plane);
                        }
                        fits &= Codes::code_planes(four, out);
                    }
                    fits
                },
            )
            .all(|fits| fits);
        fits.then(|| Codes::of_planes(&codes, shape))
    }

    /// The normalisation of a channel.
    fn affine(&self, c: usize, batch: Option<&ChannelStatistics>) -> Option<Affine> {
        self.normalization.as_ref().map(|norm| match batch {
            Some(s) => norm.affine(c, s.mean[c], s.variance[c]),
            None => norm.affine(c, norm.mean[c], norm.variance[c]),
        })
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
        affine: Option<Affine>,
        compiled: Option<CompiledChain>,
        x: Plane<'_>,
        out: &mut [f32],
    ) {
        if let Some(compiled) = compiled {
            let norm = affine.unwrap_or(Affine::IDENTITY);
            return compiled.visit(x, Forward { norm, out });
        }
        self.apply(c, affine, self.maps(), x, out);
    }

    pub(super) fn maps(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// What so many maps give, and the normalisation, step by step.
    pub(super) fn apply(
        &self,
        c: usize,
        affine: Option<Affine>,
        maps: usize,
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

    /// The [`Moments`] of a channel.
    fn channel_moments(
        &self,
        x: Source<'_>,
        planes: Planes,
        c: usize,
        scratch: &mut [f32],
    ) -> [f64; 2] {
        let count = planes.outer * planes.inner;
        if let Some(compiled) = self.compiled(c) {
            let plane = |n| x.plane(planes, n, c);
            let sum = |away| -> f64 {
                let planes = (0..planes.outer).map(plane);
                planes.map(|x| compiled.visit(x, Sum { away })).sum()
            };
            let total = sum(None);
            return [total, sum(Some(Moments::centre(count, total)))];
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
        let total = sum(&|x| plane_sums(x, x, |x, _| [x])[0]);
        let centre = Moments::centre(count, total);
        let squares = sum(&|x| {
            let squares = plane_sums(x, x, |x, _| {
                let d = x - centre;
                [d * d]
            });
            squares[0]
        });
        [total, squares]
    }

    /// The gradients by running statistics, from that of the output, `grad`, and the forward pass's input
    /// `x` of that shape. `grad` becomes the gradient of the input if that is wanted; else what it holds
    /// afterwards is of no use.
    ///
    /// # Panics
    /// As [`Self::forward`], and if `grad` is shorter than the shape.
    pub fn backward(
        &self,
        x: Source<'_>,
        shape: &[usize],
        grad: &mut [f32],
        wanted: WantedGradients,
    ) -> ParameterGradients {
        let needs_sums = self.normalization.is_some() && wanted.normalization;
        let found = self.each_channel(shape, grad, None, |channel, inputs, planes, grads| {
            let (mut sums, mut dot) = ([0f64; 2], 0.0);
            for (n, grad) in grads.iter_mut().enumerate() {
                let x = x.plane(planes, n, channel.number);
                if wanted.mask {
                    dot += channel.dot(x, inputs, grad);
                }
                if !wanted.input && !needs_sums {
                    continue;
                }
                if !needs_sums && channel.backward_in_registers(x, grad) {
                    continue;
                }
                let here = channel.to_normalization(x, inputs, grad, needs_sums);
                sums.iter_mut().zip(here).for_each(|(t, s)| *t += s);
                if wanted.input {
                    channel.through_normalization(x, inputs, grad, [0.0; 2]);
                }
            }
            (sums, dot)
        });
        ParameterGradients::of(found, needs_sums, wanted.mask)
    }

    /// The first half of the way back where it was normalised by the statistics of a batch, `x` being some
    /// of its images: `grad` becomes the gradient of the normalisation's output. What
    /// [`Self::backward_from_normalization`] needs are the sums of all images.
    ///
    /// # Panics
    /// As [`Self::backward`].
    pub fn backward_to_normalization(
        &self,
        x: Source<'_>,
        shape: &[usize],
        batch: &ChannelStatistics,
        grad: &mut [f32],
        mask: bool,
    ) -> ParameterGradients {
        let found = self.each_channel(
            shape,
            grad,
            Some(batch),
            |channel, inputs, planes, grads| {
                let (mut sums, mut dot) = ([0f64; 2], 0.0);
                for (n, grad) in grads.iter_mut().enumerate() {
                    let x = x.plane(planes, n, channel.number);
                    if mask {
                        dot += channel.dot(x, inputs, grad);
                    }
                    let here = channel.to_normalization(x, inputs, grad, true);
                    sums.iter_mut().zip(here).for_each(|(t, s)| *t += s);
                }
                (sums, dot)
            },
        );
        ParameterGradients::of(found, true, mask)
    }

    /// The second half: `grad` becomes the gradient of the input. `sums` are those of the whole batch
    /// ([`ParameterGradients::normalization`], added up).
    ///
    /// # Panics
    /// As [`Self::backward`], and if there are fewer sums than channels.
    pub fn backward_from_normalization(
        &self,
        x: Source<'_>,
        shape: &[usize],
        batch: &ChannelStatistics,
        sums: &[[f64; 2]],
        grad: &mut [f32],
    ) {
        let count = batch.count.max(1) as f64;
        self.each_channel(
            shape,
            grad,
            Some(batch),
            |channel, inputs, planes, grads| {
                let means = sums[channel.number].map(|s| (s / count) as f32);
                for (n, grad) in grads.iter_mut().enumerate() {
                    let x = x.plane(planes, n, channel.number);
                    channel.through_normalization(x, inputs, grad, means);
                }
                ([0.0; 2], 0.0)
            },
        );
    }

    /// What `f` makes of each channel and the planes of its gradient.
    fn each_channel(
        &self,
        shape: &[usize],
        grad: &mut [f32],
        batch: Option<&ChannelStatistics>,
        f: impl Fn(&Channel<'_, 'a>, &mut [Vec<f32>], Planes, &mut [&mut [f32]]) -> ([f64; 2], f64)
        + Sync,
    ) -> Vec<([f64; 2], f64)> {
        let planes = Planes::around(shape, 1);
        let stages = self.before.len() + 1 + self.after.len();
        by_channel(grad, planes)
            .into_par_iter()
            .enumerate()
            .map_init(
                || vec![vec![0.0; planes.inner]; stages],
                |inputs: &mut Vec<Vec<f32>>, (c, mut grads)| {
                    let channel = Channel {
                        chain: self,
                        compiled: self.compiled(c),
                        number: c,
                        affine: self.affine(c, batch),
                    };
                    f(&channel, inputs, planes, &mut grads)
                },
            )
            .collect()
    }
}

impl ParameterGradients {
    /// Of what was found for each channel, what is wanted.
    fn of(found: Vec<([f64; 2], f64)>, normalization: bool, mask: bool) -> Self {
        let dots = mask.then(|| found.iter().map(|(_, dot)| *dot).collect());
        let sums = normalization.then(|| found.into_iter().map(|(sums, _)| sums).collect());
        Self {
            normalization: sums.unwrap_or_default(),
            mask: dots.unwrap_or_default(),
        }
    }
}
