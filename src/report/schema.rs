//! The report as JSON. Keys are stable: a later version may add some, never rename or drop one.

use serde::{Deserialize, Serialize};

use super::bits::BitsReport;
use super::pictures::Pictures;
use super::plan::PlanReport;
use super::run::RunReport;
use crate::stopwatch::Lap;
use crate::subsidiary::{Attempt, CacheUse, EpochReport, StageReport};
use crate::verify::Verification;

/// Everything a run says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Report {
    /// Always `onnx-bnnprune`.
    pub tool: String,
    /// The tool's version.
    pub version: String,
    /// The model read.
    pub input: FileReport,
    /// The model written; absent after a dry run or a failed verification.
    pub output: Option<FileReport>,
    /// What a dry run plans; absent after any other run. Counts and costs are then what would be left.
    pub plan: Option<PlanReport>,
    /// Every Conv, Gemm and MatMul with constant-derived weights, in graph order; behind them other layers (a
    /// ConvTranspose) that lost filters, whose costs are not counted and are 0.
    pub layers: Vec<LayerReport>,
    /// What happened in each stage of learning, bottom-up; empty without training.
    pub stages: Vec<StageReport>,
    /// Each epoch in which the whole masked network was retrained at the end; where filters were given
    /// back in between, those of all attempts in order.
    pub final_retraining: Vec<EpochReport>,
    /// Sums over the layers.
    pub totals: Totals,
    /// Top-1 accuracy in the runtime; absent without labelled data.
    pub accuracy: Option<AccuracyReport>,
    /// Masked against pruned model; absent only where nothing was verified.
    pub verification: Option<Verification>,
    /// What the network was allowed to lose, and lost; absent without a budget.
    pub budget: Option<BudgetReport>,
    /// Share of samples on which the pruned model gives the same top-1 class as the original, in the
    /// runtime, on the samples of the verification; absent only where the model has no classes.
    pub agreement: Option<f64>,
    /// Share of (at most 2,000) validation images on which the pruned model, in the runtime, gives the same
    /// top-1 class as the network that was trained, run natively: what was learned is what was written. Absent
    /// without learning, or where the model has no classes.
    pub agreement_with_trained: Option<f64>,
    /// The integer form of binary layers (`--normalise`); absent without it.
    pub normalised: Option<NormalisedReport>,
    /// The form written, where that is not how the network was verified; absent without.
    pub form: Option<FormReport>,
    /// Median time of one run; absent where it was not measured.
    pub latency_ms: Option<LatencyReport>,
    /// Everything that shaped the run: options and preprocessing.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The seed.
    pub seed: u64,
    /// Wall-clock time of the run.
    pub seconds: f64,
    /// Where that time went, in order.
    pub timings: Vec<Lap>,
    /// Which run it was: command, time, machine.
    pub run: RunReport,
    /// The most memory that the process held, its runtime included; absent where that is not known.
    pub peak_memory_bytes: Option<u64>,
    /// What kept activations of frozen layers took of that, and of the disk; absent without
    /// training.
    pub activation_cache: Option<CacheUse>,
    /// Images that could not be read and were left out (`--skip-bad`), each with what is wrong with it.
    pub skipped_images: Vec<String>,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// What masking changed in the model, one line each.
    pub details: Vec<String>,
    /// What looks wrong, one line each.
    pub warnings: Vec<String>,
    /// What the page shows beside all this, where one was asked for.
    #[serde(skip)]
    pub pictures: Option<Pictures>,
}

/// What `--normalise` did. The comparison is of the model before (but retrained) and behind it:
/// samples may differ by ties, which the integer form settles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NormalisedReport {
    /// Binary layers with a threshold in front of their binariser.
    pub thresholds: Vec<String>,
    /// Binary layers with a division behind them.
    pub divided: Vec<String>,
    /// Binary layers left as they were, and why.
    pub unchanged: std::collections::BTreeMap<String, String>,
    /// The model before against the normalised one.
    pub verification: Verification,
    /// Outputs of binarisers that are decided on sums in other units now.
    #[serde(skip)]
    pub rescaled: Vec<String>,
}

