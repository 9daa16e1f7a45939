//! How many bits a value takes: of weights, and of what a layer reads.

use super::{Form, Layer};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::DataType;

/// Nodes behind a quantiser of weights that only move them.
const MOST_MOVES: usize = 16;

/// Bits of one weight: 1 for ±s, as many as its quantiser says, or those of its element type.
pub fn weight_bits(graph: &Graph<'_>, facts: &Facts, layer: &Layer) -> u64 {
    if layer.binary_weights.is_some() {
        return 1;
    }
    quantised(graph, facts, layer.weight).unwrap_or_else(|| element_bits(facts, layer.weight))
}

/// Bits of one value that a layer reads.
pub fn input_bits(graph: &Graph<'_>, facts: &Facts, layer: &Layer) -> u64 {
    match layer.binarizer.as_ref().map(|b| b.form) {
        Some(Form::Signed | Form::PerChannel | Form::ZeroOne) => 1,
        Some(Form::Ternary) => 2,
        Some(Form::Levels(count)) => u64::from(count.next_power_of_two().trailing_zeros()).max(1),
        None => {
            let input = graph.input_of(layer.node, layer.weights_at.data_input());
            input.map_or(32, |t| element_bits(facts, t))
        }
    }
}

/// Bits of one value that a layer writes: sums are not smaller than what the file computes in.
pub fn output_bits(graph: &Graph<'_>, facts: &Facts, layer: &Layer) -> u64 {
    let output = graph.output_of(layer.node, 0);
    output.map_or(32, |t| element_bits(facts, t))
}

fn element_bits(facts: &Facts, t: TensorId) -> u64 {
    match facts.element(t).and_then(DataType::from_onnx) {
        Some(DataType::F64) => 64,
        Some(kind) if kind.is_half() => 16,
        _ => 32,
    }
}

/// The bit width of the `Quant` that gives a constant.
fn quantised(graph: &Graph<'_>, facts: &Facts, mut t: TensorId) -> Option<u64> {
    for _ in 0..MOST_MOVES {
        let n = graph.producer(t)?;
        match graph.node(n).op() {
            "Transpose" | "Identity" | "Reshape" | "Flatten" => t = graph.input_of(n, 0)?,
            "qonnx.BipolarQuant" => return Some(1),
            "qonnx.Quant" => {
                let bits = facts.constant(graph.input_of(n, 3)?)?.scalar_f32()?;
                return (1.0..=32.0).contains(&bits).then(|| bits.ceil() as u64);
            }
            _ => return None,
        }
    }
    None
}
