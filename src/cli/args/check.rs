//! Arguments of `check`.

use std::path::PathBuf;

use clap::Args;

use super::{MessageArgs, RuntimeArgs, ShapeArgs};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Model files, and folders to search for .onnx files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Fail on files with more bytes or MACs, or other binary layers, than this file pins
    #[arg(long, value_name = "FILE", help_heading = "Baseline")]
    pub baseline: Option<PathBuf>,
    /// Pin what the files hold, if all are good
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "baseline",
        help_heading = "Baseline"
    )]
    pub write_baseline: Option<PathBuf>,
    /// Write the findings as JUnit XML too; -: to standard output, the table then goes to standard
    /// error
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub junit: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Sizes of free dimensions [default: batch 1; else 32, 224, 8 or 1, whichever runs first]
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Seed of the made-up inputs
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Runtime")]
    pub seed: u64,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub messages: MessageArgs,
}
