//! What `inspect` says of a model.

use serde::Serialize;

use crate::graph::{Facts, Graph};
use crate::onnx::type_name;
use crate::recognize::{self, Form, LatentScale, Layer, Unread};
use crate::rewrite::{Analysis, LayerCost, cost};

use super::bits::BitsReport;

/// A model's layers and groups (`inspect --json`; keys are a contract).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inspection {
    /// The file.
    pub model: String,
    /// Opset of the default domain.
    pub opset: i64,
    /// The exporter that wrote the file, as far as it shows.
    pub dialect: &'static str,
    /// The file's producer and version, as it names them.
    pub producer: String,
    /// What a user should know about how the file was read.
    pub warnings: Vec<String>,
    /// One entry per Conv, Gemm and MatMul with constant-derived weights, and behind them one for
    /// each operator with filters whose weights are not understood (`weights`: `unknown`).
    pub layers: Vec<LayerEntry>,
    /// Filters that can only be cut together.
    pub groups: Vec<GroupEntry>,
    /// Sums over the layers.
    pub totals: InspectionTotals,
}

/// Sums over an inspected model's layers, for one sample.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InspectionTotals {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of the weights as the file stores them.
    pub stored_bytes: u64,
    /// Cost in bits.
    pub bits: BitsReport,
}

