//! Arguments of `verify`.

use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, MessageArgs, RuntimeArgs, ShapeArgs};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The model that is right
    pub reference: PathBuf,
    /// The model that should compute the same
    pub candidate: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Absolute difference that passes
    #[arg(long, default_value_t = 1e-4, value_name = "T", value_parser = parse_tolerance, help_heading = "Tolerance")]
    pub atol: f64,
    /// Difference that passes, relative to the largest value of a sample's output
    #[arg(long, default_value_t = 1e-4, value_name = "T", value_parser = parse_tolerance, help_heading = "Tolerance")]
    pub rtol: f64,
    /// Seed of the random inputs used without --data
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Data")]
    pub seed: u64,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub messages: MessageArgs,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if t >= 0.0 && t.is_finite() => Ok(t),
        _ => Err("must be a number from 0".to_owned()),
    }
}
