//! One file through all checks.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::dims::{self, Dims};
use super::finding::{Finding, Findings, Severity};
use super::{files, rules, shapes};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;
use crate::onnx::{Model, OPSETS, default_opset, to_bytes};
use crate::qonnx;
use crate::recognize;
use crate::rewrite::cost;
use crate::verify::{OrtRuntime, Trial};

/// How files are checked.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Seed of the made-up inputs.
    pub seed: u64,
    /// Sizes of dynamic dimensions.
    pub dims: Dims,
}

/// What was found in one file (`check --json`; keys are a contract).
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file, with `/` between the parts of its path.
    pub path: String,
    /// Whether it has no error.
    pub passed: bool,
    /// What it holds; absent where it could not be read.
    pub model: Option<ModelSummary>,
    /// Errors and warnings.
    pub findings: Vec<Finding>,
    /// Seconds taken.
    pub seconds: f64,
}

/// What a model holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSummary {
    /// IR version.
    pub ir: i64,
    /// Opset of the default domain.
    pub opset: i64,
    /// Bytes of the file and of its external data.
    pub bytes: u64,
    /// Layers with weights; absent where the graph could not be analysed.
    pub layers: Option<LayerSummary>,
}

/// A model's layers with weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerSummary {
    /// Binary layers and how many filters each has, in graph order.
    pub binary: Vec<(String, usize)>,
    /// Filters of these.
    pub filters: usize,
    /// Other layers.
    pub float: usize,
    /// Multiply-accumulates of all layers on one sample.
    pub macs: u64,
}

impl FileReport {
    /// A report of one error.
    pub fn failed(path: &Path, rule: &'static str, message: impl Into<String>) -> Self {
        let mut findings = Findings::default();
        findings.error(rule, message);
        Self::new(path, None, findings, Duration::ZERO)
    }

    /// Adds findings.
    pub fn extend(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        self.passed = self.errors() == 0;
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        let bad = |f: &&Finding| f.severity == Severity::Error;
        self.findings.iter().filter(bad).count()
    }

    fn new(path: &Path, model: Option<ModelSummary>, findings: Findings, taken: Duration) -> Self {
        Self {
            path: files::key(path),
            passed: !findings.bad(),
            model,
            findings: findings.into_list(),
            seconds: taken.as_secs_f64(),
        }
    }
}

/// Checks one file.
pub fn check_file(path: &Path, runtime: &OrtRuntime, options: &CheckOptions) -> FileReport {
    let start = Instant::now();
    let mut findings = Findings::default();
    let model = match Model::read(path) {
        Ok(model) => model,
        Err(e) => {
            findings.error("read", e.kind().to_string());
            return FileReport::new(path, None, findings, start.elapsed());
        }
    };
    for warning in &model.warnings {
        findings.warning("encoding", warning.clone());
    }
    rules::apply(&model.proto, &mut findings);
    let mut summary = ModelSummary {
        ir: model.proto.ir_version(),
        opset: default_opset(&model.proto),
        bytes: size_of(&model),
        layers: None,
    };
    // What breaks the rules is not handed on.
    if !findings.bad() {
        summary.layers = run(&model.proto, runtime, options, &mut findings);
    }
    FileReport::new(path, Some(summary), findings, start.elapsed())
}

fn size_of(model: &Model) -> u64 {
    let external = model.external_files.iter();
    let sizes = external.filter_map(|f| Some(std::fs::metadata(f).ok()?.len()));
    sizes.fold(model.bytes.len() as u64, u64::saturating_add)
}

/// Runs a model whose form is sound, and looks at its shapes and layers.
fn run(
    model: &ModelProto,
    runtime: &OrtRuntime,
    options: &CheckOptions,
    findings: &mut Findings,
) -> Option<LayerSummary> {
    if let Some(input) = model.graph.as_ref().and_then(dims::without_shape) {
        findings.error(
            "interface",
            format!("graph input '{input}' has no shape, so nothing can be run; declare it"),
        );
        return None;
    }
    let copies = dims::filled(model, &options.dims);
    let mut failure = None;
    for copy in &copies {
        match trial(copy, runtime, options.seed) {
            Ok(found) => {
                judge(copy, found, findings);
                return look(copy, findings);
            }
            // The first size is the likeliest: its error says most.
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    let mut why = failure.unwrap_or_else(|| "has no graph".to_owned());
    if !OPSETS.contains(&default_opset(model)) {
        why += "; convert it with onnx.version_converter";
    }
    if copies.len() > 1 {
        why += "; if its input sizes are to blame, give them with --dim NAME=SIZE";
    }
    findings.error("runtime", why);
    copies.first().and_then(|copy| look(copy, findings))
}

fn trial(model: &ModelProto, runtime: &OrtRuntime, seed: u64) -> Result<Trial, String> {
    let lowered = qonnx::lower(model).map_err(|e| e.to_string())?;
    runtime
        .try_out(&to_bytes(&lowered.model), seed)
        .map_err(|e| e.to_string())
}

/// Judges what the run gave.
fn judge(model: &ModelProto, found: Trial, findings: &mut Findings) {
    let (outputs, guessed) = match found {
        Trial::Ran { outputs, guessed } => (outputs, guessed),
        Trial::NotRun(why) => {
            let message = format!("loads in ONNX Runtime, but was not run: {why}");
            return findings.warning("runtime", message);
        }
    };
    let mut note = |rule, message: String| match &guessed {
        None => findings.error(rule, message),
        // What was fed may be to blame.
        Some(input) => {
            findings.warning(rule, format!("{message} (input '{input}' was a guess)"));
        }
    };
    for output in outputs {
        if output.non_finite > 0 {
            note(
                "finite",
                format!(
                    "output '{}' holds {} NaN or infinite of {} values on made-up inputs (normal, mean 0, deviation 1); look for divisions by 0 and logarithms or roots of negative numbers",
                    output.name, output.non_finite, output.elements
                ),
            );
        }
        if let (Some(graph), Some(shape)) = (&model.graph, &output.shape)
            && let Some(why) = shapes::output(graph, &output.name, shape)
        {
            note("shapes", why);
        }
    }
}

/// Shapes and layers, as far as this tool understands the graph.
fn look(model: &ModelProto, findings: &mut Findings) -> Option<LayerSummary> {
    let opset = default_opset(model);
    if !OPSETS.contains(&opset) {
        findings.warning(
            "opset",
            format!(
                "uses opset {opset}, this tool prunes {} to {}: its layers were not looked at; convert it with onnx.version_converter",
                OPSETS.start(),
                OPSETS.end()
            ),
        );
        return None;
    }
    let graph = match Graph::new(model) {
        Ok(graph) => graph,
        Err(e) => {
            findings.error("graph", e.to_string());
            return None;
        }
    };
    let facts = match Facts::infer(&graph, 1) {
        Ok(facts) => facts,
        Err(e) => {
            findings.warning("shapes", e.to_string());
            return None;
        }
    };
    if let Some(proto) = &model.graph {
        shapes::inner(&graph, &facts, proto, findings);
    }
    let layers = recognize::layers(&graph, &facts);
    let binary: Vec<(String, usize)> = layers
        .iter()
        .filter(|l| l.is_binary())
        .map(|l| (l.name.clone(), l.filters))
        .collect();
    Some(LayerSummary {
        filters: binary.iter().map(|(_, n)| n).sum(),
        float: layers.len() - binary.len(),
        macs: cost(&graph, &facts, &layers).macs,
        binary,
    })
}
