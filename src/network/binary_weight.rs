//! Binary weights: the sign of latents times a scale, and its straight-through estimator.

use bnn_kernels::parallel::Planes;
use bnn_kernels::simd::wide;
use ndarray::{ArrayD, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::graph::Network;
use super::param::{Origin, ParamId};
use crate::arrays::{array, copy, map, map_planes, slice, update_planes};
use crate::ops::sign;

/// Index of a binary weight in [`Network::binaries`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BinaryId(pub usize);

/// The scale α of a binary layer's filters.
#[derive(Debug, Clone, PartialEq)]
pub enum ScaleMode {
    /// The mean of |latent| over each filter's weights.
    MeanAbs {
        /// For each input channel of the layer (of all groups) whether its weights count; `None`:
        /// all.
        kept_columns: Option<Vec<bool>>,
    },
    /// A parameter of its own, one value per filter.
    Param(ParamId),
    /// 1: the weights are ±1.
    One,
}

/// How the file holds a binary layer's latents, if they survived the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatentOrigin {
    /// The initializer's name.
    pub initializer: String,
    /// The file computes exactly sign(W) · mean|W| over each whole filter.
    pub mean_abs: bool,
}

/// A weight computed as `sign(latent) · α`.
///
/// Gradient with respect to the latents: the straight-through estimator, α times that of the weight
/// where |latent| ≤ 1; with [`ScaleMode::MeanAbs`] also that through α, `sign(latent) / n` times
/// `Σ grad · sign(latent)` over the filter (n: weights that α averages).
#[derive(Debug, Clone)]
pub struct BinaryWeight {
    /// The layer's name.
    pub layer: String,
    /// The latents, in the layout of the layer's weight.
    pub latent: ParamId,
    /// Which axis of the weight is the filter; the other one of the first two is the input channel.
    pub filter_axis: usize,
    /// Convolution groups.
    pub groups: usize,
    /// Whether the layer reads ±1, so that its sums are whole numbers.
    pub on_signs: bool,
    /// The weight's sign at a latent of 0: 0 or +1.
    pub zero: f32,
    /// The scale.
    pub scale: ScaleMode,
    /// How the file holds the latents.
    pub latent_origin: Option<LatentOrigin>,
    /// The effective weight of the file, and where it is read.
    pub origin: Origin,
    /// [`Network::effective_weight`] as imported.
    pub(super) imported: ArrayD<f32>,
}

impl BinaryWeight {
    /// Which input channels the scale averages, where it does not average all.
    pub fn kept_columns(&self) -> Option<&[bool]> {
        match &self.scale {
            ScaleMode::MeanAbs { kept_columns } => kept_columns.as_deref(),
            ScaleMode::Param(_) | ScaleMode::One => None,
        }
    }

    fn planes(&self, shape: &[usize]) -> Planes {
        Planes::around(shape, self.filter_axis)
    }

    /// For each weight of filter `f`, in row-major order, whether α averages it.
    fn counted(&self, shape: &[usize], filter: usize) -> Option<Vec<bool>> {
        let ScaleMode::MeanAbs {
            kept_columns: Some(kept),
        } = &self.scale
        else {
            return None;
        };
        let input_axis = 1 - self.filter_axis;
        let (filters, inputs) = (shape[self.filter_axis], shape[input_axis]);
        let group = filter * self.groups / filters.max(1);
        let kernel: usize = shape[2..].iter().product();
        let column = |i: usize| kept.get(group * inputs + i).copied().unwrap_or(true);
        Some(
            (0..inputs)
                .flat_map(|i| std::iter::repeat_n(column(i), kernel))
                .collect(),
        )
    }
}

/// The weights of filter `f` in row-major order of the other axes.
fn filter(w: &ArrayD<f32>, planes: Planes, f: usize) -> impl Iterator<Item = f32> {
    let data = slice(w);
    (0..planes.outer).flat_map(move |o| {
        let start = (o * planes.channels + f) * planes.inner;
        data[start..start + planes.inner].iter().copied()
    })
}

fn sum_of_abs(x: &[f32]) -> f64 {
    wide(|| {
        let (lanes, rest) = x.as_chunks::<8>();
        let mut sums = [0f64; 8];
        for lanes in lanes {
            for (sum, v) in sums.iter_mut().zip(lanes) {
                *sum += f64::from(v.abs());
            }
        }
        let rest = rest.iter().map(|v| f64::from(v.abs()));
        sums.into_iter().chain(rest).sum()
    })
}

impl Network {
    /// A binary weight, to be changed.
    #[cfg(test)]
    pub(crate) fn binary_mut(&mut self, id: BinaryId) -> &mut BinaryWeight {
        &mut self.binary[id.0]
    }

    /// From now on a scale that is a mean averages over kept input channels only: over those that it
    /// averages now and that `kept` keeps. Other scales stay.
    pub fn keep_columns(&mut self, id: BinaryId, kept: &[bool]) {
        if let ScaleMode::MeanAbs { kept_columns } = &mut self.binary[id.0].scale {
            let columns = kept_columns.get_or_insert_with(|| vec![true; kept.len()]);
            for (column, &kept) in columns.iter_mut().zip(kept) {
                *column &= kept;
            }
        }
    }

