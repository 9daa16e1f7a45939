//! What a model costs: operations, parameters and bits, by layer and in all.

use std::collections::BTreeSet;

use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::proto::ModelProto;
use crate::onnx::{DataType, element_count};
use crate::recognize::{self, Layer};

/// Cost of one layer at batch size 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// `float32`. Weights that layers share are the first one's alone, here and as stored.
    pub bytes: u64,
    /// The same in bytes as the file stores it: latents, bits and scales, quantised weights.
    pub stored_bytes: u64,
    /// Bit operations and memory.
    pub bits: BitCost,
}

/// Cost in bits, as qonnx's `inference_cost` counts it: a weight that is 0 costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BitCost {
    /// Bit operations (BOPs): multiply-accumulates on weights other than 0, times the bits of a
    /// weight, times the bits of what it is multiplied by.
    pub operations: u64,
    /// Bits of the weights other than 0, without scales and bias.
    pub weights: u64,
    /// Bits of what the layer reads.
    pub inputs: u64,
    /// Bits of what the layer writes: sums, of 32 bits unless the file computes in others.
    pub outputs: u64,
}

impl BitCost {
    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations.saturating_add(other.operations),
            weights: self.weights.saturating_add(other.weights),
            inputs: self.inputs.saturating_add(other.inputs),
            outputs: self.outputs.saturating_add(other.outputs),
        }
    }
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
    /// Bits of all layers.
    pub bits: BitCost,
}

/// Bytes of one parameter of a layer.
fn element_bytes(facts: &Facts, layer: &Layer) -> u64 {
    match facts.element(layer.weight).and_then(DataType::from_onnx) {
        Some(DataType::F64) => 8,
        Some(kind) if kind.is_half() => 2,
        _ => 4,
    }
}

/// Elements of a tensor for one sample.
fn of_sample(facts: &Facts, t: Option<TensorId>) -> u64 {
    let shape = t.and_then(|t| facts.shape(t));
    shape.map_or(0, |s| {
        s.iter()
            .skip(1)
            .fold(1, |a: u64, &d| a.saturating_mul(d as u64))
    })
}

/// Counts the cost of a model's layers and initializers.
pub fn cost(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Cost {
    let mut total = Cost::default();
    let mut counted = BTreeSet::new();
    for l in layers {
        // Each output element reads `inputs` channels through the kernel.
        let outputs = of_sample(facts, graph.output_of(l.node, 0));
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
        let size = element_bytes(facts, l);
        let bits = bits(graph, facts, l, outputs);
        let latent = l.binary_weights.as_ref().and_then(|w| w.latent.as_ref());
        let first = counted.insert(latent.map_or(l.weight, |latent| latent.initializer));
        total.macs = total.macs.saturating_add(macs);
        total.binary_ops = total.binary_ops.saturating_add(binary_ops);
        total.bits = total.bits.plus(bits);
        total.layers.push(LayerCost {
            name: l.name.clone(),
            macs,
            binary_ops,
            params,
            bytes: match first {
                true => params.saturating_mul(size),
                false => bias.saturating_mul(size),
            },
            stored_bytes: match first {
                true => stored(graph, facts, l.weight),
                false => 0,
            }
            .saturating_add(bias.saturating_mul(size)),
            bits,
        });
    }
    total
}

/// Elements of a model's constants: of its initializers, those that are stored sparsely whole, and of its `Constant`
/// nodes.
pub fn parameters(model: &ModelProto) -> u64 {
    let Some(graph) = &model.graph else {
        return 0;
    };
    let dense = graph.initializer.iter().map(|t| &t.dims);
    let sparse = graph.sparse_initializer.iter().map(|s| &s.dims);
    let nodes = graph.node.iter().filter(|n| n.op_type() == "Constant");
    let values = nodes.flat_map(|n| &n.attribute);
    let values = values.filter_map(|a| {
        let sparse = || a.sparse_tensor.as_ref().map(|s| &s.dims);
        a.t.as_ref().map(|t| &t.dims).or_else(sparse)
    });
    let all = dense.chain(sparse).chain(values);
    let counts = all.map(|dims| element_count(dims).map_or(0, |(_, n)| n as u64));
    counts.fold(0, u64::saturating_add)
}

fn bits(graph: &Graph<'_>, facts: &Facts, l: &Layer, outputs: u64) -> BitCost {
    let nonzero = l.values.iter().filter(|w| **w != 0.0).count() as u64;
    let weight = recognize::weight_bits(graph, facts, l);
    let input = recognize::input_bits(graph, facts, l);
    // Every weight is used once at each place of the output.
    let places = outputs / (l.filters as u64).max(1);
    let operations = places.saturating_mul(nonzero);
    let inputs = of_sample(facts, graph.input_of(l.node, l.weights_at.data_input()));
    BitCost {
        operations: operations.saturating_mul(weight).saturating_mul(input),
        weights: nonzero.saturating_mul(weight),
        inputs: inputs.saturating_mul(input),
        outputs: outputs.saturating_mul(recognize::output_bits(graph, facts, l)),
    }
}

/// Bytes of an initializer; 0 for any other tensor.
fn held(graph: &Graph<'_>, t: TensorId) -> u64 {
    let Some(proto) = graph.initializer(t) else {
        return 0;
    };
    let count = element_count(&proto.dims).map_or(0, |(_, n)| n as u64);
    let size = proto.raw_data.as_ref().map(|r| r.len() as u64);
    size.unwrap_or_else(|| {
        let one = match DataType::from_onnx(proto.data_type()) {
            Some(DataType::U8 | DataType::I8 | DataType::Bool) => 1,
            Some(DataType::F16 | DataType::Bf16 | DataType::I16 | DataType::U16) => 2,
            Some(DataType::F64 | DataType::I64 | DataType::U64) => 8,
            _ => 4,
        };
        count.saturating_mul(one)
    })
}

/// Bytes of what the file computes a weight of. A table that rows are gathered from is shared, and
/// belongs to none.
fn stored(graph: &Graph<'_>, facts: &Facts, weight: TensorId) -> u64 {
    let mut seen = BTreeSet::new();
    let mut open = vec![weight];
    let mut sum = 0u64;
    while let Some(t) = open.pop() {
        if !seen.insert(t) {
            continue;
        }
        sum = sum.saturating_add(held(graph, t));
        let Some(n) = graph.producer(t) else { continue };
        match graph.node(n).op() {
            "Constant" => {
                let count = facts.constant(t).map_or(0, |v| v.len() as u64);
                sum = sum.saturating_add(count.saturating_mul(4));
            }
            "Gather" => open.extend(graph.input_of(n, 1)),
            _ => open.extend(graph.inputs_of(n).into_iter().flatten()),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;
    use crate::onnx::Tensor;
    use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto};

    #[test]
    fn parameters_are_counted_wherever_a_model_holds_them() {
        let of = |shape: &[usize]| Tensor::F32(ArrayD::zeros(shape)).to_proto("w");
        let constant = NodeProto {
            attribute: vec![AttributeProto {
                name: Some("value".to_owned()),
                t: Some(of(&[2, 3])),
                ..AttributeProto::default()
            }],
            ..NodeProto::of("Constant", [""; 0], "c")
        };
        let graph = GraphProto {
            initializer: vec![of(&[4]), of(&[])],
            sparse_initializer: vec![SparseTensorProto {
                dims: vec![5, 2],
                ..SparseTensorProto::default()
            }],
            node: vec![constant],
            ..GraphProto::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        assert_eq!(parameters(&model), 4 + 1 + 10 + 6);
        assert_eq!(parameters(&ModelProto::default()), 0);
    }
}
