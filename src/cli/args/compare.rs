//! Arguments of `compare`.

use std::path::PathBuf;

use crate::report::UNPRUNED;
use clap::{Args, ValueEnum as _};

use super::{
    CheckpointArgs, ConfigArgs, LearningDataArgs, MessageArgs, Method, RuntimeArgs, ShapeArgs,
    TuningArgs, parse_share,
};

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The network to prune; nothing is written
    #[arg(value_name = "IN.onnx")]
    pub input: PathBuf,
    #[command(flatten)]
    pub config: ConfigArgs,
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
    /// Only this run, such as random:0.3:0 or unpruned:0:2: a part of a larger comparison
    #[arg(
        long,
        value_name = "METHOD:F:SEED",
        value_parser = parse_run,
        conflicts_with_all = ["methods", "ratios", "seeds"],
        help_heading = "Choosing filters"
    )]
    pub only: Option<OneRun>,
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

/// One run of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct OneRun {
    /// How filters are chosen; `None`: none are.
    pub method: Option<Method>,
    /// The share of filters that goes.
    pub ratio: f64,
    /// The seed.
    pub seed: u64,
}

fn parse_run(text: &str) -> Result<OneRun, String> {
    let parsed = text.split_once(':').and_then(|(method, rest)| {
        let (ratio, seed) = rest.split_once(':')?;
        let method = match method {
            UNPRUNED => None,
            name => Some(Method::from_str(name, false).ok()?),
        };
        let run = OneRun {
            method,
            ratio: parse_share(ratio).ok()?,
            seed: seed.parse().ok()?,
        };
        (run.method.is_some() || run.ratio == 0.0).then_some(run)
    });
    parsed.ok_or_else(|| {
        "must be METHOD:SHARE:SEED, such as random:0.3:0, or unpruned:0:SEED".to_owned()
    })
}
