//! Normalisations with the statistics of the data themselves.

use ndarray::{ArrayD, Axis, IxDyn};

use super::sums::largest;
use super::{Bound, Bounds, SAFETY, UNIT};
use crate::graph::{Node, TensorId, normalize_axis};
use crate::operators::Statistics;

/// What is normalised together: the order of axes in which it lies in one stretch, and how many
/// elements that has.
struct Stretches {
    order: Vec<usize>,
    size: usize,
}

impl Stretches {
    fn of(node: &Node<'_>, over: Statistics, shape: &[usize]) -> Option<Self> {
        let rank = shape.len();
        let axes: Vec<usize> = match over {
            Statistics::Instance => (2..rank).collect(),
            Statistics::Group => (1..rank).collect(),
            Statistics::Layer | Statistics::RootMeanSquare => {
                (node.axis(-1, rank)?..rank).collect()
            }
            Statistics::Axes => {
                let given = node.ints("axes").unwrap_or(&[0, 2, 3]);
                let axis = |&a: &i64| normalize_axis(a, rank);
                given.iter().map(axis).collect::<Option<_>>()?
            }
        };
        let groups = match over {
            Statistics::Group => usize::try_from(node.int("num_groups", 1)).ok()?,
            _ => 1,
        };
        let size: usize = axes.iter().filter_map(|&a| shape.get(a)).product();
        let mut order: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
        order.extend(axes);
        Some(Self {
            order,
            size: size.checked_div(groups)?.max(1),
        })
    }

    /// The elements, stretch by stretch.
    fn flat(&self, x: &ArrayD<f32>) -> Vec<f32> {
        let x = x.view().permuted_axes(IxDyn(&self.order));
        x.iter().copied().collect()
    }

    /// What [`Self::flat`] took apart.
    fn whole(&self, values: Vec<f32>, shape: &[usize]) -> Option<ArrayD<f32>> {
        let sizes: Vec<usize> = self.order.iter().map(|&a| shape[a]).collect();
        let whole = ArrayD::from_shape_vec(IxDyn(&sizes), values).ok()?;
        let mut back = vec![0; self.order.len()];
        for (place, &axis) in self.order.iter().enumerate() {
            back[axis] = place;
        }
        Some(whole.permuted_axes(IxDyn(&back)))
    }
}

impl Bounds<'_> {
    /// Mean and deviation move by at most the largest error of what they are taken over, and are
    /// bounded as if taken over all.
    pub(super) fn normalization(
        &self,
        node: &Node<'_>,
        over: Statistics,
        inputs: &[TensorId],
        out: &ArrayD<f32>,
    ) -> Option<Bound> {
        let x = *inputs.first()?;
        let value = self.value(x)?.into_owned();
        let error = self.bound(x)?.broadcast(out.shape())?;
        if value.shape() != out.shape() || value.is_empty() {
            return None;
        }
        let stretches = Stretches::of(node, over, out.shape())?;
        let parameter = |k: usize| inputs.get(k).map(|&t| self.value(t));
        let scales: Vec<f32> = match parameter(1) {
            Some(scales) => scales?.iter().copied().collect(),
            None => vec![1.0],
        };
        let gain = scales
            .iter()
            .fold(0.0, |most, s| f64::max(most, f64::from(s.abs())));
        let shift = match parameter(2) {
            Some(shift) => largest(shift?.view()),
            None => 0.0,
        };
        // What the deviation is kept from 0 by.
        let epsilon = match over {
            Statistics::Axes => 1e-18,
            _ => f64::from(node.epsilon()),
        };
        let (values, results) = (stretches.flat(&value), stretches.flat(out));
        let (sums, single) = (stretches.flat(&error.sums), stretches.flat(&error.single));
        let (mut all_sums, mut all_single) = (Vec::new(), Vec::new());
        let most = |part: &[f32]| part.iter().fold(0.0, |m, &e| f64::max(m, f64::from(e)));
        for (number, x) in values.chunks(stretches.size).enumerate() {
            let at = number * stretches.size..number * stretches.size + x.len();
            let mean = match over {
                Statistics::RootMeanSquare => 0.0,
                _ => x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64,
            };
            let squares = x.iter().map(|&v| (f64::from(v) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / x.len() as f64 + epsilon).sqrt();
            let gain = match over {
                Statistics::Instance => {
                    let channel = number % out.len_of(Axis(1));
                    f64::from(scales.get(channel)?.abs())
                }
                _ => gain,
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
        Some(Bound {
            sums: stretches.whole(all_sums, out.shape())?,
            single: stretches.whole(all_single, out.shape())?,
        })
    }
}
