//! Arguments of `convert`.

use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, FormName, MessageArgs, RuntimeArgs, ShapeArgs};

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The model
    #[arg(value_name = "IN.onnx")]
    pub input: PathBuf,
    /// Where to write it in the other form; -: standard output
    #[arg(value_name = "OUT.onnx")]
    pub output: PathBuf,
    /// The form
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: FormName,
    /// Images to compare the two on [default: random inputs]
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
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
    /// Seed of the random inputs used without --data
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Data")]
    pub seed: u64,
    #[command(flatten)]
    pub messages: MessageArgs,
}
