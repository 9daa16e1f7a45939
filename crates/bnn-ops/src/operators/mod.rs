//! The operators, a file for each kind.

mod checks;
mod conv;
mod pack;
mod pool;
mod ternary;
mod unpack;

use crate::definition::Operator;

/// All operators of the domain.
pub const OPERATORS: &[&dyn Operator] = &[
    &pack::Pack,
    &unpack::Unpack,
    &pool::MaxPool,
    &conv::CONV,
    &conv::CONV_SIGN,
    &conv::MATMUL,
    &conv::MATMUL_SIGN,
];