/// The form that a model was written in (`--to`), and what proves that it computes the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FormReport {
    /// `onnx`, `qonnx`, `integer` or `packed`.
    pub name: String,
    /// Layers whose weights are in the form.
    pub layers: Vec<String>,
    /// Layers (in `qonnx`: and outputs of binarisers) that are as they were, and why.
    pub left: std::collections::BTreeMap<String, String>,
    /// Largest difference of any output between the model verified and the one written, by the
    /// runtime's level of optimisation: `off`, `basic` (64 samples, or all where those are no proof) and `all`. Empty where
    /// the runtime is given the very model that was verified.
    pub max_abs_diff: std::collections::BTreeMap<String, f64>,
    /// The model verified against the one written, with all optimisations.
    pub verification: Option<Verification>,
}

impl FormReport {
    /// Whether the outputs are the same to the bit at each level.
    pub fn identical(&self) -> bool {
        self.max_abs_diff.values().all(|&d| d == 0.0)
    }
}

/// A model file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FileReport {
    /// As the user named it.
    pub path: String,
    /// Hexadecimal.
    pub sha256: String,
    /// Size of the file, external data included.
    pub bytes: u64,
    /// Version of the default operator set.
    pub opset: i64,
}

impl Report {
    /// Whether the pruned model was verified, and passed.
    pub fn passed(&self) -> bool {
        self.verification.as_ref().is_some_and(|v| v.passed)
    }

    /// Whether what pruning cost is within the budget, if there is one.
    pub fn within_budget(&self) -> bool {
        self.budget.as_ref().is_none_or(|b| b.met)
    }

    /// Whether the model was only written in another form.
    pub fn only_converts(&self) -> bool {
        let method = self.settings.get("method");
        method.and_then(|m| m.as_str()) == Some("convert")
    }

    /// Whether models were held against each other on random numbers, for want of images.
    pub fn is_of_random_inputs(&self) -> bool {
        !self.settings.contains_key("data")
    }

    /// Whether this is the plan of learning, which leaves nothing to verify.
    pub fn plans_learning(&self) -> bool {
        self.plan.as_ref().is_some_and(|p| p.learning.is_some())
    }
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LayerReport {
    /// The node's name, or its first output where it has none of its own.
    pub name: String,
    /// `binary` or `float`, with the operator: `binary Conv`.
    pub kind: String,
    /// Whether the layer's filters count in the totals.
    pub binary: bool,
    /// Filters before.
    pub filters: usize,
    /// Filters after.
    pub kept: usize,
    /// Indices of the filters removed, in the input model.
    pub pruned: Vec<usize>,
    /// Filters masked but not removed.
    pub masked_but_kept: usize,
    /// Why filters stayed that the masks, or the graph, would have let go.
    pub reason: Option<String>,
    /// Multiply-accumulates of one sample before, float and binary ones alike.
    pub macs_before: u64,
    /// Multiply-accumulates of one sample after.
    pub macs_after: u64,
    /// Of these, how many are XNOR and popcount on ±1 inputs and weights.
    pub binary_ops_before: u64,
    /// After.
    pub binary_ops_after: u64,
    /// Bytes of the layer's weights as the file read stores them (latents, bits with their scales).
    pub bytes_before: u64,
    /// As the file written stores them.
    pub bytes_after: u64,
    /// Cost in bits before.
    pub bits_before: BitsReport,
    /// After.
    pub bits_after: BitsReport,
}

/// Sums. Filters are binary filters; the rest is of the whole model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Totals {
    /// Binary filters before.
    pub filters: usize,
    /// Binary filters after.
    pub kept: usize,
    /// Share of binary filters physically removed, 0..1.
    pub pruned_ratio: f64,
    /// Binary filters masked but not removed.
    pub masked_but_kept: usize,
    /// Elements of all initializers before.
    pub params_before: u64,
    /// After.
    pub params_after: u64,
    /// Multiply-accumulates of one sample before.
    pub macs_before: u64,
    /// After.
    pub macs_after: u64,
    /// Binary operations of one sample before.
    pub binary_ops_before: u64,
    /// After.
    pub binary_ops_after: u64,
    /// Bytes of all layers' weights before.
    pub bytes_before: u64,
    /// After.
    pub bytes_after: u64,
    /// Cost of all layers in bits before.
    pub bits_before: BitsReport,
    /// After.
    pub bits_after: BitsReport,
}

