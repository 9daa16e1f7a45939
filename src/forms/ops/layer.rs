//! A binary layer as an operator: its weights as bits, its geometry.

use ndarray::{ArrayD, Axis};

use crate::forms::is_float32;
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::recognize::{Layer, LayerOp};

/// A layer that can be an operator.
#[derive(Debug)]
pub(super) struct Binary<'a> {
    pub layer: &'a Layer,
    /// What it reads.
    pub input: TensorId,
    /// Its sums.
    pub sums: TensorId,
    /// ±1, `[O, C, kH, kW]`; those of a matrix product `[O, K, 1, 1]`.
    pub weights: ArrayD<f32>,
    pub strides: [i64; 2],
    pub dilations: [i64; 2],
    pub pads: [i64; 4],
}

impl<'a> Binary<'a> {
    /// # Errors
    /// Why it is left as it is.
    pub fn of(graph: &Graph<'_>, facts: &Facts, layer: &'a Layer) -> Result<Self, &'static str> {
        if let Some(why) = layer.why_not_binary() {
            return Err(why);
        }
        let node = graph.node(layer.node);
        let input = graph
            .input_of(layer.node, layer.weights_at.data_input())
            .ok_or("has no input")?;
        let sums = graph.output_of(layer.node, 0).ok_or("has no output")?;
        if !is_float32(facts, layer.weight) || !is_float32(facts, input) {
            return Err("it does not compute in float32");
        }
        if layer.values.iter().any(|w| *w == 0.0) {
            return Err("some of its weights are 0, which one bit does not say");
        }
        if layer.values.iter().any(|w| w.abs() != 1.0) {
            return Err("its weights are not ±1: it has no integer form");
        }
        if graph.input_of(layer.node, 2).is_some() {
            return Err("it has a bias");
        }
        let mut binary = Self {
            layer,
            input,
            sums,
            weights: ArrayD::zeros(vec![]),
            strides: [1; 2],
            dilations: [1; 2],
            pads: [0; 4],
        };
        if layer.op == LayerOp::Conv {
            if layer.kernel.len() != 2 {
                return Err(
                    "it is a convolution of signals, and the operators are for images (the packed form takes both)",
                );
            }
            if layer.group != 1 {
                return Err("it has groups");
            }
            if node.string("auto_pad").is_some_and(|p| p != "NOTSET") {
                return Err("its padding follows from the image's size (auto_pad)");
            }
            let numbers = |name: &str, default: i64| match node.ints(name) {
                None | Some([]) => Some(vec![default; 4]),
                Some(given) if given.iter().all(|&v| (0..1 << 20).contains(&v)) => {
                    Some(given.to_vec())
                }
                Some(_) => None,
            };
            let odd = "its attributes are not those of a convolution of images";
            let first = |v: Option<Vec<i64>>| -> Option<[i64; 2]> {
                let v = v?;
                Some([*v.first()?, *v.get(1)?])
            };
            binary.strides = first(numbers("strides", 1)).ok_or(odd)?;
            binary.dilations = first(numbers("dilations", 1)).ok_or(odd)?;
            let pads = numbers("pads", 0).ok_or(odd)?;
            binary.pads = pads.try_into().map_err(|_| odd)?;
            binary.weights = layer.values.clone();
            return Ok(binary);
        }
        if layer.op == LayerOp::Gemm
            && (node.float("alpha", 1.0) != 1.0 || node.int("transA", 0) != 0)
        {
            return Err("its product is scaled or transposed");
        }
        if facts.shape(input).map(<[usize]>::len) != Some(2) {
            return Err("it is no product of a matrix");
        }
        let weights = match layer.filter_axis {
            0 => layer.values.view(),
            _ => layer.values.t(),
        };
        let weights = weights.insert_axis(Axis(2)).insert_axis(Axis(3));
        binary.weights = weights.as_standard_layout().into_owned();
        Ok(binary)
    }

    pub fn is_product(&self) -> bool {
        self.layer.op != LayerOp::Conv
    }

    /// Products of a sum.
    pub fn products(&self) -> i64 {
        let area: usize = self.layer.kernel.iter().product();
        i64::try_from(self.layer.inputs.saturating_mul(area)).unwrap_or(i64::MAX)
    }

    /// Whether windows reach beyond the image.
    pub fn is_padded(&self) -> bool {
        self.pads.iter().any(|&p| p != 0)
    }

    /// Turns filters around.
    pub fn turn(&mut self, direction: &[f32]) {
        let filters = self.weights.axis_iter_mut(Axis(0));
        for (mut filter, d) in filters.zip(direction) {
            filter.mapv_inplace(|w| w * d);
        }
    }
}

/// Weights `[O, C, kH, kW]` as `[O, kH, kW, ⌈C/8⌉]` bytes: channel c is bit c mod 8 of byte c/8, 1 for +1.
pub(super) fn bytes(weights: &ArrayD<f32>) -> Option<ArrayD<u8>> {
    let [o, c, kh, kw] = *weights.shape() else {
        return None;
    };
    let mut bytes = ArrayD::zeros(vec![o, kh, kw, c.div_ceil(8)]);
    for (at, w) in weights.indexed_iter() {
        if *w > 0.0
            && let Some(byte) = bytes.get_mut([at[0], at[2], at[3], at[1] / 8])
        {
            *byte |= 1 << (at[1] % 8);
        }
    }
    Some(bytes)
}

/// A constant as one value for each channel (axis 1) of a tensor.
pub(super) fn per_channel(
    facts: &Facts,
    constant: Option<TensorId>,
    of: TensorId,
    channels: usize,
) -> Option<Vec<f32>> {
    let rank = facts.shape(of)?.len();
    let constant = constant?;
    let value = facts.constant(constant)?.as_f32()?;
    if value.ndim() > rank {
        return None;
    }
    if value.len() == 1 {
        return Some(vec![*value.first()?; channels]);
    }
    // Its dimensions stand below the last ones of the tensor.
    let axis = 1usize.checked_sub(rank - value.ndim())?;
    let fits = value.shape().get(axis) == Some(&channels) && value.len() == channels;
    fits.then(|| value.iter().copied().collect())
}

/// The only reader of a tensor that is read by it once and is no output of the graph.
pub(super) fn only_reader(graph: &Graph<'_>, t: TensorId) -> Option<NodeId> {
    match graph.consumers(t) {
        [reader] if reader.input.is_some() && !graph.is_output(t) => Some(reader.node),
        _ => None,
    }
}
