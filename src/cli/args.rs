//! Arguments as typed; one definition per option.

mod check;
mod checkpoint;
mod compare;
mod config;
mod convert;
mod data;
mod eval;
mod form;
mod learning_data;
mod limits;
mod messages;
mod method;
mod optimizer;
mod prune;
mod run;
mod runtime;
mod shape;
mod train;
mod tuning;
mod verify;

use std::path::PathBuf;

use crate::data::Size;
use crate::pipeline::Budget;
use crate::subsidiary::Cost;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use check::CheckArgs;
pub use checkpoint::CheckpointArgs;
pub use compare::CompareArgs;
pub use config::ConfigArgs;
pub use convert::ConvertArgs;
pub use data::DataArgs;
pub use eval::EvalArgs;
pub use form::FormName;
pub use learning_data::{LearningDataArgs, SYNTHETIC};
pub use limits::LimitArgs;
pub use messages::MessageArgs;
pub use method::{Method, RuleName};
pub use optimizer::OptimizerName;
pub use prune::PruneArgs;
pub use run::RunArgs;
pub use runtime::{RuntimeArgs, RuntimeChoice};
pub use shape::ShapeArgs;
pub use train::TrainArgs;
pub use tuning::TuningArgs;
pub use verify::VerifyArgs;

/// Prunes a binary neural network in ONNX: learns which filters it does not need, removes them,
/// and proves in ONNX Runtime that the result computes what it should.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "onnx-bnnprune IN.onnx OUT.onnx [--data PATH] [OPTIONS]\n       onnx-bnnprune <COMMAND>",
    after_help = "Exit codes: 0 done and verified; 1 verification failed, more was lost than --max-drop, a difference \
                  or a bad file was found (OUT is not written); 2 bad usage or input; 3 a needed runtime is missing; 130 interrupted."
)]
pub struct Cli {
    /// What to do instead of the main job.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The main job.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// Commands beside the main job.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List binary layers, scales and groups, and what is prunable and what is not, and why
    Inspect(InspectArgs),
    /// Measure a model's accuracy and latency in a runtime
    Eval(EvalArgs),
    /// Do two models compute the same?
    Verify(VerifyArgs),
    /// Validate every .onnx file under the paths, for CI
    Check(CheckArgs),
    /// Write a model in another form, nothing pruned, verified
    Convert(Box<ConvertArgs>),
    /// Train a binary network as it is, nothing pruned; resumable
    Train(Box<TrainArgs>),
    /// Ways of choosing filters side by side, over seeds: one table; resumable
    Compare(Box<CompareArgs>),
    /// Print completions for a shell, to be put where it looks for them
    Completions(CompletionsArgs),
    /// Write manual pages of all commands into a folder
    Man(ManArgs),
    /// Run a model for another process: how this program runs what may crash a runtime
    #[command(hide = true)]
    Worker(RuntimeArgs),
}

impl Cli {
    /// Which runtime the command asks for, if it uses one.
    pub fn runtime(&self) -> Option<&RuntimeArgs> {
        match &self.command {
            None => Some(&self.prune.runtime),
            Some(Command::Eval(a)) => Some(&a.runtime),
            Some(Command::Verify(a)) => Some(&a.runtime),
            Some(Command::Check(a)) => Some(&a.runtime),
            Some(Command::Convert(a)) => Some(&a.runtime),
            Some(Command::Train(a)) => Some(&a.runtime),
            Some(Command::Compare(a)) => Some(&a.runtime),
            Some(Command::Worker(a)) => Some(a),
            Some(Command::Inspect(_) | Command::Completions(_) | Command::Man(_)) => None,
        }
    }

    /// How many threads work, if the user says so. Those of `eval` are the runtime's.
    pub fn threads(&self) -> Option<usize> {
        match &self.command {
            None => self.prune.run.threads,
            Some(Command::Train(a)) => a.run.threads,
            Some(Command::Compare(a)) => a.threads,
            Some(_) => None,
        }
    }

