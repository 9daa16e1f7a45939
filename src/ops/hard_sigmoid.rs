//! `HardSigmoid`.

use bnn_kernels::elementwise::ElementwiseMap;
use bnn_kernels::simd::wide;
use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Elementwise, Monotone, Op, Params, Saved, ShapeError, Traits};
use crate::arrays::{map, update};

/// `alpha · x + beta`, kept within [0, 1].
#[derive(Debug, Clone)]
struct HardSigmoid {
    alpha: f32,
    beta: f32,
}

impl HardSigmoid {
    /// By comparison, so that NaN stays, and is seen.
    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        let y = self.alpha * x + self.beta;
        let y = if y < 0.0 { 0.0 } else { y };
        if y > 1.0 { 1.0 } else { y }
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        let y = self.alpha * x + self.beta;
        if (y > 0.0) & (y < 1.0) {
            self.alpha
        } else {
            0.0
        }
    }
}

impl Op for HardSigmoid {
    fn name(&self) -> &'static str {
        "HardSigmoid"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: Monotone::Exact,
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        Ok((map(inputs[0], |x| self.value(x)), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        update(&mut grad, pass.input(0), |g, x| g * self.slope(x));
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

impl Elementwise for HardSigmoid {
    fn map<'a>(&'a self, _: usize, _: Params<'_, 'a>) -> Option<Box<dyn ElementwiseMap + 'a>> {
        Some(Box::new(self.clone()))
    }
}

impl ElementwiseMap for HardSigmoid {
    fn forward(&self, _: usize, x: &mut [f32]) {
        wide(|| x.iter_mut().for_each(|x| *x = self.value(*x)));
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        let pairs = grad.iter_mut().zip(x);
        wide(|| pairs.for_each(|(g, &x)| *g *= self.slope(x)));
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = HardSigmoid {
        alpha: view.node.float("alpha", 0.2),
        beta: view.node.float("beta", 0.5),
    };
    view.imported(op, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random, vector};

    #[test]
    fn values_and_gradients() {
        let op = HardSigmoid {
            alpha: 0.5,
            beta: 0.25,
        };
        let x = vector(&[-1.0, -0.5, 0.5, 1.5, 9.0]);
        let y = vector(&[0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(forward(&op, &[&x]), y);
        check_gradients(&op, &[random(&[3, 4, 5], 1)]);
    }
}
