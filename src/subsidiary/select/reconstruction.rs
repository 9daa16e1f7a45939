//! Greedy least change of what the next layers compute: the channel goes whose removal, with those
//! that have gone before, changes the consumers' sums least (Luo et al., "ThiNet", ICCV 2017; He et
//! al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, without their fit of
//! the weights that remain: these are ±1). The score is the order in which channels go.
//!
//! A consumer's sum is one of contributions, one a channel. With these sampled at some outputs, the
//! squared change by a set of channels is the sum of the set's elements in the contributions' Gram
//! matrix, so that each step of the greedy choice is one pass over a row. For 512 channels, 16,384
//! samples and 3×3 kernels that is 0.08 billion products for the contributions and 4.3 billion for the
//! matrix.

use ndarray::{Array2, ArrayD, linalg::general_mat_mul};

use super::data::{Reading, Seen, places};
use super::{Rule, RuleContext, TrainError, by_removal};
use crate::arrays::slice;
use crate::network::{Input, Network};
use crate::ops::ConvolutionForm;

/// Training images looked at.
const IMAGES: usize = 512;
/// Outputs of each consumer that are sampled in an image.
const SAMPLES: usize = 32;
/// Positions that they are of, at most.
const POSITIONS: usize = 4;

#[derive(Debug)]
pub(super) struct Reconstruction;

impl Rule for Reconstruction {
    fn name(&self) -> &'static str {
        "reconstruction"
    }

    fn about(&self) -> &'static str {
        "Prune the filters without which the next layers' sums change least"
    }

    fn looks_at_outputs(&self) -> bool {
        true
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        Ok(by_removal(&removals(&gram(context)?)))
    }
}

/// The products of two channels' contributions to the consumers' sums, in sum over samples of these.
pub(super) fn gram(context: &RuleContext<'_, '_>) -> Result<Array2<f64>, TrainError> {
    let filters = context.filters();
    let readings = context.readings();
    let network = &*context.trainer.network;
    let mut consumers: Vec<Consumer> = readings
        .iter()
        .map(|reading| Consumer::new(network, reading, filters))
        .collect::<Result<_, _>>()?;
    context.look(&readings, IMAGES, |seen| {
        let turn = |image: usize| context.turn(seen.first + image);
        consumers[seen.reading].add(&readings[seen.reading], seen, turn);
    })?;
    Ok(together(&consumers, filters))
}

/// A layer that reads the group.
struct Consumer {
    /// Its weight, and as a convolution of one image.
    weight: ArrayD<f32>,
    form: ConvolutionForm,
    /// Σ over the samples of the products of two channels' contributions.
    gram: Array2<f64>,
}

impl Consumer {
    fn new(network: &Network, reading: &Reading, filters: usize) -> Result<Self, TrainError> {
        let step = network.step(reading.consumer);
        let weight = match step.inputs.get(1) {
            Some(&Input::Binary(b)) => Some(network.effective_weight(b)),
            Some(&Input::Param(p)) => Some(network.param(p).value.clone()),
            _ => None,
        };
        let sample = step.inputs.first().and_then(|input| match input {
            Input::Value(v) => network.sample_shape(*v),
            Input::Param(_) | Input::Binary(_) => None,
        });
        let form = sample.zip(weight.as_ref()).and_then(|(sample, weight)| {
            let convolution = step.op.traits(&[]).convolution?;
            let image = [&[1], sample].concat();
            let form = convolution.form(&image, weight.shape());
            form.or_else(|| convolution.form(&as_rows(sample)?, weight.shape()))
        });
        let fits = |form: &ConvolutionForm| form.geometry.channels == reading.filter_of.len();
        match (weight, form.filter(fits)) {
            (Some(weight), Some(form)) => Ok(Self {
                weight,
                form,
                gram: Array2::zeros((filters, filters)),
            }),
            _ => Err(TrainError::Mismatch(format!(
                "node '{}': what each channel contributes to its sums is not known; take another rule",
                step.name
            ))),
        }
    }

