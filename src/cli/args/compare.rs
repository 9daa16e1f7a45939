//! Arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CheckpointArgs, LearningDataArgs, MessageArgs, Method, RuntimeArgs, ShapeArgs, TuningArgs,
    parse_share,
};

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The network to prune; nothing is written
    #[arg(value_name = "IN.onnx")]
    pub input: PathBuf,
    #[command(flatten)]
    pub images: LearningDataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Ways of choosing filters, beside the unpruned network retrained alike
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "A,B,…",
        default_values = ["subsidiary", "random"],
        help_heading = "Choosing filters"
    )]
    pub methods: Vec<Method>,
    /// Shares of filters to prune
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "F,G,…",
        default_values = ["0.3", "0.5"],
        value_parser = parse_share,
        help_heading = "Choosing filters"
    )]
    pub ratios: Vec<f64>,
    /// Runs of each with seeds 0, 1, …
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1000), help_heading = "Choosing filters")]
    pub seeds: u64,
    /// Never prune this layer's filters; * and ? stand for any characters (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Choosing filters")]
    pub keep: Vec<String>,
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Speed and memory")]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Write all runs as JSON; -: to standard output, the table then goes to standard error
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub report: Option<PathBuf>,
    /// Write the table, with curves, as a page for a browser, in one file; -: to standard output, the
    /// table then goes to standard error
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub messages: MessageArgs,
}
