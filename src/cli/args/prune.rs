//! Arguments of the main job.

use std::path::PathBuf;

use clap::Args;

use super::{
    CheckpointArgs, ConfigArgs, FormName, LearningDataArgs, Method, RemovalName, ResidualName,
    RunArgs, RuntimeArgs, ShapeArgs, TuningArgs, parse_budget, parse_rate, parse_share,
};
use crate::pipeline::Budget;

/// Arguments of the main job.
#[derive(Debug, Clone, Default, Args)]
pub struct PruneArgs {
    /// The trained binary network
    #[arg(value_name = "IN.onnx", required = true)]
    pub input: Option<PathBuf>,
    /// Where to write the pruned one; -: standard output
    #[arg(value_name = "OUT.onnx", required = true)]
    pub output: Option<PathBuf>,
    /// What is given beyond these two
    #[arg(hide = true)]
    pub others: Vec<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub images: LearningDataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,

    /// How filters are chosen; rules are for comparison
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub method: Method,
    /// Share of all binary filters (or of --cost) to prune, more in layers that miss them less; for
    /// rules: of each layer's filters [default: 0.5, and less where that costs more than --max-drop]
    #[arg(long, value_name = "F", help_heading = "Choosing filters", value_parser = parse_share)]
    pub ratio: Option<f64>,
    /// Percentage points of accuracy on the validation images (without labels: of agreement with the
    /// original) that pruning may cost; none: whatever it costs [default: 1, without labels 10; none
    /// with --masks]
    #[arg(long, value_name = "P", help_heading = "Choosing filters", value_parser = parse_budget)]
    pub max_drop: Option<Budget>,
    /// For the rules: prune as many filters per layer as this masks file does
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Choosing filters",
        conflicts_with = "ratio"
    )]
    pub like: Option<PathBuf>,
    /// Never cut this layer's filters, not even dead ones; * and ? stand for any characters
    /// (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Choosing filters")]
    pub keep: Vec<String>,
    /// Keep a multiple of this many filters in each layer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Choosing filters")]
    pub round_to: u32,
    /// Mask exactly these filters: no learning, no retraining
    #[arg(long, value_name = "FILE", help_heading = "Choosing filters", conflicts_with_all = ["method", "ratio", "like", "folder"])]
    pub masks: Option<PathBuf>,
    /// Write the masks; -: to standard output, the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_masks: Option<PathBuf>,
    /// Write the masked model, which the pruned one must equal; -: to standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_masked: Option<PathBuf>,
    /// What a pruned filter leaves behind
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub removal: RemovalName,
    /// What becomes of filters that write into a residual stream
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub residual: ResidualName,

    /// Write binary layers in integer form: ±1 weights, thresholds in front of binarisers; as
    /// --to integer, and goes with other forms
    #[arg(long, visible_alias = "normalize", help_heading = "Output")]
    pub normalise: bool,

    /// Weight of the regulariser, which decides by itself how many filters go: larger prunes more; 0.4
    /// is a beginning [default: --ratio decides]
    #[arg(
        long,
        value_name = "A",
        value_parser = parse_rate,
        help_heading = "Choosing filters",
        conflicts_with = "ratio"
    )]
    pub alpha: Option<f32>,
    #[command(flatten)]
    pub tuning: TuningArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,

    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Put Dropout and BatchNormalization that were exported in training mode into inference mode
    #[arg(long, help_heading = "Output")]
    pub inference_mode: bool,
    /// Form written [default: the one that IN has; see --help]
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub to: Option<FormName>,
    /// Only plan: what can be pruned, and what learning would take; trains nothing, writes no model
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
}