    /// Adds what channels contribute to some outputs for some images.
    fn add(&mut self, reading: &Reading, seen: &Seen<'_>, turn: impl Fn(usize) -> u64) {
        let (g, strides) = (&self.form.geometry, &self.form.strides);
        let (x, weight) = (slice(seen.x), slice(&self.weight));
        // Several rows of a matrix may be one image's.
        let rows = g.batch.max(1);
        let outputs = rows * g.out_plane();
        let positions = POSITIONS.min(outputs).max(1);
        let columns = seen.images * positions * (SAMPLES / positions).min(g.filters);
        let mut parts = Array2::<f32>::zeros((self.gram.nrows(), columns));
        let mut column = 0;
        let (per_group, filters) = (g.channels / g.groups, (g.filters / g.groups).max(1));
        for image in 0..seen.images {
            for (i, output) in places(outputs, positions, turn(image)).enumerate() {
                let (row, at) = (output / g.out_plane(), output % g.out_plane());
                let top = (at / g.out_width) * g.stride[0];
                let left = (at % g.out_width) * g.stride[1];
                let inside = inside([top, left], g);
                let chosen = turn(image).wrapping_mul(31).wrapping_add(i as u64 * 7);
                for filter in places(g.filters, SAMPLES / positions, chosen) {
                    for c in 0..per_group {
                        let channel = filter / filters * per_group + c;
                        let Some(of) = reading.filter_of[channel] else {
                            continue;
                        };
                        let w = filter * strides.filter + c * strides.channel;
                        let start =
                            ((image * rows + row) * g.channels + channel) * g.height * g.width;
                        let sum = inside.iter().map(|&(k, at)| weight[w + k] * x[start + at]);
                        parts[[of, column]] += sum.sum::<f32>();
                    }
                    column += 1;
                }
            }
        }
        let mut gram = Array2::zeros(self.gram.raw_dim());
        general_mat_mul(1.0, &parts, &parts.t(), 0.0, &mut gram);
        self.gram += &gram.mapv(f64::from);
    }
}

/// The weights of a kernel that lie on the image and not on its border, each with the element of the
/// plane that it multiplies.
fn inside([top, left]: [usize; 2], g: &bnn_kernels::ConvGeometry) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            let y = (top + ky * g.dilation[0]).checked_sub(g.pad[0]);
            let x = (left + kx * g.dilation[1]).checked_sub(g.pad[1]);
            if let (Some(y), Some(x)) = (y.filter(|&y| y < g.height), x.filter(|&x| x < g.width)) {
                found.push((ky * g.kernel[1] + kx, y * g.width + x));
            }
        }
    }
    found
}

/// One image as a matrix, whose leading axes are rows.
fn as_rows(sample: &[usize]) -> Option<[usize; 2]> {
    let (&last, lead) = sample.split_last()?;
    Some([lead.iter().product(), last])
}

/// The Gram matrices of all consumers, each in units of its own contributions: they count alike,
/// whatever their weights' sizes.
fn together(consumers: &[Consumer], filters: usize) -> Array2<f64> {
    let mut sum = Array2::zeros((filters, filters));
    for consumer in consumers {
        let size = consumer.gram.diag().sum();
        if size > 0.0 {
            sum.scaled_add(1.0 / size, &consumer.gram);
        }
    }
    sum
}

/// The order in which channels go: each time the one that leaves the smallest squared change; of equal
/// ones the last.
pub(super) fn removals(gram: &Array2<f64>) -> Vec<usize> {
    let count = gram.nrows();
    // What each one would add to the squared change.
    let mut adds: Vec<f64> = gram.diag().to_vec();
    let mut left: Vec<usize> = (0..count).rev().collect();
    let mut order = Vec::with_capacity(count);
    while let Some(at) = (0..left.len()).min_by(|&a, &b| adds[left[a]].total_cmp(&adds[left[b]])) {
        let goes = left.remove(at);
        order.push(goes);
        for (add, with) in adds.iter_mut().zip(gram.row(goes)) {
            *add += 2.0 * with;
        }
    }
    order
}
