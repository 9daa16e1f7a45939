//! Operators on single numbers without parameters: one table of functions with their slopes.

use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Saved, ShapeError, Traits};
use crate::arrays::{map, update};
use crate::onnx::DataType;

/// A function of one number.
type Function = fn(f32) -> f32;

use Monotone::{Exact, No, Rounded};

/// Operator, function, slope, whether it rises or falls everywhere. Rounding has the straight-through
/// estimator's slope; truth values are 0 and 1 and pass gradients through (a cast comparison is
/// constant anyway).
const TABLE: &[(&str, Function, Function, Monotone)] = &[
    ("Abs", f32::abs, |x| crate::graph::scalar::sign(x), No),
    ("Cast", |x| x, |_| 1.0, No),
    ("Ceil", f32::ceil, |_| 1.0, Exact),
    ("Exp", f32::exp, f32::exp, Rounded),
    ("Floor", f32::floor, |_| 1.0, Exact),
    ("Log", f32::ln, |x| 1.0 / x, No),
    ("Neg", |x| -x, |_| -1.0, Exact),
    ("Not", |x| 1.0 - x, |_| -1.0, No),
    ("Round", f32::round_ties_even, |_| 1.0, Exact),
    (
        "Sigmoid",
        sigmoid,
        |x| sigmoid(x) * (1.0 - sigmoid(x)),
        Rounded,
    ),
    ("Sqrt", f32::sqrt, |x| 0.5 / x.sqrt(), No),
    ("Tanh", f32::tanh, |x| 1.0 - x.tanh() * x.tanh(), Rounded),
];

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[derive(Debug, Clone, Copy)]
struct Pointwise {
    name: &'static str,
    function: Function,
    slope: Function,
    monotone: Monotone,
}

impl Op for Pointwise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn traits(&self, _: Params<'_, '_>) -> Traits<'_> {
        Traits {
            monotone: self.monotone,
            ..Traits::default()
        }
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        Ok((map(inputs[0], self.function), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        update(&mut grad, pass.input(0), |g, x| g * (self.slope)(x));
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

fn of(op: &str) -> Option<Pointwise> {
    let &(name, function, slope, monotone) = TABLE.iter().find(|(name, ..)| *name == op)?;
    Some(Pointwise {
        name,
        function,
        slope,
        monotone,
    })
}

pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = of(view.node.op()).ok_or_else(|| view.reject("it is not in the table"))?;
    view.imported(op, &[ParamKind::Constant])
}

/// `Cast` to floats; integers would cut fractions off.
pub(super) fn import_cast(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let to = i32::try_from(view.node.int("to", 0)).ok();
    match to.and_then(DataType::from_onnx) {
        Some(DataType::F32) => import(view),
        _ => Err(view.reject("only casts to 32-bit floats are supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, forward, random, vector};

    #[test]
    fn values_and_gradients() {
        for name in ["Abs", "Exp", "Neg", "Sigmoid", "Tanh", "Not", "Cast"] {
            check_gradients(&of(name).unwrap(), &[random(&[3, 7], 1)]);
        }
        for name in ["Log", "Sqrt"] {
            let positive = random(&[3, 7], 1).mapv(|x| x.abs() + 0.5);
            check_gradients(&of(name).unwrap(), &[positive]);
        }
        let x = vector(&[-1.5, -0.5, 0.5, 1.2]);
        let y = |name| forward(&of(name).unwrap(), &[&x]);
        assert_eq!(y("Round"), vector(&[-2.0, -0.0, 0.0, 1.0]));
        assert_eq!(y("Floor"), vector(&[-2.0, -1.0, 0.0, 1.0]));
        assert_eq!(y("Ceil"), vector(&[-1.0, -0.0, 1.0, 2.0]));
    }
}
