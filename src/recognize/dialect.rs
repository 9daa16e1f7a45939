//! Which tool wrote a file, by the marks that exporters and optimisers leave.

use crate::graph::Graph;
use crate::onnx::{is_default_domain, provenance::original_producer};

/// The tool that exported a model, as far as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exporter {
    /// PyTorch's TorchScript exporter.
    TorchScript,
    /// PyTorch's exporter on top of torch.export (dynamo).
    Dynamo,
    /// Brevitas and the QONNX tools: `Quant` and `BipolarQuant` nodes.
    Qonnx,
    /// TensorFlow and Keras through tf2onnx, Larq among them.
    Tf2Onnx,
    /// No mark that we know.
    Other,
}

impl Exporter {
    /// What `inspect` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchScript => "torch (TorchScript)",
            Self::Dynamo => "torch (dynamo)",
            Self::Qonnx => "QONNX (Brevitas)",
            Self::Tf2Onnx => "tf2onnx (Larq, Keras)",
            Self::Other => "unknown",
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Who exported it.
    pub exporter: Exporter,
    /// The producer as the file names it, with its version.
    pub producer: String,
    /// Fused operators of ONNX Runtime (`com.microsoft.…`) in it, each once: no other runtime has
    /// them.
    pub fused: Vec<String>,
}

/// The dialect of a model's file.
pub fn dialect_of(graph: &Graph<'_>) -> Dialect {
    let model = graph.model();
    let (name, version) = original_producer(model).unwrap_or_default();
    let nodes = || graph.order().iter().map(|&n| graph.node(n));
    let is_qonnx = nodes().any(|n| n.op().starts_with("qonnx."));
    let torch_export = || {
        nodes().any(|n| {
            let props = &n.proto().metadata_props;
            props.iter().any(|p| p.key().starts_with("pkg.torch"))
        })
    };
    // TorchScript names nodes by their module, `/0/Conv`; torch.export by their operator.
    let scoped = || nodes().any(|n| n.proto().name().starts_with('/'));
    let exporter = match name {
        _ if is_qonnx => Exporter::Qonnx,
        "tf2onnx" => Exporter::Tf2Onnx,
        "pytorch" if torch_export() || (model.ir_version() >= 10 && !scoped()) => Exporter::Dynamo,
        "pytorch" => Exporter::TorchScript,
        _ => Exporter::Other,
    };
    let mut fused: Vec<String> = nodes()
        .filter(|n| !is_default_domain(n.proto().domain()))
        .filter(|n| n.proto().domain().starts_with("com.microsoft"))
        .map(|n| n.full_op())
        .collect();
    fused.sort_unstable();
    fused.dedup();
    Dialect {
        exporter,
        producer: [name, version].join(" ").trim().to_owned(),
        fused,
    }
}
