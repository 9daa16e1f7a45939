//! Arguments that say who runs models.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::LimitArgs;

/// Which runtime, and where its library is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runtime")]
pub struct RuntimeArgs {
    /// Who runs and verifies: ort fails if ONNX Runtime is not found; auto falls back to tract
    #[arg(long, value_enum, default_value_t)]
    pub runtime: RuntimeChoice,
    /// ONNX Runtime's shared library [default: searched, see docs/commands.md]
    #[arg(long, value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
    /// The library with the operators of --to ops [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub ops_library: Option<PathBuf>,
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Values of `--runtime`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeChoice {
    /// ONNX Runtime
    #[default]
    Ort,
    /// tract, built in
    Tract,
    /// ONNX Runtime if it is found, else tract
    Auto,
}
