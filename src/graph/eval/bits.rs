//! Arithmetic of whole numbers and their bits, in each integer type: weights that are packed as bits are made so.

use ndarray::{ArrayD, IxDyn};

use super::arithmetic::{cast, zip_arrays};
use crate::graph::node::Node;
use crate::onnx::{DataType, Tensor};

/// `BitShift`, `BitwiseAnd`, `BitwiseOr`, `BitwiseXor` and `Mod` of two integer tensors of one type; `None` for others, and
/// for unsigned numbers beyond 2^63.
pub(super) fn evaluate(node: &Node<'_>, a: &Tensor, b: &Tensor) -> Option<Tensor> {
    match node.op() {
        "BitShift" => {
            let left = match node.string("direction")? {
                "LEFT" => true,
                "RIGHT" => false,
                _ => return None,
            };
            zip(a, b, |a, by| {
                let by = u32::try_from(by).unwrap_or(u32::MAX);
                // All bits are gone then.
                let shifted = if left {
                    a.checked_shl(by)
                } else {
                    a.checked_shr(by)
                };
                shifted.unwrap_or(0)
            })
        }
        "BitwiseAnd" => zip(a, b, |a, b| a & b),
        "BitwiseOr" => zip(a, b, |a, b| a | b),
        "BitwiseXor" => zip(a, b, |a, b| a ^ b),
        "Mod" => {
            let signed_as_dividend = node.int("fmod", 0) != 0;
            zip(a, b, |a, b| match a.checked_rem(b) {
                // The sign of the divisor, as ONNX has it without fmod.
                Some(r) if r != 0 && (r < 0) != (b < 0) && !signed_as_dividend => r + b,
                Some(r) => r,
                None => 0,
            })
        }
        _ => None,
    }
}

/// `f` of each pair, wrapped around in the type that both have.
fn zip(a: &Tensor, b: &Tensor, f: impl Fn(i64, i64) -> i64) -> Option<Tensor> {
    let kind = a.data_type();
    if b.data_type() != kind {
        return None;
    }
    let wide = |t: &Tensor| ArrayD::from_shape_vec(IxDyn(t.shape()), t.to_ints()?).ok();
    let found = zip_arrays(&wide(a)?, &wide(b)?, f)?;
    match kind {
        DataType::I64 => Some(Tensor::I64(found)),
        kind => cast(&Tensor::I64(found), kind),
    }
}
