//! What a model costs: operations and params, by layer and in all.

use crate::graph::{Facts, Graph};
use crate::onnx::{DataType, element_count};
use crate::recognize::Layer;

/// Cost of one layer at batch size 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCost {
    /// The layer.
    pub name: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Of these, on binary weights and activations.
    pub binary_ops: u64,
    /// Weights and bias.
    pub params: u64,
    /// The same in bytes: in 16-bit floats or `float64` where the layer computes in these, else as
    /// `float32`.
    pub bytes: u64,
}

/// Cost of a model at batch size 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// Each Conv, Gemm and MatMul with constant weights.
    pub layers: Vec<LayerCost>,
    /// Multiply-accumulates of these.
    pub macs: u64,
    /// Of these, in binary layers.
    pub binary_ops: u64,
    /// Elements of all initializers (parameters).
    pub params: u64,
    /// Bytes of all initializers.
    pub bytes: u64,
}

/// Bytes of one parameter of a layer.
fn element_bytes(facts: &Facts, layer: &Layer) -> u64 {
    match facts.element(layer.weight).and_then(DataType::from_onnx) {
        Some(DataType::F64) => 8,
        Some(kind) if kind.is_half() => 2,
        _ => 4,
    }
}

/// Counts the cost of a model's layers and initializers.
pub fn cost(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Cost {
    let mut total = Cost::default();
    for l in layers {
        let out = graph.output_of(l.node, 0).and_then(|t| facts.shape(t));
        // Output elements of one sample; each reads `inputs` channels through the kernel.
        let outputs: u64 = out.map_or(0, |s| {
            s.iter()
                .skip(1)
                .fold(1, |a: u64, &d| a.saturating_mul(d as u64))
        });
        let row = l
            .kernel
            .iter()
            .fold(l.inputs as u64, |a, &k| a.saturating_mul(k as u64));
        let macs = outputs.saturating_mul(row);
        let bias = graph
            .input_of(l.node, 2)
            .and_then(|t| facts.constant(t))
            .map_or(0, |t| t.len() as u64);
        let params = l.values.len() as u64 + bias;
        let binary_ops = if l.is_binary() { macs } else { 0 };
        total.macs = total.macs.saturating_add(macs);
        total.binary_ops = total.binary_ops.saturating_add(binary_ops);
        total.layers.push(LayerCost {
            name: l.name.clone(),
            macs,
            binary_ops,
            params,
            bytes: params.saturating_mul(element_bytes(facts, l)),
        });
    }
    for t in graph.tensors() {
        let Some(proto) = graph.initializer(t) else {
            continue;
        };
        let count = element_count(&proto.dims).map_or(0, |(_, n)| n as u64);
        let size = proto.raw_data.as_ref().map(|r| r.len() as u64);
        total.params = total.params.saturating_add(count);
        let bytes = size.unwrap_or(count.saturating_mul(4));
        total.bytes = total.bytes.saturating_add(bytes);
    }
    total
}