/// A layer in an [`Inspection`].
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LayerEntry {
    /// What masks files and reports call it.
    pub name: String,
    /// `Conv`, `Gemm` or `MatMul`; another operator where `weights` is `unknown`.
    pub op: String,
    /// ±1 weights (times a scale) on a ±1 input.
    pub binary: bool,
    /// Output channels.
    pub filters: usize,
    /// Input channels that a filter reads.
    pub inputs: usize,
    /// Spatial kernel.
    pub kernel: Vec<usize>,
    /// `per-filter`, `one` (all 1), `uniform` (one for all filters), `power-of-two` (a power of two
    /// for each filter), `folded` (per filter, with a BatchNormalization folded into it), or
    /// nothing.
    pub scale: Option<&'static str>,
    /// What binarises the input.
    pub binarizer: Option<&'static str>,
    /// The binariser's value at 0.
    pub zero: Option<i8>,
    /// What the border is padded with, in the binariser's terms; absent without padding.
    pub padding: Option<f32>,
    /// `latent`, `constant`, `float`, or `unknown`.
    pub weights: &'static str,
    /// The element type of the weights, as ONNX calls it; absent where it is not known.
    pub element: Option<String>,
    /// The initializer that holds the latent weights.
    pub latents: Option<String>,
    /// Convolution groups.
    pub group: usize,
    /// Multiply-accumulates of one sample; 0 where `weights` is `unknown`.
    pub macs: u64,
    /// Bytes of its weights as the file stores them; 0 where `weights` is `unknown`.
    pub stored_bytes: u64,
    /// Cost of one sample in bits; 0 where `weights` is `unknown`.
    pub bits: BitsReport,
    /// Whether its filters can be pruned.
    pub prunable: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A group in an [`Inspection`].
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupEntry {
    /// Number within the model.
    pub id: usize,
    /// Channels that go together.
    pub channels: usize,
    /// The layers that produce them.
    pub layers: Vec<String>,
}

impl Inspection {
    /// Of a model's graph, with its layers and their analysis.
    pub fn new(
        path: &std::path::Path,
        graph: &Graph<'_>,
        facts: &Facts,
        layers: &[Layer],
        analysis: &Analysis,
        warnings: Vec<String>,
    ) -> Self {
        let costs = cost(graph, facts, layers);
        let known = layers.iter().zip(&costs.layers);
        let known = known.map(|(l, cost)| entry(graph, facts, l, cost, analysis));
        let others = recognize::unread(graph, facts, layers);
        let entries = known.chain(others.into_iter().map(unknown)).collect();
        let dialect = recognize::dialect_of(graph);
        let mut warnings = warnings;
        if !dialect.fused.is_empty() {
            warnings.push(format!(
                "holds operators of ONNX Runtime alone ({}): they are left as they are, and no other runtime loads the file; export it without ONNX Runtime's fusions (basic level) to prune through them",
                dialect.fused.join(", ")
            ));
        }
        let groups = analysis
            .groups()
            .iter()
            .map(|g| GroupEntry {
                id: g.id.0,
                channels: g.channels,
                layers: g.layers.clone(),
            })
            .collect();
        Self {
            model: path.display().to_string(),
            opset: graph.opset(),
            dialect: dialect.exporter.name(),
            producer: dialect.producer,
            warnings,
            layers: entries,
            groups,
            totals: InspectionTotals {
                macs: costs.macs,
                stored_bytes: costs.layers.iter().map(|c| c.stored_bytes).sum(),
                bits: costs.bits.into(),
            },
        }
    }
}

/// The entry of an operator whose weights are not understood.
fn unknown(u: Unread) -> LayerEntry {
    LayerEntry {
        name: u.name,
        filters: u.filters,
        inputs: u.inputs,
        kernel: match &u.shape {
            Some(shape) if u.op.contains("Conv") => shape.iter().skip(2).copied().collect(),
            _ => Vec::new(),
        },
        op: u.op,
        binary: false,
        scale: None,
        binarizer: None,
        zero: None,
        padding: None,
        weights: "unknown",
        element: u.kind,
        latents: None,
        group: 1,
        macs: 0,
        stored_bytes: 0,
        bits: BitsReport::default(),
        prunable: false,
        reason: Some(u.why),
    }
}

fn entry(
    graph: &Graph<'_>,
    facts: &Facts,
    l: &Layer,
    cost: &LayerCost,
    analysis: &Analysis,
) -> LayerEntry {
    let reason = match l.why_not_binary() {
        Some(why) => Some(why.to_owned()),
        None => analysis.prunable(&l.name).err(),
    };
    let binary = l.binary_weights.as_ref().filter(|_| l.is_binary());
    let scale = binary.map(|b| scale_kind(graph, l, &b.scale, b.latent.is_some()));
    let weights = match binary {
        None => "float",
        Some(b) => match &b.latent {
            Some(latent) if latent.scale == LatentScale::MeanAbs => "latent (mean |W|)",
            Some(_) => "latent",
            None => "constant",
        },
    };
    LayerEntry {
        name: l.name.clone(),
        op: l.op.name().to_owned(),
        binary: l.is_binary(),
        filters: l.filters,
        inputs: l.inputs,
        kernel: l.kernel.clone(),
        scale,
        binarizer: l.binarizer.as_ref().map(|b| b.kind),
        zero: l
            .binarizer
            .as_ref()
            .filter(|b| matches!(b.form, Form::Signed | Form::ZeroOne))
            .map(|b| b.zero),
        padding: l.padding,
        weights,
        element: facts.element(l.weight).map(type_name),
        latents: binary
            .and_then(|b| b.latent.as_ref())
            .map(|latent| graph.name(latent.initializer).to_owned()),
        group: l.group,
        macs: cost.macs,
        stored_bytes: cost.stored_bytes,
        bits: cost.bits.into(),
        prunable: reason.is_none(),
        reason,
    }
}

/// What kind of scale a binary layer's filters have.
fn scale_kind(graph: &Graph<'_>, l: &Layer, scale: &[f32], live: bool) -> &'static str {
    let close = |a: f32, b: f32| (a - b).abs() <= 1e-6 * b.abs();
    let mut nonzero = scale.iter().copied().filter(|&s| s != 0.0);
    let first = nonzero.next().unwrap_or(0.0);
    if nonzero.clone().all(|s| close(s, first)) {
        return if first == 1.0 { "one" } else { "uniform" };
    }
    let power = |s: f32| s == 0.0 || close(s, s.log2().round().exp2());
    if scale.iter().all(|&s| power(s)) {
        return "power-of-two";
    }
    // A constant weight with a bias is what folding a BatchNormalization leaves, where no other
    // one follows.
    let has_bias = graph.input_of(l.node, 2).is_some();
    let followed = graph.output_of(l.node, 0).is_some_and(|t| {
        let mut readers = graph.consumers(t).iter();
        readers.any(|u| graph.node(u.node).op() == "BatchNormalization")
    });
    match has_bias && !live && !followed {
        true => "folded",
        false => "per-filter",
    }
}
