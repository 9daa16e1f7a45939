//! `Max`, `Min`, the comparisons and `Where`, with broadcasting.

use ndarray::ArrayD;

use super::ParamKind;
use super::broadcast::{common_shape, expand, sum_to};
use super::node_view::{ImportError, Imported, NodeView};
use super::{Backward, Op, Saved, ShapeError};
use crate::arrays::zip;

/// An operator of two operands that picks or compares.
#[derive(Debug, Clone, Copy)]
struct Pair {
    name: &'static str,
    function: fn(f32, f32) -> f32,
    /// Whether the first operand is the one picked, so that the gradient goes there; `None`: it
    /// goes nowhere.
    first: Option<fn(f32, f32) -> bool>,
}

const PAIRS: &[Pair] = &[
    pick("Max", |a, b| if b > a { b } else { a }, |a, b| a >= b),
    pick("Min", |a, b| if b < a { b } else { a }, |a, b| a <= b),
    compare("Greater", |a, b| f32::from(u8::from(a > b))),
    compare("GreaterOrEqual", |a, b| f32::from(u8::from(a >= b))),
    compare("Less", |a, b| f32::from(u8::from(a < b))),
    compare("LessOrEqual", |a, b| f32::from(u8::from(a <= b))),
    compare("Equal", |a, b| f32::from(u8::from(a == b))),
];

const fn pick(
    name: &'static str,
    function: fn(f32, f32) -> f32,
    first: fn(f32, f32) -> bool,
) -> Pair {
    Pair {
        name,
        function,
        first: Some(first),
    }
}

const fn compare(name: &'static str, function: fn(f32, f32) -> f32) -> Pair {
    Pair {
        name,
        function,
        first: None,
    }
}

/// Both operands in their common shape.
fn spread(a: &ArrayD<f32>, b: &ArrayD<f32>) -> Result<[ArrayD<f32>; 2], ShapeError> {
    let shape = common_shape(a.shape(), b.shape())?;
    Ok([expand(a, &shape), expand(b, &shape)])
}

impl Op for Pair {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let [a, b] = spread(inputs[0], inputs[1])?;
        Ok((zip(&a, &b, self.function), Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let Some(first) = self.first else {
            let zeros = |k: usize| pass.wanted[k].then(|| ArrayD::zeros(pass.shapes[k]));
            return vec![zeros(0), zeros(1)];
        };
        let [a, b] = spread(pass.input(0), pass.input(1)).expect("shapes of the forward pass");
        let chosen = zip(&a, &b, |a, b| f32::from(u8::from(first(a, b))));
        let to = |k: usize, share: fn(f32, f32) -> f32| {
            pass.wanted[k].then(|| sum_to(zip(&grad, &chosen, share), pass.shapes[k]))
        };
        vec![to(0, |g, c| g * c), to(1, |g, c| g * (1.0 - c))]
    }

    fn needs_input(&self, _: usize, _: &[bool]) -> bool {
        self.first.is_some()
    }
}

/// Two-operand forms only.
pub(super) fn import_pair(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    match (view.input_count(), view.node.op()) {
        (1, "Max" | "Min") => return super::identity::import(view),
        (2, _) => {}
        _ => return Err(view.reject("only two operands are supported")),
    }
    let pair = PAIRS.iter().find(|p| p.name == view.node.op());
    let pair = *pair.ok_or_else(|| view.reject("it is not in the table"))?;
    view.imported(pair, &[ParamKind::Constant, ParamKind::Constant])
}

/// `Where(condition, a, b)`: a where the condition is not 0.
#[derive(Debug, Clone, Copy)]
struct Where;

impl Op for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn forward(&self, inputs: &[&ArrayD<f32>]) -> Result<(ArrayD<f32>, Saved), ShapeError> {
        let shape = common_shape(inputs[1].shape(), inputs[2].shape())?;
        let shape = common_shape(inputs[0].shape(), &shape)?;
        let [c, mut y, b] = [0, 1, 2].map(|k| expand(inputs[k], &shape));
        // Chosen, not multiplied: 0 · infinity is not 0.
        ndarray::Zip::from(&mut y)
            .and(&c)
            .and(&b)
            .for_each(|y, &c, &b| {
                if c == 0.0 {
                    *y = b;
                }
            });
        Ok((y, Saved::Nothing))
    }

    fn backward(&self, pass: &Backward<'_>, grad: ArrayD<f32>) -> Vec<Option<ArrayD<f32>>> {
        let c = expand(pass.input(0), grad.shape());
        let to = |k: usize, share: fn(f32, f32) -> f32| {
            pass.wanted[k].then(|| sum_to(zip(&grad, &c, share), pass.shapes[k]))
        };
        vec![
            pass.wanted[0].then(|| ArrayD::zeros(pass.shapes[0])),
            to(1, |g, c| if c != 0.0 { g } else { 0.0 }),
            to(2, |g, c| if c != 0.0 { 0.0 } else { g }),
        ]
    }

    fn needs_input(&self, k: usize, _: &[bool]) -> bool {
        k == 0
    }
}

pub(super) fn import_where(view: &NodeView<'_, '_>) -> Result<Imported, ImportError> {
    view.imported(Where, &[ParamKind::Constant; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{backward, check_gradients, forward, random, vector};

    #[test]
    fn values_and_gradients_of_the_picking_ones() {
        let inputs = [random(&[2, 3, 4], 1), random(&[3, 1], 2)];
        for pair in PAIRS.iter().filter(|p| p.first.is_some()) {
            check_gradients(pair, &inputs);
        }
        let of = |name: &str| *PAIRS.iter().find(|p| p.name == name).unwrap();
        let (a, b) = (vector(&[1.0, 2.0, 3.0]), vector(&[2.0, 2.0, 2.0]));
        for (name, y) in [
            ("Max", [2.0, 2.0, 3.0]),
            ("Min", [1.0, 2.0, 2.0]),
            ("Greater", [0.0, 0.0, 1.0]),
            ("GreaterOrEqual", [0.0, 1.0, 1.0]),
            ("Less", [1.0, 0.0, 0.0]),
            ("LessOrEqual", [1.0, 1.0, 0.0]),
            ("Equal", [0.0, 1.0, 0.0]),
        ] {
            assert_eq!(forward(&of(name), &[&a, &b]), vector(&y), "{name}");
        }
    }

    #[test]
    fn where_chooses_and_its_gradient_follows() {
        let c = vector(&[1.0, 0.0, 1.0]);
        let (a, b) = (vector(&[1.0, f32::INFINITY, 3.0]), vector(&[5.0]));
        assert_eq!(forward(&Where, &[&c, &a, &b]), vector(&[1.0, 5.0, 3.0]));
        let grads = backward(&Where, &[&c, &a, &b], vector(&[1.0, 2.0, 4.0]), &[true; 3]);
        assert_eq!(grads[1].as_ref(), Some(&vector(&[1.0, 0.0, 4.0])));
        assert_eq!(grads[2].as_ref(), Some(&vector(&[2.0])));
    }
}
