//! Normalisations: with constant statistics, and with those of the sample itself.

use ndarray::{ArrayD, Axis, Dimension, Zip};

use super::sums::largest;
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId};

impl Bounds<'_> {
    /// γ·(x − μ)/√(σ² + ε) + β with constant statistics.
    pub(super) fn batch_normalization(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let &[x, gamma, beta, mean, variance] = inputs else {
            return None;
        };
        let column = |t: TensorId| -> Option<Vec<f64>> {
            let value = self.facts.constant(t)?.as_f32()?;
            Some(value.iter().map(|&v| f64::from(v)).collect())
        };
        let (gamma, beta) = (column(gamma)?, column(beta)?);
        let (mean, variance) = (column(mean)?, column(variance)?);
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let value = self.value(x)?.broadcast(out.shape())?.to_owned();
        let mut bound = self.bound(x)?.broadcast(out.shape())?;
        if let Some(latent) = self.latent.get(&x).filter(|l| l.shape() == out.shape()) {
            // A runtime folds it into the layer's weights.
            Zip::from(&mut bound.sums)
                .and(latent)
                .for_each(|sums, &latent| *sums = sums.max(latent));
        }
        let axis = Axis(usize::from(out.ndim() > 1));
        for c in 0..out.len_of(axis) {
            let gain = gamma.get(c)? / (variance.get(c)? + epsilon).sqrt();
            let gain = gain.abs();
            let fixed = gain * mean.get(c)?.abs() + beta.get(c)?.abs();
            Zip::from(bound.sums.index_axis_mut(axis, c))
                .and(bound.single.index_axis_mut(axis, c))
                .and(value.index_axis(axis, c))
                .and(out.index_axis(axis, c))
                .for_each(|sums, single, &x, &y| {
                    let terms = gain * f64::from(x.abs()) + fixed + f64::from(y.abs());
                    *sums = scaled(gain, *sums);
                    *single = scaled(gain, *single) + (SAFETY * UNIT * terms) as f32;
                });
        }
        Some(bound)
    }

    /// InstanceNormalization, GroupNormalization, LayerNormalization: mean and deviation move by at
    /// most the largest error of what they are taken over, and are bounded as if taken over all.
    pub(super) fn normalization(
        &self,
        node: &Node<'_>,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let &[x, gamma, ..] = inputs else {
            return None;
        };
        let value = self.value(x)?;
        if value.shape() != out.shape() {
            return None;
        }
        let rank = out.ndim();
        let instance = node.op() == "InstanceNormalization";
        // Values are normalised over the axes from this one on.
        let from = match node.op() {
            "LayerNormalization" => node.axis(-1, rank)?,
            "InstanceNormalization" => 2,
            _ => 1,
        };
        let groups = match node.op() {
            "GroupNormalization" => usize::try_from(node.int("num_groups", 1)).ok()?,
            _ => 1,
        };
        let size: usize = out.shape().iter().skip(from).product();
        let size = size.checked_div(groups)?.max(1);
        let gain = largest(self.value(gamma)?);
        let scales = self.value(gamma)?.to_owned();
        let shift = inputs
            .get(2)
            .map_or(Some(0.0), |&t| Some(largest(self.value(t)?)))?;
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let error = self.bound(x)?.broadcast(out.shape())?;
        let mut bound = Bound::zeros(out.shape());
        let flat = |a: &ArrayD<f32>| -> Vec<f32> { a.iter().copied().collect() };
        let (values, results) = (flat(&value.to_owned()), flat(out));
        let (sums, single) = (flat(&error.sums), flat(&error.single));
        let (mut all_sums, mut all_single) = (Vec::new(), Vec::new());
        let most = |part: &[f32]| part.iter().fold(0.0, |m, &e| f64::max(m, f64::from(e)));
        for (number, x) in values.chunks(size).enumerate() {
            let at = number * size..number * size + x.len();
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
            let squares = x.iter().map(|&v| (f64::from(v) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / x.len() as f64 + epsilon).sqrt();
            let gain = match instance {
                true => {
                    let channel = number % out.len_of(Axis(1));
                    f64::from(scales.iter().nth(channel)?.abs())
                }
                false => gain,
            };
            let normed = x.iter().map(|&v| (f64::from(v) - mean).abs() / deviation);
            let normed = normed.fold(0.0, f64::max);
            // d(x − mean) ≤ 2e, dσ ≤ e.
            let slope = gain / deviation * (2.0 + normed);
            let (sums, single) = (most(sums.get(at.clone())?), most(single.get(at.clone())?));
            let level = x.iter().fold(0.0, |m, &v| f64::max(m, f64::from(v.abs())));
            let own = slope * level * (x.len() as f64).sqrt() + shift;
            for y in results.get(at)? {
                all_sums.push((slope * sums) as f32);
                let rounding = SAFETY * UNIT * (own + f64::from(y.abs()));
                all_single.push((slope * single + rounding) as f32);
            }
        }
        bound.sums = ArrayD::from_shape_vec(out.raw_dim(), all_sums).ok()?;
        bound.single = ArrayD::from_shape_vec(out.raw_dim(), all_single).ok()?;
        debug_assert_eq!(bound.sums.raw_dim().ndim(), rank);
        Some(bound)
    }

    /// Softmax moves by no more than its input, LogSoftmax by no more than twice that.
    pub(super) fn softmax(&self, node: &Node<'_>, x: TensorId, out: &ArrayD<f32>) -> Option<Bound> {
        let before = self.bound(x)?;
        let slope = if node.op() == "Softmax" { 1.0 } else { 2.0 };
        let uniform = |part: &ArrayD<f32>| {
            ArrayD::from_elem(out.raw_dim(), (slope * largest(part.view())) as f32)
        };
        let level = largest(self.value(x)?).max(1.0);
        Some(Bound {
            sums: uniform(&before.sums),
            single: uniform(&before.single)
                + (SAFETY * UNIT * 8.0 * level.max(largest(out.view()))) as f32,
        })
    }
}

fn scaled(gain: f64, error: f32) -> f32 {
    match error == 0.0 {
        true => 0.0,
        false => (gain * f64::from(error)) as f32,
    }
}
