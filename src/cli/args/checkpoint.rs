//! Arguments of long runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Time between two checkpoints in seconds, unless the user says otherwise.
const EVERY: &str = "60";

/// Where learning is saved.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Training")]
pub struct CheckpointArgs {
    /// Save learning in this folder; the same command continues from there, with the same result
    #[arg(long = "checkpoint", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Save at least this often within a phase (and after each)
    #[arg(
        long = "checkpoint-every",
        value_name = "SECONDS",
        default_value = EVERY,
        value_parser = parse_seconds
    )]
    pub every: Duration,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "must be a number of seconds from 0 up".to_owned())
}
