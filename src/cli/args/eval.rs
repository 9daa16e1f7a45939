//! Arguments of `eval`.

use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, MessageArgs, RuntimeArgs, ShapeArgs, parse_count};

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The model
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Threads within an operator [default: the runtime's choice]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Latency")]
    pub threads: Option<usize>,
    /// Images a run whose time is taken
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count, help_heading = "Latency")]
    pub batch: usize,
    /// Runs whose time is taken
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = parse_count, help_heading = "Latency")]
    pub runs: usize,
    /// Runs before these
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Latency")]
    pub warm_up: usize,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub messages: MessageArgs,
}
