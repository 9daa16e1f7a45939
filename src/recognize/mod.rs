//! What the binary layers of a model are, whatever exporter wrote it.
//!
//! Every Conv, Gemm and MatMul with constant-derived weights becomes a [`Layer`]. Its weights are
//! evaluated and classified by value ([`weights`]), latents are found by structure ([`latent`]),
//! and its input is traced back ([`trace`]) to a binariser: one file per family, listed in
//! [`BINARIZERS`]. A Sign of what cannot be negative ([`range`]) gives {0, 1}; it, and what takes
//! three or more values ([`levels`]), makes no binary layer.
//!
//! Places where further dialects go: a binariser is a function in a file of its own and a line in
//! [`BINARIZERS`]; a weight form is one in [`latent`].

mod compare;
mod decided;
mod detach;
mod dialect;
mod latent;
mod levels;
mod pattern;
mod quant;
mod range;
mod round;
mod sign;
mod stepped;
mod trace;
mod unread;
mod weights;
mod width;

use ndarray::{ArrayD, arr0};

use crate::graph::{Facts, Graph, NodeId, TensorId, WeightsAt};
use crate::onnx::DataType;

pub use dialect::{Dialect, Exporter, dialect_of};
pub use latent::{Latent, LatentScale};
pub use unread::{Unread, unread};
pub use weights::BinaryWeights;
pub use width::{input_bits, output_bits, weight_bits};

/// The operator of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOp {
    /// `Conv`, weight `[O, I/g, k…]`.
    Conv,
    /// `Gemm`, weight `[I, O]`, or `[O, I]` with transB.
    Gemm,
    /// `MatMul`, weight `[I, O]`, or on the left `[O, I]`.
    MatMul,
}

impl LayerOp {
    /// The ONNX operator's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "Conv",
            Self::Gemm => "Gemm",
            Self::MatMul => "MatMul",
        }
    }
}

/// How many values a quantised activation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// ±scale.
    Signed,
    /// ± a scale that is not the same everywhere: sums of them are no integers.
    PerChannel,
    /// 0 and one other value.
    ZeroOne,
    /// 0 and ± one other value, by thresholds.
    Ternary,
    /// This many.
    Levels(usize),
}

/// How activations become ±1 in front of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Binarizer {
    /// What `inspect` calls it: `sign`, `where-ge`, `bipolar-quant` and so on; `01` for values in
    /// {0, 1}, `ternary`, `k-bit` ([`Binarizer::form`]).
    pub kind: &'static str,
    /// The values that it takes.
    pub form: Form,
    /// The sign of its value where the activation is exactly 0: -1, 0 or +1. Where a learned
    /// threshold per channel is added first, that of the sum.
    pub zero: i8,
    /// Its value where `input` is below `threshold`, at it, and above it.
    pub values: [f32; 3],
    /// What `input` is compared with; broadcasts to it.
    pub threshold: ArrayD<f32>,
    /// The node input that the file holds the threshold in, if it does.
    pub threshold_at: Option<(NodeId, usize)>,
    /// The real-valued tensor that is binarised.
    pub input: TensorId,
    /// The binarised tensor.
    pub output: TensorId,
}

impl Binarizer {
    /// A binariser to ±1 at 0.
    fn signed(kind: &'static str, zero: i8, input: TensorId, output: TensorId) -> Self {
        Self {
            kind,
            form: Form::Signed,
            zero,
            values: [-1.0, f32::from(zero), 1.0],
            threshold: arr0(0.0).into_dyn(),
            threshold_at: None,
            input,
            output,
        }
    }

    /// A binariser that gives these values below a number, at it, and above it.
    fn at(
        kind: &'static str,
        threshold: f32,
        values: [f32; 3],
        input: TensorId,
        output: TensorId,
    ) -> Self {
        let [below, at, above] = values;
        let at_zero = match threshold {
            c if c < 0.0 => above,
            c if c > 0.0 => below,
            _ => at,
        };
        let zero = if at_zero == 0.0 {
            0
        } else {
            at_zero.signum() as i8
        };
        Self {
            values,
            threshold: arr0(threshold).into_dyn(),
            ..Self::signed(kind, zero, input, output)
        }
    }

    /// Whether it gives ±scale. Others do not make a binary layer.
    pub fn is_signed(&self) -> bool {
        self.form == Form::Signed
    }

    /// The magnitude of its values.
    pub fn scale(&self) -> f32 {
        self.values.iter().fold(0.0, |m, v| m.max(v.abs()))
    }
}

/// A Conv, Gemm or MatMul whose weights follow from constants.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What masks files and reports call it ([`Graph::label`]).
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Its operator.
    pub op: LayerOp,
    /// Output channels.
    pub filters: usize,
    /// Input channels that one filter reads.
    pub inputs: usize,
    /// Spatial kernel size; empty for Gemm and MatMul.
    pub kernel: Vec<usize>,
    /// Convolution groups; 1 for Gemm and MatMul.
    pub group: usize,
    /// Which of the node's inputs holds the weights.
    pub weights_at: WeightsAt,
    /// The tensor there.
    pub weight: TensorId,
    /// Which axis of the weight is the filter: 0 for Conv, Gemm with transB and a matrix on the left, else 1.
    pub filter_axis: usize,
    /// The type that the weights are computed in; `None` if it is none that the tool reads.
    pub element: Option<DataType>,
    /// The evaluated weights, in the file's own layout.
    pub values: ArrayD<f32>,
    /// The weights as ±scale, if they are.
    pub binary_weights: Option<BinaryWeights>,
    /// What binarises the input, if anything does.
    pub binarizer: Option<Binarizer>,
    /// What multiplies the binariser's values on their way to the layer; 1 without a binariser.
    pub factor: f32,
    /// What its border is padded with (0 by the operator's own pads); `None` without padding.
    pub padding: Option<f32>,
}

