//! `QuantizeLinear` and `DequantizeLinear` of constants.

use ndarray::{ArrayD, IxDyn};

use super::arithmetic::{cast, zip_arrays};
use crate::graph::node::Node;
use crate::onnx::{DataType, Tensor};

/// One scale, or one for each index of an axis; `None` for scales of blocks.
pub(super) fn evaluate(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let input = |k: usize| inputs.get(k).copied().flatten();
    let (x, scale, zero) = (input(0)?, input(1)?, input(2));
    if node.int("block_size", 0) != 0 || !scale.data_type().is_float() {
        return None;
    }
    let rank = x.shape().len();
    // Along its axis, to be broadcast over the others.
    let spread = |t: &Tensor| -> Option<ArrayD<f64>> {
        let values = t.to_f64();
        match values.len() {
            1 => values.into_shape_with_order(IxDyn(&[])).ok(),
            n if values.ndim() == 1 => {
                let axis = node.axis(1, rank)?;
                let mut shape = vec![1; rank];
                *shape.get_mut(axis)? = n;
                values.into_shape_with_order(IxDyn(&shape)).ok()
            }
            _ => None,
        }
    };
    let scales = spread(scale)?;
    let zeros = match zero {
        Some(t) => spread(t)?,
        None => ArrayD::zeros(IxDyn(&[])),
    };
    let asked = i32::try_from(node.int("output_dtype", 0)).ok()?;
    match node.op() {
        "DequantizeLinear" => {
            let kind = match asked {
                0 => scale.data_type(),
                number => DataType::from_onnx(number).filter(|k| k.is_float())?,
            };
            let steps = zip_arrays(&x.to_f64(), &zeros, |x, z| x - z)?;
            let product = zip_arrays(&steps, &scales, |x, s| x * s)?;
            // The product of a small integer and a float is rounded once.
            (product.shape() == x.shape()).then(|| Tensor::of(kind, &product))
        }
        _ => {
            let kind = match (zero, asked) {
                (Some(t), _) => t.data_type(),
                (None, 0) => DataType::U8,
                (None, number) => DataType::from_onnx(number)?,
            };
            let (least, most) = integer_range(kind)?;
            let (least, most) = (f64::from(least), f64::from(most));
            // As runtimes divide.
            let double = x.data_type() == DataType::F64;
            let quotient = |x: f64, s: f64| match double {
                true => x / s,
                false => f64::from(x as f32 / s as f32),
            };
            let scaled = zip_arrays(&x.to_f64(), &scales, quotient)?;
            let whole = zip_arrays(&scaled, &zeros, |v, z| {
                (v.round_ties_even() + z).clamp(least, most)
            })?;
            (whole.shape() == x.shape())
                .then(|| cast(&Tensor::F64(whole), kind))
                .flatten()
        }
    }
}

/// The least and the largest integer of a type that `QuantizeLinear` gives.
pub(crate) fn integer_range(kind: DataType) -> Option<(f32, f32)> {
    Some(match kind {
        DataType::U8 => (0.0, f32::from(u8::MAX)),
        DataType::I8 => (f32::from(i8::MIN), f32::from(i8::MAX)),
        DataType::U16 => (0.0, f32::from(u16::MAX)),
        DataType::I16 => (f32::from(i16::MIN), f32::from(i16::MAX)),
        _ => return None,
    })
}
