//! One file through all checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::dims;
use super::finding::{Finding, Findings, Severity};
use super::{files, finite, rules, shapes};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;
use crate::onnx::{Model, OPSETS, default_opset, inline_functions, to_bytes};
use crate::qonnx;
use crate::recognize;
use crate::rewrite::cost;
use crate::runnable::with_float_inputs;
use crate::sizes::Sizes;
use crate::verify::{Runtime, RuntimeError, Trial};

/// How files are checked.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Seed of the made-up inputs.
    pub seed: u64,
    /// Sizes of dynamic dimensions.
    pub sizes: Sizes,
    /// Whether there is no other file, so that the sizes have to be of this one.
    pub alone: bool,
}

/// What was found in one file (`check --json`; keys are a contract).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileReport {
    /// The file, with `/` between the parts of its path.
    pub path: String,
    /// Whether it has no problem.
    pub passed: bool,
    /// Errors.
    pub problems: Vec<Finding>,
    /// Warnings.
    pub notes: Vec<Finding>,
    /// What it holds; absent where it could not be read.
    pub summary: Option<ModelSummary>,
    /// Seconds taken.
    pub seconds: f64,
    /// Files with its weights, which nothing may overwrite.
    #[serde(skip)]
    pub reads: Vec<PathBuf>,
}

/// What a model holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelSummary {
    /// IR version.
    pub ir: i64,
    /// Opset of the default domain.
    pub opset: i64,
    /// Nodes of the main graph.
    pub nodes: usize,
    /// Bytes of the file and of its external data.
    pub bytes: u64,
    /// Its layers; absent where the graph could not be analysed.
    #[serde(flatten)]
    pub layers: Option<LayerSummary>,
}

/// A model's layers with weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LayerSummary {
    /// The exporter, as far as it shows.
    pub dialect: &'static str,
    /// How many layers are binary.
    pub binary_layers: usize,
    /// Filters of these.
    pub binary_filters: usize,
    /// Filters of each binary layer.
    pub filters: BTreeMap<String, usize>,
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

    /// All findings, problems first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.problems.iter().chain(&self.notes)
    }

    pub(super) fn extend(&mut self, findings: Findings) {
        for finding in findings.into_list() {
            match finding.severity {
                Severity::Error => self.problems.push(finding),
                Severity::Warning => self.notes.push(finding),
            }
        }
        self.passed = self.problems.is_empty();
    }

    fn new(
        path: &Path,
        summary: Option<ModelSummary>,
        findings: Findings,
        taken: Duration,
    ) -> Self {
        let mut report = Self {
            path: files::key(path),
            passed: true,
            problems: Vec::new(),
            notes: Vec::new(),
            summary,
            seconds: taken.as_secs_f64(),
            reads: Vec::new(),
        };
        report.extend(findings);
        report
    }
}

/// Checks one file.
pub fn check_file(path: &Path, runtime: &dyn Runtime, options: &CheckOptions) -> FileReport {
    let start = Instant::now();
    let mut findings = Findings::default();
    let model = match Model::load_any_opset(path) {
        Ok(model) => model,
        Err(e) => {
            let why = match files::leads_nowhere(path) {
                true => "is a link that leads nowhere; fetch the file that it stands for (dvc pull, git annex get)".to_owned(),
                false => e.kind().to_string(),
            };
            findings.error("load", why);
            return FileReport::new(path, None, findings, start.elapsed());
        }
    };
    if model.data_behind_link {
        findings.error(
            "load",
            "is a link, and its data lie beside the file that it leads to: ONNX Runtime looks for them beside the link; link them there too",
        );
    }
    for warning in &model.warnings {
        findings.warning("encoding", warning.clone());
    }
    rules::apply(&model.proto, &mut findings);
    let mut summary = ModelSummary {
        ir: model.proto.ir_version(),
        opset: default_opset(&model.proto),
        nodes: model.proto.graph.as_ref().map_or(0, |g| g.node.len()),
        bytes: size_of(&model),
        layers: None,
    };
    // What breaks the rules is not handed on.
    if !findings.bad() {
        summary.layers = run(&model.proto, runtime, options, &mut findings);
    }
    let mut report = FileReport::new(path, Some(summary), findings, start.elapsed());
    report.reads = model.external_files;
    report
}

