//! Where decisions jump, and how far their operands lie from there.

use ndarray::{ArrayD, Zip};

use crate::graph::scalar::comparison;

/// How far each element's operands lie from the point where the decision jumps.
pub(super) fn margin(op: &str, operands: &[ArrayD<f32>]) -> Option<ArrayD<f32>> {
    let first = operands.first()?;
    // To the nearest integer: where Floor, Ceil and truncation jump.
    let to_integer = |x: f32| (x - x.round()).abs();
    Some(match op {
        // Round jumps half way between integers.
        "Round" => first.mapv(|x| 0.5 - to_integer(x)),
        "Floor" | "Ceil" | "Cast" => first.mapv(to_integer),
        "QuantizeLinear" => {
            let scale = operands.get(1)?;
            Zip::from(first)
                .and(scale)
                .map_collect(|x, scale| (0.5 - to_integer(x / scale)) * scale)
        }
        _ => signed(op, operands)?.mapv(f32::abs),
    })
}

/// What a decision depends on: its operand, or the difference of the two that it compares.
pub(super) fn signed(op: &str, operands: &[ArrayD<f32>]) -> Option<ArrayD<f32>> {
    let first = operands.first()?;
    Some(match op {
        _ if comparison(op).is_some() => {
            let second = operands.get(1)?;
            Zip::from(first).and(second).map_collect(|a, b| a - b)
        }
        "Sign" | "Round" | "Floor" | "Ceil" | "Cast" | "QuantizeLinear" => first.clone(),
        _ => return None,
    })
}
