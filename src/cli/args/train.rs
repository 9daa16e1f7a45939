//! Arguments of `train`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CheckpointArgs, ConfigArgs, LearningDataArgs, OptimizerName, PrecisionName, RunArgs,
    RuntimeArgs, ScheduleName, ShapeArgs, parse_batch, parse_count, parse_rate,
};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The network to train, from the weights that it has
    #[arg(value_name = "IN.onnx")]
    pub input: PathBuf,
    /// Where to write the trained one
    #[arg(value_name = "OUT.onnx")]
    pub output: PathBuf,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub images: LearningDataArgs,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Epochs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = parse_count, help_heading = "Training")]
    pub epochs: usize,
    /// Learning rate
    #[arg(long, value_name = "R", default_value_t = 1e-3, value_parser = parse_rate, help_heading = "Training")]
    pub lr: f32,
    /// Epochs in which the learning rate rises from 0 first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub warm_up: usize,
    /// Decay of the learning rate
    #[arg(long, value_enum, default_value_t, help_heading = "Training")]
    pub lr_schedule: ScheduleName,
    /// Optimiser
    #[arg(
        long,
        alias = "optimiser",
        value_enum,
        default_value_t,
        help_heading = "Training"
    )]
    pub optimizer: OptimizerName,
    /// Numbers with which binary layers compute gradients
    #[arg(long, value_enum, default_value_t, help_heading = "Speed and memory")]
    pub gradients: PrecisionName,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = parse_batch, help_heading = "Training")]
    pub batch_size: usize,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}