fn size_of(model: &Model) -> u64 {
    let external = model.external_files.iter();
    let sizes = external.filter_map(|f| Some(std::fs::metadata(f).ok()?.len()));
    sizes.fold(model.bytes.len() as u64, u64::saturating_add)
}

/// Runs a model whose form is sound, and looks at its shapes and layers.
fn run(
    model: &ModelProto,
    runtime: &dyn Runtime,
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
    // Of several files each may have dimensions of its own, and some that are fixed.
    if options.alone
        && let Err(misfit) = options.sizes.check(model)
    {
        findings.error("interface", misfit.to_string());
        return None;
    }
    let copies = dims::filled(model, &options.sizes);
    let mut failure = None;
    for copy in &copies {
        match trial(copy, runtime, options.seed) {
            Ok(found) => {
                judge(copy, found, findings);
                return look(copy, findings);
            }
            Err(Refusal::Fatal(why)) => {
                findings.error("runtime", why);
                return look(copy, findings);
            }
            // The first size is the likeliest: its error says most.
            Err(Refusal::Plain(why)) => failure = failure.or(Some(why)),
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

/// Whether a model leaves alive whoever runs it: it is tried at the sizes that [`check_file`] fills
/// in until it runs. That the runtime refuses it is no answer.
///
/// # Errors
/// [`RuntimeError::Died`].
pub fn survives(model: &ModelProto, runtime: &dyn Runtime, seed: u64) -> Result<(), RuntimeError> {
    let Ok(lowered) = qonnx::lower(model) else {
        return Ok(());
    };
    for copy in dims::filled(&lowered.model, &Sizes::default()) {
        match runtime.try_out(&to_bytes(&copy), seed) {
            Ok(_) => return Ok(()),
            Err(died @ RuntimeError::Died { .. }) => return Err(died),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Why a model was not run.
enum Refusal {
    /// Another size of its inputs may suit it.
    Plain(String),
    /// It took a process with it, or all the time it had: once is enough.
    Fatal(String),
}

fn trial(model: &ModelProto, runtime: &dyn Runtime, seed: u64) -> Result<Trial, Refusal> {
    let lowered = qonnx::lower(model).map_err(|e| Refusal::Plain(e.to_string()))?;
    let lowered = with_float_inputs(lowered);
    let tried = runtime.try_out(&to_bytes(&lowered.model), seed);
    tried.map_err(|e| match e {
        RuntimeError::Died { .. } => Refusal::Fatal(e.to_string()),
        other => Refusal::Plain(other.to_string()),
    })
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
                    "output '{}' holds {} of {} numbers that are not finite on random inputs (normal, mean 0, deviation 1); look for divisions by 0 and logarithms or roots of negative numbers",
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
    let mut inlined = model.clone();
    for note in inline_functions(&mut inlined).hidden {
        findings.warning("functions", note);
    }
    let model = &inlined;
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
    finite::parameters(&graph, &facts, findings);
    let layers = recognize::layers(&graph, &facts);
    let unread = recognize::unread(&graph, &facts, &layers);
    for u in &unread {
        findings.warning_at(
            "layers",
            &u.name,
            format!("is not counted among the layers ({}): {}", u.op, u.why),
        );
    }
    let binary = layers.iter().filter(|l| l.is_binary());
    Some(LayerSummary {
        dialect: recognize::dialect_of(&graph).exporter.name(),
        binary_layers: binary.clone().count(),
        binary_filters: binary.clone().map(|l| l.filters).sum(),
        filters: binary.map(|l| (l.name.clone(), l.filters)).collect(),
        macs: cost(&graph, &facts, &layers).macs,
    })
}
