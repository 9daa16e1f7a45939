//! Arguments of options in a file.

use std::path::PathBuf;

use clap::Args;

/// Options in a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options in a file")]
pub struct ConfigArgs {
    /// Options from this TOML file, such as `ratio = 0.3`; those on the command line win
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Leave this option of --config out, such as save-masks (repeatable)
    #[arg(long, value_name = "NAME", requires = "config")]
    pub unset: Vec<String>,
    /// Write all options that were given, for --config
    #[arg(long, value_name = "FILE.toml")]
    pub save_config: Option<PathBuf>,
}
