//! `Add`, `Sub`, `Mul` and `Div` with broadcasting.

use ndarray::ArrayD;

use super::ParamKind;
use super::broadcast::{Broadcast, common_shape, expand, sum_to};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Role, Saved, ShapeError, Traits};
use crate::arrays::{copy, map};

/// A binary elementwise operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
}

/// `f(a, b)` with both repeated to their common shape.
fn combine(
    a: &ArrayD<f32>,
    b: &ArrayD<f32>,
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) -> Result<ArrayD<f32>, ShapeError> {
    let shape = common_shape(a.shape(), b.shape())?;
    if shape == a.shape() {
        return Ok(Broadcast::into(b.shape(), &shape)?.zip(a, b, f));
    }
    if shape == b.shape() {
        return Ok(Broadcast::into(a.shape(), &shape)?.zip(b, a, |b, a| f(a, b)));
    }
    let a = expand(a, &shape);
    Ok(Broadcast::into(b.shape(), &shape)?.zip(&a, b, f))
}

impl Op for Arithmetic {
    fn name(&self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
        }
    }

    fn traits(&self, params: Params<'_, '_>) -> Traits<'_> {
        // A number divided by data jumps at 0.
        let jumps = *self == Self::Div && !matches!(params, [None, Some(_)]);
        Traits {
            monotone: Monotone::exact_if(!jumps),
            role: Role::Arithmetic(*self),
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let (a, b) = (inputs[0], inputs[1]);
        let y = match self {
            Self::Add => combine(a, b, |a, b| a + b),
            Self::Sub => combine(a, b, |a, b| a - b),
            Self::Mul => combine(a, b, |a, b| a * b),
            Self::Div => combine(a, b, |a, b| a / b),
        }?;
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let times = |g: &ArrayD<f32>, x: &ArrayD<f32>, f: fn(f32, f32) -> f32| {
            let form = Broadcast::into(x.shape(), g.shape());
            form.expect("shapes of the forward pass").zip(g, x, f)
        };
        let full_b = pass.wanted[1].then(|| match self {
            Self::Add => copy(&grad),
            Self::Sub => map(&grad, |g| -g),
            Self::Mul => times(&grad, pass.input(0), |g, a| g * a),
            Self::Div => {
                let over_b = times(&grad, pass.input(1), |g, b| -g / (b * b));
                times(&over_b, pass.input(0), |g, a| g * a)
            }
        });
        let full_a = pass.wanted[0].then(|| match self {
            Self::Add | Self::Sub => grad,
            Self::Mul => times(&grad, pass.input(1), |g, b| g * b),
            Self::Div => times(&grad, pass.input(1), |g, b| g / b),
        });
        vec![
            full_a.map(|g| sum_to(g, pass.shapes[0])),
            full_b.map(|g| sum_to(g, pass.shapes[1])),
        ]
    }

    fn needs_input(&self, k: usize, wanted: &[bool]) -> bool {
        match self {
            Self::Add | Self::Sub => false,
            Self::Mul => wanted[1 - k],
            Self::Div => k == 1 || wanted[1],
        }
    }
}

/// `Sum` of one or two operands.
pub(super) fn import_sum(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    match view.input_count() {
        1 => super::identity::import(view),
        2 => view.imported(Arithmetic::Add, &[ParamKind::Constant, ParamKind::Constant]),
        _ => Err(view.reject("only up to two operands are supported")),
    }
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = match view.node.op() {
        "Add" => Arithmetic::Add,
        "Sub" => Arithmetic::Sub,
        "Mul" => Arithmetic::Mul,
        _ => Arithmetic::Div,
    };
    view.imported(op, &[ParamKind::Constant, ParamKind::Constant])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random};

    #[test]
    fn values_and_gradients_with_every_kind_of_broadcast() {
        let shapes: [[&[usize]; 2]; 6] = [
            [&[2, 3, 4], &[2, 3, 4]],
            [&[2, 3, 4], &[3, 1]],
            [&[3, 1], &[2, 3, 4]],
            [&[1, 3, 4], &[2, 1, 1]],
            [&[2, 3, 4], &[]],
            [&[2, 3, 4], &[4]],
        ];
        for [a, b] in shapes {
            // Divisors away from 0.
            let inputs = [random(a, 1), random(b, 2).mapv(|x| x + 2.0 * x.signum())];
            for op in [
                Arithmetic::Add,
                Arithmetic::Sub,
                Arithmetic::Mul,
                Arithmetic::Div,
            ] {
                let y = forward(&op, &[&inputs[0], &inputs[1]]);
                let expected = match op {
                    Arithmetic::Add => &inputs[0] + &inputs[1],
                    Arithmetic::Sub => &inputs[0] - &inputs[1],
                    Arithmetic::Mul => &inputs[0] * &inputs[1],
                    Arithmetic::Div => &inputs[0] / &inputs[1],
                };
                assert_eq!(y, expected);
                check_gradients(&op, &inputs);
            }
        }
    }
}