impl LayerReport {
    /// Whether its costs are counted: those of other operators than Conv, Gemm and MatMul are not.
    pub fn is_counted(&self) -> bool {
        self.macs_before > 0 || self.bytes_before > 0
    }
}

impl Totals {
    /// Sums `layers`; `params_before` and `params_after` are the caller's to fill in.
    pub fn of(layers: &[LayerReport]) -> Self {
        let binary = || layers.iter().filter(|layer| layer.binary);
        let filters: usize = binary().map(|layer| layer.filters).sum();
        let kept: usize = binary().map(|layer| layer.kept).sum();
        let sum = |of: fn(&LayerReport) -> u64| layers.iter().map(of).sum();
        Totals {
            filters,
            kept,
            pruned_ratio: match filters {
                0 => 0.0,
                _ => filters.saturating_sub(kept) as f64 / filters as f64,
            },
            masked_but_kept: binary().map(|layer| layer.masked_but_kept).sum(),
            params_before: 0,
            params_after: 0,
            macs_before: sum(|layer| layer.macs_before),
            macs_after: sum(|layer| layer.macs_after),
            binary_ops_before: sum(|layer| layer.binary_ops_before),
            binary_ops_after: sum(|layer| layer.binary_ops_after),
            bytes_before: sum(|layer| layer.bytes_before),
            bytes_after: sum(|layer| layer.bytes_after),
            bits_before: BitsReport::sum(layers.iter().map(|layer| layer.bits_before)),
            bits_after: BitsReport::sum(layers.iter().map(|layer| layer.bits_after)),
        }
    }
}

/// Top-1 accuracy, as fractions; measured in the runtime on all `samples` but for `after_masking`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AccuracyReport {
    /// Of the input model.
    pub before: f64,
    /// After learning: of the native network right after the last layer's mask, before that
    /// layer's retraining, on at most 2,000 of the images
    /// ([`JUDGE_IMAGES`](crate::subsidiary::JUDGE_IMAGES)); each stage's is in `stages`. With a
    /// masks file, where nothing is retrained: `masked`. Absent where nothing was masked.
    pub after_masking: Option<f64>,
    /// Of the masked model.
    pub masked: f64,
    /// Of the output model.
    pub after: f64,
    /// Share of images whose class is among the five most probable ones, of the input model; absent
    /// with fewer than ten classes.
    pub top5_before: Option<f64>,
    /// The same of the output model.
    pub top5_after: Option<f64>,
    /// Number of images.
    pub samples: usize,
    /// Where the images came from.
    pub source: String,
}

/// What pruning may cost (`--max-drop`), and cost. Fractions: 0.01 is one percentage point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BudgetReport {
    /// `accuracy`, or `agreement` with the original where there are no labels.
    pub measure: String,
    /// What may be lost of it.
    pub max_drop: f64,
    /// What was lost, in the runtime on all validation images; negative where something was won.
    pub drop: f64,
    /// Whether that is within the budget.
    pub met: bool,
    /// The networks that learning ended in, filters given back in between.
    pub attempts: Vec<Attempt>,
}

/// Median milliseconds of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LatencyReport {
    /// Of the input model.
    pub before: f64,
    /// Of the output model.
    pub after: f64,
    /// after / before.
    pub ratio: f64,
}
