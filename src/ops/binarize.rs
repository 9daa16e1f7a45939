//! Binarisers of activations, with the straight-through estimator.

use std::sync::Arc;

use bnn_kernels::elementwise::{Element, ElementwiseMap, KnownMap, SignStep};
use bnn_kernels::simd::wide;
use ndarray::{ArrayD, arr0};

use super::ParamKind;
use super::broadcast::Broadcast;
use super::node_view::{ImportError, Imported, NodeView};
use super::{
    Backward, ChannelsLeft, Elementwise, Monotone, Op, Params, Role, Saved, ShapeError, Signs,
    Traits,
};
use crate::arrays::{map, update};

/// One value where x is above a threshold, one below, and one at it. The gradient is the
/// straight-through estimator: (above - below) / 2 times that of the output where |x - threshold|
/// ≤ 1, else 0.
#[derive(Debug, Clone)]
pub struct Binarize {
    /// The values below the threshold, at it, and above it.
    pub values: [f32; 3],
    /// What x is compared with; broadcasts to it.
    pub threshold: ArrayD<f32>,
}

impl Binarize {
    /// ±1 by the sign of x, with a value of its own at 0.
    pub fn sign(zero: f32) -> Self {
        Self {
            values: [-1.0, zero, 1.0],
            threshold: arr0(0.0).into_dyn(),
        }
    }

    #[inline(always)]
    fn step(&self, threshold: f32) -> SignStep {
        SignStep {
            values: self.values,
            threshold,
        }
    }

    fn compared(
        &self,
        x: &ArrayD<f32>,
        f: impl Fn(SignStep, f32) -> f32 + Sync + Copy,
    ) -> Result<ArrayD<f32>, ShapeError> {
        match self.threshold.first() {
            Some(&t) if self.threshold.len() == 1 => {
                let step = self.step(t);
                Ok(map(x, move |x| f(step, x)))
            }
            _ => {
                let at = |x, t| f(self.step(t), x);
                Ok(Broadcast::into(self.threshold.shape(), x.shape())?.zip(x, &self.threshold, at))
            }
        }
    }
}

impl Op for Binarize {
    fn name(&self) -> &'static str {
        "Sign"
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        let sorted = self.values.is_sorted() || self.values.iter().rev().is_sorted();
        let signs = self.values.iter().all(|v| [-1.0, 0.0, 1.0].contains(v));
        Traits {
            monotone: Monotone::exact_if(sorted),
            signs: if signs { Signs::Makes } else { Signs::No },
            role: Role::Binariser(self),
            elementwise: Some(self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let y = self.compared(inputs[0], |step, x| step.forward(x))?;
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let x = pass.input(0);
        match self.threshold.first() {
            Some(&t) if self.threshold.len() == 1 => {
                let step = self.step(t);
                update(&mut grad, x, move |g, x| g * step.slope(x));
            }
            _ => {
                let open = self.compared(x, |step, x| step.slope(x));
                update(
                    &mut grad,
                    &open.expect("shapes of the forward pass"),
                    |g, s| g * s,
                );
            }
        }
        vec![Some(grad)]
    }

    fn with_channels(&self, left: &ChannelsLeft<'_>) -> Option<Arc<dyn Op>> {
        let rank = left.sample?.len() + 1;
        Some(Arc::new(Self {
            threshold: left.output?.of_repeated(&self.threshold, rank),
            ..self.clone()
        }))
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

impl Elementwise for Binarize {
    fn map<'a>(&'a self, _: usize, _: Params<'_, 'a>) -> Option<Box<dyn ElementwiseMap + 'a>> {
        match self.threshold.first() {
            Some(&threshold) if self.threshold.len() == 1 => Some(Box::new(At {
                op: self,
                threshold,
            })),
            _ => None,
        }
    }
}

/// A binariser with one threshold.
struct At<'a> {
    op: &'a Binarize,
    threshold: f32,
}

impl ElementwiseMap for At<'_> {
    fn forward(&self, _: usize, x: &mut [f32]) {
        let step = self.op.step(self.threshold);
        wide(move || x.iter_mut().for_each(|x| *x = step.forward(*x)));
    }

    fn backward(&self, _: usize, x: &[f32], grad: &mut [f32]) {
        let pairs = grad.iter_mut().zip(x);
        let step = self.op.step(self.threshold);
        wide(move || pairs.for_each(|(g, &x)| *g *= step.slope(x)));
    }

    fn known(&self, _: usize) -> Option<KnownMap> {
        Some(KnownMap::Sign(self.op.step(self.threshold)))
    }
}

/// ±1 by the sign of `x`, `zero` where it is 0; NaN stays, so that it is seen.
#[inline(always)]
pub(crate) fn sign(x: f32, zero: f32) -> f32 {
    let step = SignStep {
        values: [-1.0, zero, 1.0],
        threshold: 0.0,
    };
    step.forward(x)
}

/// ONNX `Sign`: 0 at 0.
pub(super) fn import_sign(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    view.imported(Binarize::sign(0.0), &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backward, forward, vector};

    #[test]
    fn the_value_at_zero_is_the_dialects() {
        let x = vector(&[-0.5, -0.0, 0.0, 3.0]);
        for zero in [-1.0, 0.0, 1.0] {
            let y = forward(&Binarize::sign(zero), &[&x]);
            assert_eq!(y, vector(&[-1.0, zero, zero, 1.0]));
        }
    }

    #[test]
    fn thresholds_and_values_of_any_kind() {
        let op = Binarize {
            values: [0.5, 0.5, -0.5],
            threshold: vector(&[0.0, 1.0, -1.0]),
        };
        let x = vector(&[0.1, 1.0, -1.5]);
        assert_eq!(forward(&op, &[&x]), vector(&[-0.5, 0.5, 0.5]));
        let grads = backward(&op, &[&x], vector(&[1.0, 1.0, 2.0]), &[true]);
        assert_eq!(grads[0].as_ref(), Some(&vector(&[-0.5, -0.5, -1.0])));
    }

    #[test]
    fn the_gradient_passes_where_the_input_is_at_most_one() {
        let x = vector(&[-1.5, -1.0, -0.2, 0.0, 1.0, 1.000_001]);
        let upstream = vector(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let grads = backward(&Binarize::sign(1.0), &[&x], upstream, &[true]);
        let expected = vector(&[0.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
        assert_eq!(grads[0].as_ref(), Some(&expected));
    }
}
