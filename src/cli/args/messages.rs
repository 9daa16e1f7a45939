//! Arguments of what a command says.

use std::path::PathBuf;

use clap::Args;

/// What a command says while it works, and how it says what it found.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Messages")]
pub struct MessageArgs {
    /// Nothing but warnings and the result
    #[arg(long, short)]
    pub quiet: bool,
    /// Each epoch too, and what was done to the model
    #[arg(long, short, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Add all messages, with the time of day, and the result to this file
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Print the result as Markdown, to be pasted into an issue
    #[arg(long)]
    pub markdown: bool,
}