impl Layer {
    /// Binary: ±1 weights (times a scale per filter) on a ±1 input.
    pub fn is_binary(&self) -> bool {
        self.binary_weights.is_some() && self.binarizer.as_ref().is_some_and(Binarizer::is_signed)
    }

    /// Why it is not a binary layer; `None` if it is one.
    pub fn why_not_binary(&self) -> Option<&'static str> {
        let form = self.binarizer.as_ref().map(|b| b.form);
        match (&self.binary_weights, form) {
            (_, Some(Form::ZeroOne)) => Some("its input is {0, 1}, not ±1"),
            (_, Some(Form::PerChannel)) => {
                Some("its input is ± a scale of its own for each channel, not ± one scale")
            }
            (_, Some(Form::Ternary)) => Some("its input is ternary, not ±1"),
            (_, Some(Form::Levels(2))) => {
                Some("its input takes two values that are not ± one number")
            }
            (_, Some(Form::Levels(_))) => {
                Some("its input is quantised to more than two values, not to ±1")
            }
            (Some(_), Some(Form::Signed)) => None,
            (None, Some(Form::Signed)) => Some(weights::why_not(
                &self.values,
                self.element,
                self.filter_axis,
            )),
            (Some(_), None) => Some("its input is not binarised to ±1"),
            (None, None) => Some("float layer: neither its weights nor its input are ±1"),
        }
    }

    /// The other axis of a two-dimensional weight, or the input-channel axis of a Conv's.
    pub fn input_axis(&self) -> usize {
        1 - self.filter_axis
    }
}

/// A function that recognises the binariser which writes a tensor.
type Matcher = fn(&Graph<'_>, &Facts, TensorId) -> Option<Binarizer>;

/// Every binariser dialect, tried in order.
const BINARIZERS: &[Matcher] = &[
    sign::matches,
    compare::where_matches,
    compare::zero_replaced,
    compare::cast_matches,
    round::matches,
    quant::matches,
    detach::matches,
    decided::matches,
    stepped::matches,
];

/// The binariser that writes `t`, if one does.
pub fn binarizer_of(graph: &Graph<'_>, facts: &Facts, t: TensorId) -> Option<Binarizer> {
    let found = BINARIZERS.iter().find_map(|m| m(graph, facts, t))?;
    // One that makes its input larger is more than a binariser.
    let grows = facts.shape(found.input).is_some() && facts.shape(found.output).is_some();
    (!grows || facts.same_shape(found.input, found.output)).then_some(found)
}

/// All layers of a model, in the order of execution.
pub fn layers(graph: &Graph<'_>, facts: &Facts) -> Vec<Layer> {
    graph
        .order()
        .iter()
        .filter_map(|&n| layer(graph, facts, n))
        .collect()
}

fn layer(graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Option<Layer> {
    let node = graph.node(n);
    let op = match node.op() {
        "Conv" => LayerOp::Conv,
        "Gemm" if node.int("transA", 0) == 0 => LayerOp::Gemm,
        "MatMul" => LayerOp::MatMul,
        _ => return None,
    };
    // A convolution of two constants is a constant, not a layer.
    let weights_at = WeightsAt::of(graph, facts, n)?;
    let data = graph.input_of(n, weights_at.data_input())?;
    let weight = graph.input_of(n, weights_at.weight_input())?;
    // In front of a matrix of data a matrix would mix the images of a batch.
    let mixes_images = || facts.shape(data).is_none_or(|shape| shape.len() < 3);
    if weights_at == WeightsAt::Left && (op != LayerOp::MatMul || mixes_images()) {
        return None;
    }
    let filter_axis = node.product_axes(weights_at, 2)?.filters;
    let values = facts.weights(graph, weight)?.into_owned();
    let shape = values.shape();
    let kernel = match op {
        LayerOp::Conv if shape.len() >= 3 => shape[2..].to_vec(),
        LayerOp::Gemm | LayerOp::MatMul if shape.len() == 2 => vec![],
        _ => return None,
    };
    let (filters, inputs) = (shape[filter_axis], shape[1 - filter_axis]);
    let group = node.groups()?;
    let latent = latent::find(graph, facts, weight, &values);
    let element = facts.element(weight).and_then(DataType::from_onnx);
    let known = weights::classify(&values, element, filter_axis, group, latent.is_some());
    let binary_weights = known.map(|b| BinaryWeights { latent, ..b });
    let traced = trace::binarizer_behind(graph, facts, data);
    let own_pads = node
        .string("auto_pad")
        .is_some_and(|p| p.starts_with("SAME"))
        || node.ints("pads").is_some_and(|p| p.iter().any(|&v| v != 0));
    let padding = traced.as_ref().and_then(|t| t.padding);
    let padding = padding.or((op == LayerOp::Conv && own_pads).then_some(0.0));
    Some(Layer {
        name: graph.label(n).to_owned(),
        node: n,
        op,
        filters,
        inputs,
        kernel,
        group,
        weights_at,
        weight,
        filter_axis,
        element,
        values,
        binary_weights,
        factor: traced.as_ref().map_or(1.0, |t| t.factor),
        binarizer: traced.map(|t| t.binarizer),
        padding,
    })
}
