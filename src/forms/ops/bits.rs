//! Which tensors there are as bits, and the nodes that make them.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array1;

use super::chain::Chain;
use super::layer::{Binary, bytes};
use super::thresholds::{Comparison, OfSums, Ties};
use super::written::{node, number};
use crate::forms::is_float32;
use crate::graph::edit::Editor;
use crate::graph::{Facts, Graph, NodeId, TensorId, is_training};
use crate::onnx::Tensor;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::recognize::{Binarizer, binarizer_of};

/// A tensor of ±1 (and 0) as bits.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// The tensor that holds it.
    pub name: String,
    /// Channels of the bits.
    pub channels: usize,
    /// `[C, H, W]` of what was made a row, where it was.
    pub flat: Option<[usize; 3]>,
    /// Whether some may be 0.
    pub zeros: bool,
}

/// Finds and makes bits.
pub(super) struct Bits<'a, 'm> {
    pub graph: &'a Graph<'m>,
    pub facts: &'a Facts,
    pub layers: Vec<Binary<'a>>,
    pub chains: Vec<Chain>,
    pub editor: Editor<'a>,
    /// Nodes that are written, and the node in whose place.
    pub nodes: Vec<(NodeId, NodeProto)>,
    /// Nodes that others are written for.
    pub replaced: BTreeSet<NodeId>,
    /// Layers whose signs are written, not their sums.
    pub signed: BTreeSet<usize>,
    /// The signs of layers' results, where they are wanted.
    pub signs: BTreeMap<usize, String>,
    /// What was found out.
    known: BTreeMap<TensorId, Option<Packed>>,
    fits: BTreeMap<usize, Result<Packed, &'static str>>,
}

impl<'a, 'm> Bits<'a, 'm> {
    pub fn new(
        graph: &'a Graph<'m>,
        facts: &'a Facts,
        layers: Vec<Binary<'a>>,
        editor: Editor<'a>,
    ) -> Self {
        let mut claimed = BTreeSet::new();
        let chains = layers
            .iter()
            .map(|l| Chain::of(graph, facts, l, &mut claimed));
        Self {
            chains: chains.collect(),
            graph,
            facts,
            layers,
            editor,
            nodes: Vec::new(),
            replaced: BTreeSet::new(),
            signed: BTreeSet::new(),
            signs: BTreeMap::new(),
            known: BTreeMap::new(),
            fits: BTreeMap::new(),
        }
    }

