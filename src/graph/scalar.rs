//! The functions of elementwise operators, of a node or by name, as the rows of [`crate::operators`]
//! have them: for constant evaluation, and for constants that pass through a channel.

use super::Node;
use crate::operators::{Arithmetic, Kind, operator};

pub use crate::operators::{Function as Unary, Function2 as Binary, erf, sign};

/// The function of a unary elementwise operator, its attributes bound; `None` if it is not one.
pub fn unary(node: &Node<'_>) -> Option<Unary> {
    Some((node.operator()?.unary()?.single)(node))
}

/// The function of a binary elementwise operator; `None` if it is not one.
pub fn binary(op: &str) -> Option<Binary> {
    arithmetic(op)?.single
}

/// The function of a unary operator in double precision; `None` if it has none.
pub fn unary_of_double(op: &str) -> Option<fn(f64) -> f64> {
    operator(op)?.unary()?.double
}

/// The function of a binary operator in double precision; `None` if it is not one.
pub fn binary_of_double(op: &str) -> Option<fn(f64, f64) -> f64> {
    arithmetic(op)?.double
}

fn arithmetic(op: &str) -> Option<Arithmetic> {
    operator(op)?.arithmetic()
}

/// The predicate of a comparison operator; `None` if it is not one.
pub fn comparison(op: &str) -> Option<fn(f64, f64) -> bool> {
    match operator(op)?.kind {
        Kind::Comparison(predicate) => Some(predicate),
        _ => None,
    }
}
