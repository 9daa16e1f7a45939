//! `Relu`, `LeakyRelu` and `PRelu`: a line through the origin with a kink.

use ndarray::ArrayD;

use super::{Backward, Context, Op, Saved, ShapeError};
use crate::autograd::broadcast::{Broadcast, sum_to};
use crate::autograd::import::{ImportError, Imported, NodeView};
use crate::autograd::parallel::{map, update, zip};
use crate::autograd::param::ParamKind;

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

    fn is_monotone(&self, _: &[Option<&ArrayD<f32>>]) -> bool {
        self.slope >= 0.0
    }

    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        _: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let slope = self.slope;
        // Relu by comparison, not by product: 0 · infinity is not 0.
        let y = match slope {
            0.0 => map(inputs[0], |x| if x < 0.0 { 0.0 } else { x }),
            _ => map(inputs[0], |x| if x < 0.0 { slope * x } else { x }),
        };
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let slope = self.slope;
        update(&mut grad, pass.input(0), |g, x| {
            if x > 0.0 { g } else { slope * g }
        });
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

/// `x` where positive, else `slope · x` with a slope that broadcasts to x.
#[derive(Debug, Clone)]
struct PRelu;

impl Op for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
    }

    fn is_monotone(&self, params: &[Option<&ArrayD<f32>>]) -> bool {
        matches!(params, [None, Some(slope)] if slope.iter().all(|&s| s >= 0.0))
    }

    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        _: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (x, slope) = (inputs[0], inputs[1]);
        let b = Broadcast::into(slope.shape(), x.shape())?;
        let y = b.zip(x, slope, |x, s| if x < 0.0 { s * x } else { x });
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
            let factor = b.zip(x, slope, |x, s| if x > 0.0 { 1.0 } else { s });
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
    use crate::autograd::testing::{check_gradients, forward, random, vector};

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