    /// Exchanges the input channels that a scale averages and others; nothing where the scale is no
    /// mean, or there is no such weight.
    pub fn exchange_kept_columns(&mut self, id: BinaryId, columns: &mut Option<Vec<bool>>) {
        let scale = self.binary.get_mut(id.0).map(|b| &mut b.scale);
        if let Some(ScaleMode::MeanAbs { kept_columns }) = scale {
            std::mem::swap(kept_columns, columns);
        }
    }

    /// The scale of each filter of a binary weight.
    pub fn scales(&self, id: BinaryId) -> Vec<f32> {
        let b = &self.binary[id.0];
        let latent = &self.params[b.latent.0].value;
        let planes = b.planes(latent.shape());
        match &b.scale {
            ScaleMode::One => vec![1.0; planes.channels],
            ScaleMode::Param(p) => slice(&self.params[p.0].value).to_vec(),
            ScaleMode::MeanAbs { .. } => (0..planes.channels)
                .into_par_iter()
                .map(|f| {
                    let counted = b.counted(latent.shape(), f);
                    if let (None, 1) = (&counted, planes.outer) {
                        let weights = planes.of(slice(latent), 0, f);
                        return (sum_of_abs(weights) / weights.len().max(1) as f64) as f32;
                    }
                    let (mut sum, mut n) = (0f64, 0usize);
                    for (i, w) in filter(latent, planes, f).enumerate() {
                        if counted.as_ref().is_none_or(|c| c[i]) {
                            sum += f64::from(w.abs());
                            n += 1;
                        }
                    }
                    (sum / n.max(1) as f64) as f32
                })
                .collect(),
        }
    }

    /// `sign(latent)`, in the layout of the layer's weight.
    pub(crate) fn signs(&self, id: BinaryId) -> Vec<f32> {
        let b = &self.binary[id.0];
        let signs = map(&self.params[b.latent.0].value, |w| sign(w, b.zero));
        signs.into_raw_vec_and_offset().0
    }

    /// `sign(latent) · α`, in the layout of the layer's weight.
    pub fn effective_weight(&self, id: BinaryId) -> ArrayD<f32> {
        let b = &self.binary[id.0];
        let scales = self.scales(id);
        let latent = &self.params[b.latent.0].value;
        map_planes(b.planes(latent.shape()), latent, |f, w, out| {
            let scale = scales[f];
            let (pairs, zero) = (out.iter_mut().zip(w), b.zero);
            wide(move || pairs.for_each(|(o, &w)| *o = sign(w, zero) * scale));
        })
    }

    /// The gradients of a binary weight's latents and of its scale parameter (if it has one) from
    /// that of the effective weight; each only if wanted.
    pub(crate) fn binary_backward(
        &self,
        id: BinaryId,
        grad: &ArrayD<f32>,
        wants_latent: bool,
        wants_scale: bool,
    ) -> (Option<ArrayD<f32>>, Option<ArrayD<f32>>) {
        let b = &self.binary[id.0];
        let latent = &self.params[b.latent.0].value;
        let planes = b.planes(latent.shape());
        let zero = b.zero;
        // Per filter: dL/dα = Σ grad · sign(latent).
        let dots: Vec<f64> = planes
            .fold(slice(grad), slice(latent), move |_, g, w| {
                [g * sign(w, zero)]
            })
            .into_iter()
            .map(|[d]| d)
            .collect();
        let grad_scale = match &b.scale {
            ScaleMode::Param(p) if wants_scale => {
                let values = dots.iter().map(|&d| d as f32).collect();
                Some(array(self.params[p.0].value.shape(), values))
            }
            _ => None,
        };
        let grad_latent = wants_latent.then(|| {
            let scales = self.scales(id);
            let mut out = copy(grad);
            update_planes(planes, &mut out, latent, |f, g, w| {
                let scale = scales[f];
                let pairs = g.iter_mut().zip(w);
                wide(move || {
                    pairs.for_each(|(g, w)| *g = if w.abs() <= 1.0 { *g * scale } else { 0.0 });
                });
            });
            if let ScaleMode::MeanAbs { kept_columns } = &b.scale {
                match kept_columns {
                    None => {
                        let n = (planes.outer * planes.inner).max(1) as f64;
                        update_planes(planes, &mut out, latent, |f, g, w| {
                            let slope = (dots[f] / n) as f32;
                            let pairs = g.iter_mut().zip(w);
                            wide(move || pairs.for_each(|(g, &w)| *g += slope * sign(w, 0.0)));
                        });
                    }
                    Some(_) => self.add_mean_gradient(b, latent, &dots, &mut out),
                }
            }
            out
        });
        (grad_latent, grad_scale)
    }

    /// Adds `dL/dα · d mean|W| / dW`.
    fn add_mean_gradient(
        &self,
        b: &BinaryWeight,
        latent: &ArrayD<f32>,
        dots: &[f64],
        grad: &mut ArrayD<f32>,
    ) {
        let filters = latent.axis_iter(Axis(b.filter_axis));
        let grads = grad.axis_iter_mut(Axis(b.filter_axis));
        for (f, (w, mut g)) in filters.zip(grads).enumerate() {
            let counted = b.counted(latent.shape(), f);
            let n = match &counted {
                Some(c) => c.iter().filter(|c| **c).count(),
                None => w.len(),
            };
            let slope = (dots[f] / n.max(1) as f64) as f32;
            for (i, (g, &w)) in g.iter_mut().zip(&w).enumerate() {
                if counted.as_ref().is_none_or(|c| c[i]) {
                    *g += slope * sign(w, 0.0);
                }
            }
        }
    }
}
