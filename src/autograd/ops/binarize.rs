//! Binarisers of activations, with the straight-through estimator.

use ndarray::ArrayD;

use super::{Backward, Context, Op, Saved, ShapeError};
use crate::autograd::import::{ImportError, Imported, NodeView};
use crate::autograd::parallel::{map, update};
use crate::autograd::param::ParamKind;

/// `sign(x)` with a value of its own at 0. The gradient is the straight-through estimator: that of
/// the output where |x| ≤ 1, else 0.
#[derive(Debug, Clone)]
pub struct Binarize {
    /// The value at 0: -1, 0 or +1.
    pub zero: f32,
}

impl Op for Binarize {
    fn name(&self) -> &'static str {
        "Sign"
    }

    fn forward(
        &self,
        inputs: &[&ArrayD<f32>],
        _: Context,
    ) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let zero = self.zero;
        Ok((map(inputs[0], |x| sign(x, zero)), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        update(&mut grad, pass.input(0), |g, x| {
            if x.abs() <= 1.0 { g } else { 0.0 }
        });
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

/// ±1 by the sign of `x`, `zero` where it is 0; NaN stays, so that it is seen.
pub(in crate::autograd) fn sign(x: f32, zero: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else if x == 0.0 {
        zero
    } else {
        x
    }
}

/// ONNX `Sign`: 0 at 0.
pub(super) fn import_sign(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    view.imported(Binarize { zero: 0.0 }, &[ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::testing::{backward, forward, vector};

    #[test]
    fn the_value_at_zero_is_the_dialects() {
        let x = vector(&[-0.5, -0.0, 0.0, 3.0]);
        for zero in [-1.0, 0.0, 1.0] {
            let y = forward(&Binarize { zero }, &[&x]);
            assert_eq!(y, vector(&[-1.0, zero, zero, 1.0]));
        }
    }

    #[test]
    fn the_gradient_passes_where_the_input_is_at_most_one() {
        let x = vector(&[-1.5, -1.0, -0.2, 0.0, 1.0, 1.000_001]);
        let upstream = vector(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let grads = backward(&Binarize { zero: 1.0 }, &[&x], upstream, &[true]);
        let expected = vector(&[0.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
        assert_eq!(grads[0].as_ref(), Some(&expected));
    }
}
