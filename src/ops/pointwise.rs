//! Functions of single numbers without parameters: those of [`crate::operators`] that have a derivative
//! there, `Cast`, `Not`, and powers.

use std::fmt;
use std::sync::Arc;

use ndarray::ArrayD;

use super::ParamKind;
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Monotone, Op, Params, Saved, ShapeError, Traits};
use crate::arrays::{map, update};
use crate::onnx::DataType;
use crate::operators::{Attributes, Function, Operator, Smoothness, Trend, operator};

#[derive(Clone)]
struct Pointwise {
    name: &'static str,
    function: Arc<Function>,
    derivative: Arc<Function>,
    monotone: Monotone,
}

impl fmt::Debug for Pointwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Pointwise {
    fn new(name: &'static str, function: Function, derivative: Function) -> Self {
        Self {
            name,
            function: Arc::new(function),
            derivative: Arc::new(derivative),
            monotone: Monotone::No,
        }
    }

    /// The function that a row is, with a node's attributes; `None` if nothing is learned through it.
    fn of(row: &Operator, attributes: &dyn Attributes) -> Option<Self> {
        let unary = row.unary()?;
        let exact = row.decides || (row.smoothness)(attributes) == Smoothness::Exact;
        let monotone = match ((row.trend)(attributes), exact) {
            (Trend::Turns, _) => Monotone::No,
            (Trend::Rises | Trend::Falls, true) => Monotone::Exact,
            (Trend::Rises | Trend::Falls, false) => Monotone::Rounded,
        };
        let derivative = (unary.derivative?)(attributes);
        Some(Self {
            monotone,
            ..Self::new(row.name, (unary.single)(attributes), derivative)
        })
    }
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
        Ok((map(inputs[0], |x| (self.function)(x)), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, mut grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        update(&mut grad, pass.input(0), |g, x| g * (self.derivative)(x));
        vec![Some(grad)]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }
}

/// Whether [`import`] takes an operator.
pub(super) fn is_learned_through(op: &str) -> bool {
    let unary = operator(op).and_then(Operator::unary);
    unary.is_some_and(|unary| unary.derivative.is_some())
}

/// A function of one number, by its row.
pub(super) fn import(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let row = view.node.operator();
    let op = row.and_then(|row| Pointwise::of(row, &view.node));
    let op = op.ok_or_else(|| view.reject("nothing can be learned through it"))?;
    view.imported(op, &[ParamKind::Constant])
}

/// `Cast` to floats; integers would cut fractions off. Gradients pass (a cast comparison is constant anyway).
pub(super) fn import_cast(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let to = i32::try_from(view.node.int("to", 0)).ok();
    match to.and_then(DataType::from_onnx) {
        Some(DataType::F32) => {
            let op = Pointwise {
                monotone: Monotone::Exact,
                ..Pointwise::new("Cast", Box::new(|x| x), Box::new(|_| 1.0))
            };
            view.imported(op, &[ParamKind::Constant])
        }
        _ => Err(view.reject("only casts to 32-bit floats are supported")),
    }
}

/// `Not` of truth values, which are 0 and 1.
pub(super) fn import_not(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    let op = Pointwise::new("Not", Box::new(|x| 1.0 - x), Box::new(|_| -1.0));
    view.imported(op, &[ParamKind::Constant])
}

/// `Pow` of data to a constant number.
pub(super) fn import_pow(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    if view.is_constant(0) {
        return Err(view.reject("only powers of data are supported"));
    }
    if view.output_shape()?.len() != view.input_shape(0)?.len() {
        return Err(view.reject("its exponent has more axes than what it raises"));
    }
    view.imported(power(view.scalar(1)?), &[ParamKind::Constant])
}

/// x to a power; those that need no logarithm are computed without.
fn power(exponent: f32) -> Pointwise {
    let to = |exponent: f32| -> Function {
        match exponent {
            0.0 => Box::new(|_| 1.0),
            1.0 => Box::new(|x| x),
            2.0 => Box::new(|x| x * x),
            0.5 => Box::new(f32::sqrt),
            exponent => Box::new(move |x| x.powf(exponent)),
        }
    };
    let rest = to(exponent - 1.0);
    let derivative: Function = match exponent {
        0.0 => Box::new(|_| 0.0),
        exponent => Box::new(move |x| exponent * rest(x)),
    };
    Pointwise::new("Pow", to(exponent), derivative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::testing::Plain;
    use crate::ops::testing::{check_gradients, forward, random, vector};

    fn of(name: &str) -> Pointwise {
        Pointwise::of(operator(name).unwrap(), &Plain).unwrap()
    }

    /// The slopes themselves are held against differences where they are defined (operators/tests.rs).
    #[test]
    fn gradients() {
        for name in ["Abs", "Exp", "Neg", "Sigmoid", "Tanh", "Gelu", "HardSwish"] {
            check_gradients(&of(name), &[random(&[3, 7], 1)]);
        }
        let positive = random(&[3, 7], 1).mapv(|x| x.abs() + 0.5);
        for exponent in [2.0, 3.0, 0.5, -1.0, 1.0, 0.0] {
            check_gradients(&power(exponent), std::slice::from_ref(&positive));
        }
    }

    #[test]
    fn rounding_passes_gradients() {
        let x = vector(&[-1.5, -0.5, 0.5, 1.2]);
        let y = |name| forward(&of(name), &[&x]);
        assert_eq!(y("Round"), vector(&[-2.0, -0.0, 0.0, 1.0]));
        assert_eq!(y("Floor"), vector(&[-2.0, -1.0, 0.0, 1.0]));
        assert_eq!(y("Ceil"), vector(&[-1.0, -0.0, 1.0, 2.0]));
        assert_eq!((of("Ceil").derivative)(0.3), 1.0);
        assert_eq!(of("Floor").monotone, Monotone::Exact);
        assert_eq!(of("Tanh").monotone, Monotone::Rounded);
        assert_eq!(of("Abs").monotone, Monotone::No);
    }
}
