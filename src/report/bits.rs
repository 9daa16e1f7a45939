//! Costs in bits, as reports give them.

use serde::{Deserialize, Serialize};

use crate::rewrite::BitCost;

/// Cost of one sample in bits, as qonnx's `inference_cost` counts it: weights that are 0 cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BitsReport {
    /// Bit operations (BOPs): multiply-accumulates times the bits of a weight times the bits of what
    /// it is multiplied by. Of ±1 by ±1 it is 1.
    pub operations: u64,
    /// Bits of the weights, 1 for each binary one, wherever the file keeps them; without scales.
    pub weights: u64,
    /// Bits of what layers read: activations of ±1 are 1 bit.
    pub inputs: u64,
    /// Bits of what layers write: sums of 32 bits (or the width of the file's own floats).
    pub outputs: u64,
}

impl From<BitCost> for BitsReport {
    fn from(cost: BitCost) -> Self {
        Self {
            operations: cost.operations,
            weights: cost.weights,
            inputs: cost.inputs,
            outputs: cost.outputs,
        }
    }
}

impl BitsReport {
    /// The sum.
    pub fn sum(costs: impl IntoIterator<Item = Self>) -> Self {
        costs.into_iter().fold(Self::default(), |a, b| Self {
            operations: a.operations.saturating_add(b.operations),
            weights: a.weights.saturating_add(b.weights),
            inputs: a.inputs.saturating_add(b.inputs),
            outputs: a.outputs.saturating_add(b.outputs),
        })
    }
}
