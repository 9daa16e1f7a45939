//! Arguments of how masks and weights are learned.

use std::path::PathBuf;

use crate::pipeline::Tuning;
use clap::Args;

use super::{
    CostName, OptimizerName, PrecisionName, RuleName, ScheduleName, parse_batch, parse_count,
    parse_epochs, parse_fraction, parse_images, parse_rate,
};
use crate::cli::shared::{decay, precision};

/// How masks and weights are learned, however filters are chosen.
#[derive(Debug, Clone, Default, Args)]
pub struct TuningArgs {
    /// What --ratio is a share of, and what the regulariser weighs filters by [default: filters]
    #[arg(
        long,
        value_name = "COST",
        value_enum,
        help_heading = "Choosing filters"
    )]
    pub cost: Option<CostName>,
    /// Never prune more than this share of a layer [default: 0.8, or --ratio if that is larger]
    #[arg(long, value_name = "F", value_parser = parse_fraction, help_heading = "Choosing filters")]
    pub max_share: Option<f64>,
    /// Share of the loss that compares with the original's outputs, the rest with the labels
    /// [default: 0.5]
    #[arg(long, value_name = "S", value_parser = parse_fraction, help_heading = "Training")]
    pub distill: Option<f64>,
    /// Training images that each layer is learned from, drawn anew for each; all of them at the end [default:
    /// 128,000, or all where there are fewer]
    #[arg(long, value_name = "N", value_parser = parse_images, help_heading = "Training")]
    pub stage_images: Option<usize>,
    /// Epochs of mask training per layer [default: so many that there are 240 steps, 1 to 20]
    #[arg(long, value_name = "N", value_parser = parse_epochs, help_heading = "Training")]
    pub mask_epochs: Option<usize>,
    /// Epochs of retraining per layer [default: so many that there are 240 steps, 1 to 20]
    #[arg(long, value_name = "N", value_parser = parse_epochs, help_heading = "Training")]
    pub main_epochs: Option<usize>,
    /// Epochs of retraining the whole network at the end [default: so many that there are 2,000 steps, at
    /// most 150; 1,500 where an epoch has 100 and more]
    #[arg(long, value_name = "N", value_parser = parse_epochs, help_heading = "Training")]
    pub final_epochs: Option<usize>,
    /// A rule at whose ranks masks start, for learning to go on from [default: at random, next to 0, as in
    /// the paper]
    #[arg(
        long,
        value_name = "RULE",
        value_enum,
        help_heading = "Choosing filters"
    )]
    pub mask_start: Option<RuleName>,
    /// Learning rate of the masks [default: 0.001]
    #[arg(long, value_name = "R", value_parser = parse_rate, help_heading = "Training")]
    pub mask_lr: Option<f32>,
    /// Learning rate of retraining [default: 0.001]
    #[arg(long, value_name = "R", value_parser = parse_rate, help_heading = "Training")]
    pub main_lr: Option<f32>,
    /// Optimiser of retraining
    #[arg(
        long,
        alias = "optimiser",
        value_enum,
        default_value_t,
        help_heading = "Training"
    )]
    pub optimizer: OptimizerName,
    /// Decay of the learning rate over a stage
    #[arg(long, value_enum, default_value_t, help_heading = "Training")]
    pub lr_schedule: ScheduleName,
    /// Numbers with which binary layers compute gradients
    #[arg(long, value_enum, default_value_t, help_heading = "Speed and memory")]
    pub gradients: PrecisionName,
    /// Images per step [default: 64, from 12,800 training images on 128]
    #[arg(long, value_name = "N", value_parser = parse_batch, help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Memory for activations of frozen layers, which are then computed only once; where images are
    /// varied at random, only with --views [default: a quarter of what is available, 256 to 768]
    #[arg(long, value_name = "MIB", help_heading = "Speed and memory")]
    pub cache_mb: Option<usize>,
    /// Room for them in temporary files, beyond --cache-mb; 0: none [default: 8192]
    #[arg(long, value_name = "MIB", help_heading = "Speed and memory")]
    pub cache_disk_mb: Option<usize>,
    /// Where these files are [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR", help_heading = "Speed and memory")]
    pub cache_dir: Option<PathBuf>,
    /// Vary each image (--flip, --crop-padding and so on) in only so many ways, epoch by epoch in turn [default:
    /// in a new way each epoch]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Speed and memory")]
    pub views: Option<usize>,
}

impl TuningArgs {
    /// As options of the job.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            cost: self.cost.map(CostName::cost),
            max_share: self.max_share,
            distill: self.distill.map(|share| share as f32),
            stage_images: self.stage_images,
            mask_epochs: self.mask_epochs,
            main_epochs: self.main_epochs,
            final_epochs: self.final_epochs,
            mask_start: self.mask_start.map(|rule| rule.0),
            mask_lr: self.mask_lr,
            main_lr: self.main_lr,
            optimizer: Some(self.optimizer.0),
            decay: Some(decay(self.lr_schedule)),
            gradients: Some(precision(self.gradients)),
            batch_size: self.batch_size,
            cache_mb: self.cache_mb,
            cache_disk_mb: self.cache_disk_mb,
            cache_dir: self.cache_dir.clone(),
            views: self.views,
            ..Tuning::default()
        }
    }
}
