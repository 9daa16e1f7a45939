//! `Clip`.

use bnn_kernels::elementwise::ElementwiseMap;
use bnn_kernels::simd::wide;
use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Elementwise, Monotone, Op, Params, Saved, ShapeError, Traits};
use crate::arrays::{map, update};

/// `min(max(x, low), high)`; the gradient passes where x lies within the bounds.
#[derive(Debug, Clone)]
struct Clip {
    low: f32,
    high: f32,
}

impl Clip {
    /// What is left of the gradient `g`.
    #[inline(always)]
    fn passed(&self, x: f32, g: f32) -> f32 {
        let inside = (x >= self.low) & (x <= self.high);
        if inside { g } else { 0.0 }
    }

    #[inline(always)]
    fn clip(&self, x: f32) -> f32 {
        let x = if x < self.low { self.low } else { x };
        if x > self.high { self.high } else { x }
    }
}

impl Op for Clip {
    fn name(&self) -> &'static str {
        "Clip"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::Exact,
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        Ok((map(inputs[0], |x| self.clip(x)), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        update(&mut grad, pass.input(0), |g, x| self.passed(x, g));
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

impl Elementwise for Clip {
    fn map<'a>(&'a self, _: usize, _: Params<'_, 'a>) -> Option<Box<dyn ElementwiseMap + 'a>> {
        Some(Box::new(self.clone()))
    }
}

impl ElementwiseMap for Clip {
    fn forward(&self, _: usize, x: &mut [f32]) {
        wide(|| x.iter_mut().for_each(|x| *x = self.clip(*x)));
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        let pairs = grad.iter_mut().zip(x);
        wide(|| pairs.for_each(|(g, &x)| *g = self.passed(x, *g)));
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let given = |k| view.has_input(k).then(|| view.scalar(k).ok());
    let [Some(low), Some(high)] = view.node.clip_bounds(given) else {
        return Err(view.reject("its bounds have to be constant numbers"));
    };
    let op = Clip { low, high };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Binarize;
    use crate::ops::testing::{backward, check_gradients, forward, random, vector};

    #[test]
    fn values_and_gradients() {
        let op = Clip {
            low: -0.5,
            high: 0.75,
        };
        let y = forward(&op, &[&vector(&[-3.0, -0.5, 0.1, 0.8])]);
        assert_eq!(y, vector(&[-0.5, -0.5, 0.1, 0.75]));
        check_gradients(&op, &[random(&[4, 25], 1)]);
    }

    #[test]
    fn clip_then_sign_has_the_product_of_both_gradients() {
        let x = vector(&[-2.0, -0.4, 0.6, 1.5]);
        let clip = Clip {
            low: -0.5,
            high: 2.0,
        };
        let clipped = forward(&clip, &[&x]);
        let ones = vector(&[1.0; 4]);
        let sign = backward(&Binarize::sign(0.0), &[&clipped], ones, &[true]).remove(0);
        let grad = backward(&clip, &[&x], sign.unwrap(), &[true]).remove(0);
        // -2 is outside the clip, 1.5 outside the sign's window.
        assert_eq!(grad, Some(vector(&[0.0, 1.0, 1.0, 0.0])));
    }
}
