//! The subsidiary component: a binary mask on channels, learned through its sign.

use std::sync::Arc;

use bnn_kernels::elementwise::{ElementwiseMap, KnownMap};
use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;

use super::{
    Backward, ChannelsLeft, Elementwise, Monotone, Op, Params, Role, Saved, ShapeError, Signs,
    Traits, check,
};
use crate::arrays::{array, map_planes, slice};

/// `y[…, c, …] = x[…, c, …] · m[filter_of[c]]` with `m = (sign(M) + 1) / 2`, sign(0) = +1; inputs x
/// and M `[F]`. The gradient of M is the straight-through estimator `dL/dM = dL/dm / 2`, on all of
/// [-1, 1] to which M is clipped, its bounds included.
#[derive(Debug, Clone)]
pub struct ChannelMask {
    /// The axis of x that is masked.
    pub axis: usize,
    /// For each position on the axis the filter that it belongs to; `None` leaves it as it is.
    pub filter_of: Vec<Option<usize>>,
}

impl ChannelMask {
    /// The factor of each position on the axis.
    fn factors(&self, mask: &ArrayD<f32>) -> Vec<f32> {
        let mask = slice(mask);
        let factor = |f: &Option<usize>| match f {
            Some(f) if mask[*f] < 0.0 => 0.0,
            _ => 1.0,
        };
        self.filter_of.iter().map(factor).collect()
    }

    /// The gradient of M, of that shape, from Σ grad · x of each position on the axis.
    pub(crate) fn gradient(
        &self,
        dots: impl IntoIterator<Item = f64>,
        shape: &[usize],
    ) -> ArrayD<f32> {
        let mut sums = vec![0f64; shape.iter().product()];
        for (filter, dot) in self.filter_of.iter().zip(dots) {
            if let Some(f) = filter {
                sums[*f] += dot;
            }
        }
        array(shape, sums.into_iter().map(|s| 0.5 * s as f32).collect())
    }

    /// Multiplies; positions with factor 0 become 0 even where x is not finite.
    fn apply(&self, x: &ArrayD<f32>, mask: &ArrayD<f32>) -> ArrayD<f32> {
        let factors = self.factors(mask);
        let planes = Planes::around(x.shape(), self.axis);
        if planes.inner == 1 {
            let rows = Planes {
                outer: planes.outer,
                channels: 1,
                inner: planes.channels,
            };
            return map_planes(rows, x, |_, x, y| {
                let xf = x.iter().zip(&factors);
                y.iter_mut()
                    .zip(xf)
                    .for_each(|(y, (&x, &f))| *y = if f == 0.0 { 0.0 } else { x });
            });
        }
        map_planes(planes, x, |c, x, y| match factors[c] {
            0.0 => y.fill(0.0),
            _ => y.copy_from_slice(x),
        })
    }
}

impl Op for ChannelMask {
    fn name(&self) -> &'static str {
        "ChannelMask"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::exact_if(self.axis == 1),
            signs: Signs::Keeps,
            role: Role::Mask(self),
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, mask) = (inputs[0], inputs[1]);
        let filters = self.filter_of.iter().flatten().max().map_or(0, |f| f + 1);
        let fits = x.shape().get(self.axis) == Some(&self.filter_of.len()) && filters <= mask.len();
        check(fits, || {
            let channels = self.filter_of.len();
            format!(
                "a mask of {channels} channels on axis {} of {:?}",
                self.axis,
                x.shape()
            )
        })?;
        Ok((self.apply(x, mask), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let mask = pass.input(1);
        let grad_mask = pass.wanted[1].then(|| {
            let planes = Planes::around(grad.shape(), self.axis);
            let dots = planes.fold(slice(&grad), slice(pass.input(0)), |_, g, x| [g * x]);
            self.gradient(dots.into_iter().map(|[dot]| dot), mask.shape())
        });
        let grad_x = pass.wanted[0].then(|| self.apply(&grad, mask));
        vec![grad_x, grad_mask]
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        let output = left.output.filter(|o| o.axis == self.axis)?;
        let filter_of = output.kept.iter().map(|&i| self.filter_of.get(i).copied());
        Some(Arc::new(Self {
            axis: self.axis,
            filter_of: filter_of.map(Option::flatten).collect(),
        }))
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        k == 1 || wanted[1]
    }
}

impl Elementwise for ChannelMask {
    fn map<'a>(&'a self, _: usize, params: Params<'_, 'a>) -> Option<Box<dyn ElementwiseMap + 'a>> {
        let mask = params.get(1).copied().flatten()?;
        (self.axis == 1).then(|| Box::new(Factors(self.factors(mask))) as _)
    }
}

/// The factor of each channel.
struct Factors(Vec<f32>);

impl ElementwiseMap for Factors {
    fn channels(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn forward(&self, channel: usize, x: &mut [f32]) {
        if self.0[channel] == 0.0 {
            x.fill(0.0);
        }
    }

    fn backward(&self, channel: usize, _: &[f32], grad: &mut [f32]) {
        self.forward(channel, grad);
    }

    fn known(&self, channel: usize) -> Option<KnownMap> {
        Some(match self.0[channel] == 0.0 {
            true => KnownMap::Zero,
            false => KnownMap::Identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backward, forward, random, vector};

    #[test]
    fn masks_channels_and_sums_the_gradient_by_filter() {
        // M = 0 counts as kept, also at the bounds the gradient passes.
        let mask = vector(&[-1.0, 0.0, 1.0]);
        for (shape, axis) in [(vec![2, 4, 3], 1), (vec![3, 4], 1), (vec![2, 3, 4], 2)] {
            let op = ChannelMask {
                axis,
                filter_of: vec![Some(1), Some(0), None, Some(0)],
            };
            let x = random(&shape, 1);
            let y = forward(&op, &[&x, &mask]);
            let upstream = random(&shape, 2);
            let grads = backward(&op, &[&x, &mask], upstream.clone(), &[true, true]);
            let (grad_x, grad_m) = (grads[0].as_ref().unwrap(), grads[1].as_ref().unwrap());
            let mut expected = [0f32; 3];
            for (at, &x) in x.indexed_iter() {
                let c = at[axis];
                let m = if c == 1 || c == 3 { 0.0 } else { 1.0 };
                assert_eq!(y[&at], x * m);
                assert_eq!(grad_x[&at], upstream[&at] * m);
                if let Some(f) = op.filter_of[c] {
                    expected[f] += 0.5 * x * upstream[&at];
                }
            }
            for (g, e) in grad_m.iter().zip(expected) {
                assert!((g - e).abs() < 1e-5);
            }
        }
    }
}
