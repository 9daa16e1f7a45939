//! Constants of which every runtime computes the same, to the bit.

use std::collections::HashSet;

use super::Bounds;
use crate::graph::TensorId;
use crate::operators::{How, Kind, Operator, Reduction, Smoothness};

/// What becomes of rounding in a constant's computation.
enum Rounding {
    /// Whatever was rounded before, values lie on the grid of what is decided.
    Forgotten,
    /// None of its own.
    None,
    /// One rounding of an exact result, which IEEE 754 says to the bit.
    Once,
    /// Several, or an approximation: runtimes differ.
    Open,
}

impl Bounds<'_> {
    /// Whether the values of a constant are those that were computed here, whatever runtime computes them:
    /// a scale that is a mean may be another one in its last bit, and then lies on no grid that was seen
    /// here.
    pub(super) fn is_determined(&self, constant: TensorId) -> bool {
        let mut open = vec![(constant, false)];
        let mut seen = HashSet::new();
        while let Some((t, rounded)) = open.pop() {
            if !seen.insert((t, rounded)) {
                continue;
            }
            let Some(id) = self.graph.producer(t) else {
                continue;
            };
            let node = self.graph.node(id);
            if node.op() == "Constant" {
                continue;
            }
            let Some(row) = node.operator() else {
                return false;
            };
            let rounded = match rounding(row, (row.smoothness)(&node)) {
                Rounding::Forgotten => continue,
                Rounding::None => rounded,
                // Constants are computed here in double precision, and rounded once at the end.
                Rounding::Once if !rounded => true,
                Rounding::Once | Rounding::Open => return false,
            };
            let inputs = self.graph.inputs_of(id).into_iter().flatten();
            open.extend(inputs.map(|input| (input, rounded)));
        }
        true
    }
}

/// How an operator rounds.
fn rounding(row: &Operator, smoothness: Smoothness) -> Rounding {
    match row.kind {
        // To integers it decides; but what is between them is moved by rounding before.
        Kind::Cast => Rounding::None,
        // The numbers of a quantiser times its scale.
        Kind::Quantize | Kind::Other => Rounding::Open,
        _ if row.decides => Rounding::Forgotten,
        Kind::Unary(_) if smoothness == Smoothness::Exact => Rounding::None,
        Kind::Arithmetic(arithmetic) => match arithmetic.how {
            How::Extreme => Rounding::None,
            How::Add | How::Sub | How::Mul | How::Div => Rounding::Once,
            How::Pow | How::Sum => Rounding::Open,
        },
        // A whole number times the scale.
        Kind::Dequantize => Rounding::Once,
        Kind::Reduction(Reduction::Max | Reduction::Min) => Rounding::None,
        Kind::Logic
        | Kind::Clip
        | Kind::Choice
        | Kind::Same
        | Kind::View
        | Kind::Part
        | Kind::Split
        | Kind::Concat
        | Kind::Spread
        | Kind::OfShape => Rounding::None,
        _ => Rounding::Open,
    }
}
