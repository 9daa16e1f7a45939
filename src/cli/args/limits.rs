//! Arguments that say what a model may use.

use std::time::Duration;

use crate::verify::Limits;
use clap::Args;

/// What a model that is not ours may use, in a process of its own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runtime")]
pub struct LimitArgs {
    /// Seconds that a runtime may take to load a model, and for each run of it on a batch
    /// [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
    /// Memory that a model's process may use (not on Windows) [default: 4096 and four times the
    /// model's size]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub memory: Option<u64>,
    /// Run models in this process: faster, but one that crashes a runtime crashes the tool
    #[arg(long)]
    pub in_process: bool,
}

impl LimitArgs {
    /// Limits of one model.
    pub fn limits(&self) -> Limits {
        let standard = Limits::default();
        Limits {
            time: self.timeout.unwrap_or(standard.time),
            memory: self.memory,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|&s| s > 0.0);
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "must be a number of seconds above 0".to_owned())
}