    /// What it is to say.
    pub fn messages(&self) -> MessageArgs {
        match &self.command {
            None => self.prune.run.messages.clone(),
            Some(Command::Train(a)) => a.run.messages.clone(),
            Some(Command::Compare(a)) => a.messages.clone(),
            Some(Command::Check(a)) => a.messages.clone(),
            Some(Command::Convert(a)) => a.messages.clone(),
            Some(Command::Eval(a)) => a.messages.clone(),
            Some(Command::Verify(a)) => a.messages.clone(),
            Some(Command::Inspect(a)) => MessageArgs {
                markdown: a.markdown,
                ..MessageArgs::default()
            },
            Some(Command::Completions(_) | Command::Man(_) | Command::Worker(_)) => {
                MessageArgs::default()
            }
        }
    }
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The model
    pub model: PathBuf,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print Markdown, to be pasted into an issue
    #[arg(long, help_heading = "Output")]
    pub markdown: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder
    pub folder: PathBuf,
}

/// Values of `--cost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostName {
    /// Binary filters, as the paper counts them (default)
    Filters,
    /// Multiply-accumulates: what latency follows
    Macs,
    /// Bytes of weights
    Bytes,
}

impl CostName {
    /// What it stands for.
    pub fn cost(self) -> Cost {
        match self {
            Self::Filters => Cost::Filters,
            Self::Macs => Cost::Macs,
            Self::Bytes => Cost::Bytes,
        }
    }
}

/// Values of `--removal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RemovalName {
    /// A pruned channel contributes nothing downstream
    #[default]
    Drop,
    /// Only the layer's own output is zero; what that leaves behind is folded into biases
    Fold,
}

/// What becomes of filters that write into a residual stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ResidualName {
    /// They go where all producers of the stream lose the same channel
    #[default]
    Coupled,
    /// One by one, scattered back into the stream, where that saves more than it costs
    Scatter,
}

/// Values of `--lr-schedule`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ScheduleName {
    /// Half a cosine
    #[default]
    Cosine,
    /// By a constant factor each step, to a thousandth (the paper's, for long phases)
    Exponential,
    /// No decay
    Constant,
}

/// Values of `--gradients`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Single precision
    #[default]
    F32,
    /// 8 bits, rounded up or down by chance so that sums are right on average: faster,
    /// somewhat noisier
    Int8,
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| (1..=1 << 20).contains(&n));
    count.ok_or_else(|| "must be a number from 1 to 1048576".to_owned())
}

/// The same, or none at all.
fn parse_epochs(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| n <= 1 << 20);
    count.ok_or_else(|| "must be a number from 0 to 1048576".to_owned())
}

/// How many images are learned from at a time: statistics of one have no variance.
fn parse_batch(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| (2..=1 << 20).contains(&n));
    count.ok_or_else(|| "must be a number from 2 to 1048576".to_owned())
}

/// How many images, for the same reason.
fn parse_images(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| n >= 2);
    count.ok_or_else(|| "must be a number from 2 up".to_owned())
}

/// A learning rate or a weight.
fn parse_rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("must be a number from 0 up".to_owned()),
    }
}

/// A share that may be all.
fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.0..=1.0).contains(&f) => Ok(f),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.0..1.0).contains(&f) => Ok(f),
        _ => Err("must be a number from 0 to below 1".to_owned()),
    }
}

/// Percentage points, or `none`.
fn parse_budget(text: &str) -> Result<Budget, String> {
    match (text, text.parse::<f64>()) {
        ("none", _) => Ok(Budget::Unlimited),
        (_, Ok(points)) if (0.0..=100.0).contains(&points) => Ok(Budget::Most(points / 100.0)),
        _ => Err("must be percentage points from 0 to 100, or none".to_owned()),
    }
}

/// A number, or a fraction such as `1/255`.
fn parse_number(text: &str) -> Result<f32, String> {
    let parse = |s: &str| s.trim().parse::<f32>().ok().filter(|x| x.is_finite());
    let value = match text.split_once('/') {
        Some((a, b)) => parse(a).zip(parse(b)).map(|(a, b)| a / b),
        None => parse(text),
    };
    value
        .filter(|x| x.is_finite())
        .ok_or_else(|| "must be a number or a fraction such as 1/255".to_owned())
}

fn parse_size(text: &str) -> Result<Size, String> {
    let parse = |s: &str| s.parse::<u32>().ok().filter(|&n| n > 0);
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    match (parse(h), parse(w)) {
        (Some(height), Some(width)) => Ok(Size { height, width }),
        _ => Err("must be a size such as 32 or 32x48 (height x width)".to_owned()),
    }
}
