//! `Relu`, `LeakyRelu` and `PRelu`: a line through the origin with a kink.

use bnn_kernels::elementwise::{ElementwiseMap, KnownMap, leaky_relu, leaky_relu_slope, relu};
use bnn_kernels::simd::wide;
use ndarray::ArrayD;

use super::ParamKind;
use super::broadcast::{Broadcast, sum_to};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Elementwise, Monotone, Op, Params, Saved, ShapeError, Traits};
use crate::arrays::{map, update, zip};

/// `x` where positive, else `slope · x`.
#[derive(Debug, Clone)]
struct Leaky {
    name: &'static str,
    slope: f32,
}

impl Op for Leaky {
    fn name(&self) -> &'static str {
        self.name
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::exact_if(self.slope >= 0.0),
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let slope = self.slope;
        let y = match slope {
            0.0 => map(inputs[0], relu),
            _ => map(inputs[0], |x| leaky_relu(x, slope)),
        };
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let slope = self.slope;
        update(&mut grad, pass.input(0), |g, x| {
            g * leaky_relu_slope(x, slope)
        });
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

impl Elementwise for Leaky {
    fn map<'a>(&'a self, _: usize, _: Params<'_, 'a>) -> Option<Box<dyn ElementwiseMap + 'a>> {
        Some(Box::new(self.clone()))
    }
}

impl ElementwiseMap for Leaky {
    fn known(&self, _: usize) -> Option<KnownMap> {
        (self.slope == 0.0).then_some(KnownMap::Relu)
    }

    fn forward(&self, _: usize, x: &mut [f32]) {
        let slope = self.slope;
        match slope {
            0.0 => wide(|| {
                x.iter_mut().for_each(|x| *x = relu(*x));
            }),
            _ => wide(|| {
                x.iter_mut().for_each(|x| *x = leaky_relu(*x, slope));
            }),
        }
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        let slope = self.slope;
        let pairs = grad.iter_mut().zip(x);
        wide(|| pairs.for_each(|(g, &x)| *g *= leaky_relu_slope(x, slope)));
    }
}

/// `x` where positive, else `slope · x` with a slope that broadcasts to x.
#[derive(Debug, Clone)]
struct PRelu;

impl Op for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn traits(&self, params: Params<'_, '_>) -> Traits<'_> {
        let rises = matches!(params, [None, Some(slope)] if slope.iter().all(|&s| s >= 0.0));
        Traits {
            monotone: Monotone::exact_if(rises),
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, slope) = (inputs[0], inputs[1]);
        let b = Broadcast::into(slope.shape(), x.shape())?;
        let y = b.zip(x, slope, leaky_relu);
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let (x, slope) = (pass.input(0), pass.input(1));
        let grad_slope = pass.wanted[1].then(|| {
            let negative = zip(&grad, x, |g, x| if x < 0.0 { g * x } else { 0.0 });
            sum_to(negative, slope.shape())
        });
        let grad_x = pass.wanted[0].then(|| {
            let b = Broadcast::into(slope.shape(), x.shape()).expect("shapes of the forward pass");
            let factor = b.zip(x, slope, leaky_relu_slope);
            let mut grad = grad;
            update(&mut grad, &factor, |g, f| g * f);
            grad
        });
        vec![grad_x, grad_slope]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

impl Elementwise for PRelu {
    fn map<'a>(
        &'a self,
        rank: usize,
        params: Params<'_, 'a>,
    ) -> Option<Box<dyn ElementwiseMap + 'a>> {
        let slope = params.get(1).copied().flatten()?;
        let per_channel = slope.ndim() + 1 == rank && slope.shape().first() == Some(&slope.len());
        (per_channel || slope.len() == 1 && slope.ndim() <= rank)
            .then(|| Box::new(Slopes(slope.iter().copied().collect())) as _)
    }
}

/// The slope of each channel, or one for all.
struct Slopes(Vec<f32>);

impl Slopes {
    fn of(&self, channel: usize) -> f32 {
        self.0[channel % self.0.len()]
    }
}

impl ElementwiseMap for Slopes {
    fn channels(&self) -> Option<usize> {
        (self.0.len() > 1).then_some(self.0.len())
    }

    fn forward(&self, channel: usize, x: &mut [f32]) {
        let slope = self.of(channel);
        wide(|| {
            x.iter_mut().for_each(|x| *x = leaky_relu(*x, slope));
        });
    }

    fn backward(&self, channel: usize, x: &[f32], grad: &mut [f32]) {
        let slope = self.of(channel);
        let pairs = grad.iter_mut().zip(x);
        wide(|| pairs.for_each(|(g, &x)| *g *= leaky_relu_slope(x, slope)));
    }
}

pub(super) fn import_relu(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = Leaky {
        name: "Relu",
        slope: 0.0,
    };
    view.imported(op, &[ParamKind::Constant])
}

pub(super) fn import_leaky(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = Leaky {
        name: "LeakyRelu",
        slope: view.node.float("alpha", 0.01),
    };
    view.imported(op, &[ParamKind::Constant])
}

pub(super) fn import_prelu(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    view.imported(PRelu, &[ParamKind::Constant, ParamKind::Slope])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random, vector};

    #[test]
    fn values_at_both_sides_of_the_kink() {
        let x = vector(&[-2.0, 0.0, 3.0, f32::NEG_INFINITY]);
        let relu = Leaky {
            name: "Relu",
            slope: 0.0,
        };
        assert_eq!(forward(&relu, &[&x]), vector(&[0.0, 0.0, 3.0, 0.0]));
        let y = forward(&PRelu, &[&x, &vector(&[0.5])]);
        assert_eq!(y, vector(&[-1.0, 0.0, 3.0, f32::NEG_INFINITY]));
    }

    #[test]
    fn gradients_are_finite_differences() {
        for slope in [0.0, 0.1] {
            let op = Leaky {
                name: "LeakyRelu",
                slope,
            };
            check_gradients(&op, &[random(&[3, 4, 5], 1)]);
        }
        for slope in [vec![4, 1, 1], vec![1], vec![1, 4, 1, 1], vec![5]] {
            check_gradients(&PRelu, &[random(&[2, 4, 3, 5], 2), random(&slope, 3)]);
        }
    }
}