    /// What a layer reads, as bits that fit its weights.
    ///
    /// # Errors
    /// Why the layer is left as it is.
    pub fn input_of(&mut self, layer: usize) -> Result<Packed, &'static str> {
        if let Some(known) = self.fits.get(&layer) {
            return known.clone();
        }
        let found = self.fitting(layer);
        self.fits.insert(layer, found.clone());
        found
    }

    fn fitting(&mut self, layer: usize) -> Result<Packed, &'static str> {
        let binary = self.layers.get(layer).ok_or("is unknown")?;
        let (input, inputs, product) = (binary.input, binary.layer.inputs, binary.is_product());
        let packed = self.packed(input);
        let packed = packed.ok_or("what is between its binariser and it has no form in bits")?;
        let read = match packed.flat {
            Some(flat) if product => flat.iter().product(),
            Some(_) => return Err("its input is a row that was made an image"),
            None => packed.channels,
        };
        match read == inputs {
            true => Ok(packed),
            false => Err("its binariser gives other channels than it reads"),
        }
    }

    /// A tensor as bits; `None` if it has none.
    fn packed(&mut self, t: TensorId) -> Option<Packed> {
        if let Some(known) = self.known.get(&t) {
            return known.clone();
        }
        let found = self.make(t);
        self.known.insert(t, found.clone());
        found
    }

    fn make(&mut self, t: TensorId) -> Option<Packed> {
        let (graph, facts) = (self.graph, self.facts);
        if !is_float32(facts, t) {
            return None;
        }
        if let Some(b) = binarizer_of(graph, facts, t).filter(|b| b.output == t) {
            return self.binarised(t, &b);
        }
        let n = graph.producer(t)?;
        let input = graph.input_of(n, 0)?;
        match graph.node(n).op() {
            "Identity" => self.packed(input),
            "Dropout" if !is_training(graph, facts, n) => self.packed(input),
            "Flatten" if graph.node(n).int("axis", 1) == 1 => self.row(input, t),
            "Reshape" => self.row(input, t),
            "MaxPool" => {
                let attributes = pool_attributes(graph, n)?;
                let packed = self.packed(input).filter(|p| p.flat.is_none())?;
                let name = self.fresh(t);
                let (channels, zeros) = (packed.channels, packed.zeros);
                let from = vec![packed.name];
                self.pool(n, attributes, from, channels, &name);
                Some(Packed {
                    name,
                    channels,
                    flat: None,
                    zeros,
                })
            }
            _ => None,
        }
    }

    /// An image as a row.
    fn row(&mut self, from: TensorId, to: TensorId) -> Option<Packed> {
        let facts = self.facts;
        let &[n, c, h, w] = facts.shape(from)? else {
            return None;
        };
        if facts.shape(to)? != [n, c.checked_mul(h)?.checked_mul(w)?] {
            return None;
        }
        let packed = self.packed(from).filter(|p| p.flat.is_none())?;
        Some(Packed {
            flat: Some([c, h, w]),
            ..packed
        })
    }

    fn fresh(&mut self, t: TensorId) -> String {
        let wish = format!("{}.packed", self.graph.name(t));
        self.editor.fresh_name(&wish)
    }

    fn pool(
        &mut self,
        at: NodeId,
        mut attributes: Vec<AttributeProto>,
        inputs: Vec<String>,
        channels: usize,
        output: &str,
    ) {
        attributes.push(number("channels", channels));
        let made = node("BinaryMaxPool", inputs, vec![output.to_owned()], attributes);
        self.nodes.push((at, made));
    }

    /// What a binariser gives.
    fn binarised(&mut self, t: TensorId, b: &Binarizer) -> Option<Packed> {
        let (graph, facts) = (self.graph, self.facts);
        let shape = facts.shape(t)?;
        let (rank, &channels) = (shape.len(), shape.get(1)?);
        if (rank != 2 && rank != 4) || !facts.same_shape(b.input, t) {
            return None;
        }
        let compared = Comparison::of(graph, facts, b, channels)?;
        let sums = OfSums::of(graph, facts, &compared, &self.layers);
        let packed = |name, zeros| {
            Some(Packed {
                name,
                channels,
                flat: None,
                zeros,
            })
        };
        if let Some(sums) = sums
            && let Ok(input) = self.input_of(sums.layer)
        {
            let zeros = match sums.ties {
                Ties::None => false,
                Ties::WithZeros => input.zeros,
                Ties::Some => true,
            };
            if let Some(name) = self.thresholds(t, &sums, zeros) {
                return packed(name, zeros);
            }
        }
        // What runs inside of a layer's operator is not written.
        let inside = compared.x != b.input && self.chains.iter().any(|c| c.result == b.input);
        let compared = match inside {
            true => Comparison {
                x: b.input,
                thresholds: vec![0.0],
                ..compared
            },
            false => compared,
        };
        if !is_float32(facts, compared.x) {
            return None;
        }
        let of_layer = self.chains.iter().position(|c| c.result == compared.x);
        if let Some(layer) = of_layer
            && compared.at == 0
            && compared.thresholds == [0.0]
            && self.layers.get(layer).is_some_and(|l| !l.is_product())
            && self.input_of(layer).is_ok()
        {
            let name = self.fresh(t);
            let name = self.signs.entry(layer).or_insert(name);
            return packed(name.clone(), true);
        }
        let name = self.fresh(t);
        let values = Tensor::F32(Array1::from(compared.thresholds).into_dyn());
        let values = self
            .editor
            .add_initializer(&format!("{name}.thresholds"), &values);
        let inputs = vec![graph.name(compared.x).to_owned(), values];
        let at = number("at", i64::from(compared.at));
        let made = node("Pack", inputs, vec![name.clone()], vec![at]);
        self.nodes.push((graph.producer(t)?, made));
        packed(name, compared.at == 0)
    }

    /// The signs of a layer's sums minus thresholds, as the binarised tensor `t`; of what is equal, 0 if there may be
    /// `zeros`.
    fn thresholds(&mut self, t: TensorId, sums: &OfSums, zeros: bool) -> Option<String> {
        let graph = self.graph;
        let at = graph.producer(t)?;
        let attributes = match sums.pool {
            Some(n) => Some(pool_attributes(graph, n)?),
            None => None,
        };
        let input = self.input_of(sums.layer).ok()?;
        if sums.pool.is_none() {
            self.layers.get_mut(sums.layer)?.turn(&sums.direction);
        }
        let name = self.fresh(t);
        let first = match sums.pool {
            None => name.clone(),
            Some(_) => self.editor.fresh_name(&format!("{name}.unpooled")),
        };
        let values = match zeros {
            true => sums.doubled.clone(),
            false => sums.thresholds.clone(),
        };
        let values = Tensor::I32(Array1::from(values).into_dyn());
        let values = self
            .editor
            .add_initializer(&format!("{name}.thresholds"), &values);
        let mut made = self.layer(sums.layer, true, &input, values, vec![first.clone()])?;
        if zeros {
            made.attribute.push(number("at", 0));
        }
        let channels = self.layers.get(sums.layer)?.layer.filters;
        self.nodes.push((at, made));
        if let Some(attributes) = attributes {
            let mut inputs = vec![first];
            if sums.direction.iter().any(|&d| d < 0.0) {
                let mut turned = vec![0u8; channels.div_ceil(8)];
                for (c, d) in sums.direction.iter().enumerate() {
                    if let Some(byte) = turned.get_mut(c / 8) {
                        *byte |= u8::from(*d < 0.0) << (c % 8);
                    }
                }
                let turned = Tensor::U8(Array1::from(turned).into_dyn());
                let wish = format!("{name}.turned");
                inputs.push(self.editor.add_initializer(&wish, &turned));
            }
            self.pool(at, attributes, inputs, channels, &name);
        }
        self.signed.insert(sums.layer);
        // Whoever else reads the tensor gets it of the bits.
        let mut attributes = vec![number("channels", channels)];
        if self.facts.shape(t)?.len() == 2 {
            attributes.push(number("flat", 1));
        }
        let output = vec![graph.name(t).to_owned()];
        let made = node("Unpack", vec![name.clone()], output, attributes);
        self.nodes.push((at, made));
        self.replaced.insert(at);
        Some(name)
    }

    /// A layer's operator.
    pub fn layer(
        &mut self,
        layer: usize,
        signs: bool,
        input: &Packed,
        numbers: String,
        outputs: Vec<String>,
    ) -> Option<NodeProto> {
        let binary = self.layers.get(layer)?;
        let name = binary.layer.name.clone();
        let mut weights = binary.weights.clone();
        if let Some([c, h, w]) = input.flat {
            let shape = [binary.layer.filters, c, h, w];
            weights = weights.into_shape_with_order(shape).ok()?.into_dyn();
        }
        let mut attributes = vec![number("channels", input.channels)];
        let operator = match (binary.is_product(), signs) {
            (true, true) => "BinaryMatMulSign",
            (true, false) => "BinaryMatMul",
            (false, true) => "BinaryConvSign",
            (false, false) => "BinaryConv",
        };
        if !binary.is_product() {
            attributes.push(AttributeProto::ints("strides", binary.strides));
            attributes.push(AttributeProto::ints("dilations", binary.dilations));
            attributes.push(AttributeProto::ints("pads", binary.pads));
        }
        let weights = Tensor::U8(bytes(&weights)?);
        let weights = self
            .editor
            .add_initializer(&format!("{name}.bits"), &weights);
        let inputs = vec![input.name.clone(), weights, numbers];
        let mut made = node(operator, inputs, outputs, attributes);
        made.name = Some(name);
        Some(made)
    }
}

/// Attributes of `BinaryMaxPool` for a `MaxPool`; `None` for one that has no such form.
fn pool_attributes(graph: &Graph<'_>, n: NodeId) -> Option<Vec<AttributeProto>> {
    let node = graph.node(n);
    let plain = node.int("ceil_mode", 0) == 0
        && node.string("auto_pad").is_none_or(|p| p == "NOTSET")
        && graph.output_of(n, 1).is_none_or(|t| !graph.is_used(t));
    let kernel = node.ints("kernel_shape").filter(|k| k.len() == 2)?;
    let mut attributes = vec![AttributeProto::ints("kernel_shape", kernel)];
    for (name, count) in [("strides", 2), ("dilations", 2), ("pads", 4)] {
        match node.ints(name) {
            None | Some([]) => {}
            Some(given) if given.len() == count => {
                attributes.push(AttributeProto::ints(name, given))
            }
            Some(_) => return None,
        }
    }
    plain.then_some(attributes)
}
