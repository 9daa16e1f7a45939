//! Arguments of every run that learns.

use std::path::PathBuf;

use clap::Args;

use super::MessageArgs;

/// How a run is done, and what it says of itself.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Training")]
    pub seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Speed and memory")]
    pub threads: Option<usize>,
    /// Write the report as JSON; -: to standard output, the text then goes to standard error
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub report: Option<PathBuf>,
    /// Write the report as a page for a browser, in one file; -: to standard output, the text then
    /// goes to standard error
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Allow OUT to be the same file as IN
    #[arg(long, help_heading = "Output")]
    pub in_place: bool,
    #[command(flatten)]
    pub messages: MessageArgs,
}
