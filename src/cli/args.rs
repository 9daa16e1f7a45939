//! Arguments as typed; one definition per option.

mod check;
mod checkpoint;
mod compare;
mod config;
mod convert;
mod form;
mod learning_data;
mod limits;
mod messages;
mod method;
mod optimizer;
mod run;
mod shape;
mod train;
mod tuning;
mod verify;

use std::path::PathBuf;

use crate::data::{Channels, Size};
use crate::pipeline::Budget;
use crate::subsidiary::Cost;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use check::CheckArgs;
pub use checkpoint::CheckpointArgs;
pub use compare::CompareArgs;
pub use config::ConfigArgs;
pub use convert::ConvertArgs;
pub use form::FormName;
pub use learning_data::{LearningDataArgs, SYNTHETIC};
pub use limits::LimitArgs;
pub use messages::MessageArgs;
pub use method::{Method, RuleName};
pub use optimizer::OptimizerName;
pub use run::RunArgs;
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

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The model
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Threads within an operator [default: the runtime's choice]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Latency")]
    pub threads: Option<usize>,
    /// Images a run whose time is taken
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count, help_heading = "Latency")]
    pub batch: usize,
    /// Runs whose time is taken
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = parse_count, help_heading = "Latency")]
    pub runs: usize,
    /// Runs before these
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Latency")]
    pub warm_up: usize,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// Where images come from and how pixels become the model's input.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Images: a folder per class (PNG, JPEG), tar shards, a .npz with `x` and `y`, CIFAR's binary files or
    /// IDX; `synthetic`, to learn from: made from the network itself
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Class names in the order of the model's outputs, one a line [default: sorted folder names]
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// x = (pixel * SCALE - mean) / std [default: 1/255; models that take uint8 get pixels as they are]
    #[arg(long, value_parser = parse_number)]
    pub scale: Option<f32>,
    /// Mean per channel, comma-separated [default: 0]
    #[arg(
        long,
        value_delimiter = ',',
        allow_negative_numbers = true,
        value_name = "M,…"
    )]
    pub mean: Vec<f32>,
    /// Standard deviation per channel, comma-separated [default: 1]
    #[arg(long, value_delimiter = ',', value_name = "S,…")]
    pub std: Vec<f32>,
    /// Channel order of the model's input [default: rgb, or gray for one channel]
    #[arg(long, value_enum)]
    pub channels: Option<ChannelOrder>,
    /// Take what is not given here from a preprocessor_config.json (Hugging Face), or the one in this
    /// folder
    #[arg(long, value_name = "PATH")]
    pub preprocessor: Option<PathBuf>,
    /// Resize images to this size: 32 or HEIGHTxWIDTH
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub resize: Option<Size>,
    /// Crop the centre of this size, after resizing
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    pub crop: Option<Size>,
    /// Memory for decoded images; sets that take more stay in their files and are decoded each time
    /// [default: a quarter of what is available, at most 16384]
    #[arg(long, value_name = "MIB")]
    pub images_mb: Option<usize>,
    /// Leave images out that cannot be read, and say which
    #[arg(long)]
    pub skip_bad: bool,
}

/// Order of an image's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChannelOrder {
    /// Red, green, blue
    Rgb,
    /// Blue, green, red
    Bgr,
    /// One channel of luma
    #[value(alias = "grey")]
    Gray,
}

impl From<ChannelOrder> for Channels {
    fn from(order: ChannelOrder) -> Self {
        match order {
            ChannelOrder::Rgb => Self::Rgb,
            ChannelOrder::Bgr => Self::Bgr,
            ChannelOrder::Gray => Self::Gray,
        }
    }
}

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

/// Arguments of the main job.
#[derive(Debug, Clone, Default, Args)]
pub struct PruneArgs {
    /// The trained binary network
    #[arg(value_name = "IN.onnx", required = true)]
    pub input: Option<PathBuf>,
    /// Where to write the pruned one; -: standard output
    #[arg(value_name = "OUT.onnx", required = true)]
    pub output: Option<PathBuf>,
    /// What is given beyond these two
    #[arg(hide = true)]
    pub others: Vec<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub images: LearningDataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,

    /// How filters are chosen; rules are for comparison
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub method: Method,
    /// Share of all binary filters (or of --cost) to prune, more in layers that miss them less; for
    /// rules: of each layer's filters [default: 0.5, and less where that costs more than --max-drop]
    #[arg(long, value_name = "F", help_heading = "Choosing filters", value_parser = parse_share)]
    pub ratio: Option<f64>,
    /// Percentage points of accuracy on the validation images (without labels: of agreement with the
    /// original) that pruning may cost; none: whatever it costs [default: 1, without labels 10; none
    /// with --masks]
    #[arg(long, value_name = "P", help_heading = "Choosing filters", value_parser = parse_budget)]
    pub max_drop: Option<Budget>,
    /// For the rules: prune as many filters per layer as this masks file does
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Choosing filters",
        conflicts_with = "ratio"
    )]
    pub like: Option<PathBuf>,
    /// Never cut this layer's filters, not even dead ones; * and ? stand for any characters
    /// (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "Choosing filters")]
    pub keep: Vec<String>,
    /// Keep a multiple of this many filters in each layer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Choosing filters")]
    pub round_to: u32,
    /// Mask exactly these filters: no learning, no retraining
    #[arg(long, value_name = "FILE", help_heading = "Choosing filters", conflicts_with_all = ["method", "ratio", "like", "folder"])]
    pub masks: Option<PathBuf>,
    /// Write the masks; -: to standard output, the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_masks: Option<PathBuf>,
    /// Write the masked model, which the pruned one must equal; -: to standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_masked: Option<PathBuf>,
    /// What a pruned filter leaves behind
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub removal: RemovalName,
    /// What becomes of filters that write into a residual stream
    #[arg(long, value_enum, default_value_t, help_heading = "Choosing filters")]
    pub residual: ResidualName,

    /// Write binary layers in integer form: ±1 weights, thresholds in front of binarisers; as
    /// --to integer, and goes with other forms
    #[arg(long, visible_alias = "normalize", help_heading = "Output")]
    pub normalise: bool,

    /// Weight of the regulariser, which decides by itself how many filters go: larger prunes more; 0.4
    /// is a beginning [default: --ratio decides]
    #[arg(
        long,
        value_name = "A",
        help_heading = "Choosing filters",
        conflicts_with = "ratio"
    )]
    pub alpha: Option<f32>,
    #[command(flatten)]
    pub tuning: TuningArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,

    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Put Dropout and BatchNormalization that were exported in training mode into inference mode
    #[arg(long, help_heading = "Output")]
    pub inference_mode: bool,
    /// Form written [default: the one that IN has; see --help]
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub to: Option<FormName>,
    /// Only plan: what can be pruned, and what learning would take; trains nothing, writes no model
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
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

/// A learning rate or a weight.
fn parse_rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("must be a number from 0 up".to_owned()),
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
