//! Options of the method and their defaults.

use std::path::PathBuf;

use serde::Serialize;

use super::cost::Cost;
use super::mask::Bounds;
use super::mask_groups::Grouping;
use super::select::Rule;
use crate::data::Augment;
use crate::engine::Precision;
use crate::rewrite::{FilterMasks, Removal, Residual};
use crate::training::{Adam, OptimizerRule};

/// How filters are chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Selector {
    /// The paper's method: masks learned layer by layer.
    Subsidiary {
        /// Prune this share of all binary filters, more where they are missed less, instead of
        /// those whose M is negative.
        ratio: Option<f64>,
        /// The ratio is what to begin with: filters are given back until the budget holds.
        gives_back: bool,
    },
    /// A rule that needs no training; for comparison.
    Rule {
        /// Which one.
        rule: &'static dyn Rule,
        /// How many filters go.
        amount: Amount,
    },
}

impl Selector {
    /// The share that is to go, if one is asked for.
    pub(super) fn ratio(&self) -> Option<f64> {
        match self {
            Self::Subsidiary { ratio, .. } => *ratio,
            Self::Rule { amount, .. } => match amount {
                Amount::Ratio(ratio) | Amount::Shared(ratio) => Some(*ratio),
                Amount::Like { .. } => None,
            },
        }
    }

    /// The share that was asked for, which the run does not lower by itself.
    pub fn asked(&self) -> Option<f64> {
        match self {
            Self::Subsidiary {
                gives_back: true, ..
            } => None,
            _ => self.ratio(),
        }
    }

    /// Whether it decides itself how many filters go.
    pub fn decides_how_many(&self) -> bool {
        matches!(
            self,
            Self::Subsidiary { ratio: None, .. }
                | Self::Subsidiary {
                    gives_back: true,
                    ..
                }
        )
    }

    /// The share that is shared out among the layers by what masks do to the outputs.
    pub(super) fn shared(&self) -> Option<f64> {
        match self {
            Self::Subsidiary { ratio, .. } => *ratio,
            Self::Rule { amount, .. } => match amount {
                Amount::Shared(ratio) => Some(*ratio),
                Amount::Ratio(_) | Amount::Like { .. } => None,
            },
        }
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subsidiary { .. } => "subsidiary",
            Self::Rule { rule, .. } => rule.name(),
        }
    }
}

/// How many filters a rule prunes in each layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// This share of every layer.
    Ratio(f64),
    /// This share of what the model costs, more in layers that miss their filters less: as many in
    /// each as a learned mask takes at that ratio.
    Shared(f64),
    /// As many in each layer as these masks prune.
    Like {
        /// The file that they came from.
        path: PathBuf,
        /// The masks.
        #[serde(skip)]
        masks: FilterMasks,
    },
}

/// How the learning rate falls within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Exponentially to a thousandth (section 4 of the paper).
    Exponential,
    /// Half a cosine, to zero.
    Cosine,
    /// Not at all.
    Constant,
}

/// Options of the bottom-up schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Options {
    /// How filters are chosen.
    pub selector: Selector,
    /// Layers whose filters are never pruned.
    pub keep: Vec<String>,
    /// What a pruned filter leaves behind; training masks where the rewrite will.
    pub removal: Removal,
    /// What becomes of filters that write into a residual stream.
    #[serde(skip)]
    pub residual: Residual,
    /// Of no layer is more than this share pruned (or than the ratio, if that is larger): each mask
    /// is learned with the layers above still whole, and does not know what will be taken from
    /// them.
    pub max_share: f64,
    /// What a ratio is a share of, and what the regulariser weighs filters by.
    pub cost: Cost,
    /// By how much (a fraction) accuracy on the validation images may fall below the original's or,
    /// without labels, agreement with the original below 1: layers that cost too much keep more
    /// filters, and at the end filters are given back. `None`: by whatever it does.
    #[serde(skip)]
    pub max_drop: Option<f64>,
    /// Layers keep a multiple of this many filters, or all that they have.
    pub round_to: usize,
    /// Weight of the regulariser on the share of filters kept.
    pub alpha: f32,
    /// Share of the loss that compares with the original's logits (distillation), the rest being
    /// cross-entropy with the labels; 0 is the paper's loss. On images that the network was trained
    /// on, cross-entropy alone is all but 0 and says little of what a filter is for.
    pub distill: f32,
    /// Training images that a stage learns from, drawn anew for each; `None`, or more than there are: all.
    /// At the end the whole network is retrained on all.
    pub stage_images: Option<usize>,
    /// Epochs of mask training per stage.
    pub mask_epochs: usize,
    /// Epochs of main-network retraining per stage.
    pub main_epochs: usize,
    /// Epochs in which the whole masked network is retrained once all masks are fixed. Beyond the
    /// paper, whose lower layers stay as they are: it wins back accuracy that small data cost.
    pub final_epochs: usize,
    /// Whose ranks M starts at; `None`: at random, next to 0, as in the paper.
    pub mask_start: Option<&'static dyn Rule>,
    /// Learning rate of the mask parameters.
    pub mask_lr: f32,
    /// Learning rate of retraining.
    pub main_lr: f32,
    /// Epochs in which that rate rises from 0.
    #[serde(skip)]
    pub warm_up: usize,
    /// Optimiser of retraining.
    pub optimizer: &'static dyn OptimizerRule,
    /// Decay of both learning rates over a phase.
    pub decay: Decay,
    /// With which numbers binary layers compute gradients.
    pub gradients: Precision,
    /// Images per step.
    pub batch_size: usize,
    /// Activations of the frozen layers are kept in memory up to this size, in MiB.
    #[serde(skip)]
    pub cache_mb: usize,
    /// Beyond that, in temporary files up to this size, in MiB; beyond both they are computed again
    /// for each epoch.
    #[serde(skip)]
    pub cache_disk_mb: usize,
    /// Where these files are; `None`: in the system's folder for temporary files.
    #[serde(skip)]
    pub cache_dir: Option<PathBuf>,
    /// Images are varied in only so many ways, epoch by epoch in turn, so that activations of the
    /// frozen layers can be kept; 0: in a new way each epoch.
    pub views: usize,
    /// Random variation of training images; reported with the data.
    #[serde(skip)]
    pub augment: Augment,
    /// Seed of mask initialisation, batch order, augmentation and random rules.
    pub seed: u64,
}

impl Options {
    /// What layers are grouped by.
    pub(super) fn grouping(&self) -> Grouping<'_> {
        Grouping {
            keep: &self.keep,
            residual: self.residual,
            round_to: self.round_to,
        }
    }

    /// How many of so many training images a stage learns from.
    pub fn images_of_stage(&self, all: usize) -> usize {
        self.stage_images
            .map_or(all, |count| count.clamp(1, all.max(1)))
    }

    /// Epochs of mask training per stage; a rule trains none.
    pub fn mask_epochs_of_stage(&self) -> usize {
        match self.selector {
            Selector::Subsidiary { .. } => self.mask_epochs,
            Selector::Rule { .. } => 0,
        }
    }

    /// Batches of so many images.
    pub fn batches(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size.max(1))
    }

    /// Batches of a whole run with so many stages, as far as they are known before.
    pub fn steps_of_run(&self, images: usize, stages: usize) -> usize {
        let epochs = self.mask_epochs_of_stage().saturating_add(self.main_epochs);
        let of_stage = self.batches(self.images_of_stage(images));
        let in_stages = of_stage.saturating_mul(epochs).saturating_mul(stages);
        let at_end = self.batches(images).saturating_mul(self.final_epochs);
        in_stages.saturating_add(at_end)
    }

    /// How many filters a learned mask may leave.
    pub(super) fn bounds(&self, keep: Option<usize>) -> Bounds {
        Bounds {
            keep,
            most: self.max_share,
            round_to: self.round_to,
        }
    }

    /// The share that is pruned where none is asked for, unless it costs too much: more than that few
    /// networks can do without.
    pub const FIRST_RATIO: f64 = 0.5;
    /// Steps that a phase should at least have: on a small set of images an epoch is few steps.
    const MASK_STEPS: usize = 240;
    const MAIN_STEPS: usize = 240;
    const FINAL_STEPS: usize = 2_000;
    /// Where an epoch is this many steps, the network has seen so many images in each stage that fewer
    /// steps at the end must do.
    const MANY_STEPS: usize = 100;
    const FEWER_FINAL_STEPS: usize = 1_500;

    /// A stage learns from so many images at most, where nothing else is asked for: a thousand steps. An epoch
    /// of ImageNet in each of sixteen stages takes weeks.
    const STAGE_IMAGES: usize = 128_000;

    /// Defaults for `images` training images. The number of epochs is such that a phase has some
    /// hundred steps: the paper's 200 epochs a phase take days.
    pub fn for_images(images: usize) -> Self {
        Self::for_stages(images, None, None)
    }

    /// The same where each stage learns from so many of them, or a step from so many, if that is asked for.
    pub fn for_stages(images: usize, of_stage: Option<usize>, batch_size: Option<usize>) -> Self {
        let usual = if images >= 12_800 { 128 } else { 64 };
        let batch_size = batch_size.unwrap_or(usual).max(1);
        let steps = images.div_ceil(batch_size).max(1);
        let most = (images > Self::STAGE_IMAGES).then_some(Self::STAGE_IMAGES);
        let stage_images = of_stage.or(most);
        let in_stage = stage_images.map_or(images, |count| count.min(images));
        let in_stage = in_stage.div_ceil(batch_size).max(1);
        Self {
            selector: Selector::Subsidiary {
                ratio: Some(Self::FIRST_RATIO),
                gives_back: true,
            },
            keep: Vec::new(),
            removal: Removal::Drop,
            residual: Residual::Coupled,
            max_share: 0.8,
            cost: Cost::Filters,
            max_drop: None,
            round_to: 1,
            alpha: 0.4,
            distill: 0.5,
            stage_images,
            mask_epochs: Self::MASK_STEPS.div_ceil(in_stage).clamp(1, 20),
            main_epochs: Self::MAIN_STEPS.div_ceil(in_stage).clamp(1, 20),
            final_epochs: match steps >= Self::MANY_STEPS {
                true => Self::FEWER_FINAL_STEPS.div_ceil(steps).max(1),
                false => Self::FINAL_STEPS.div_ceil(steps).clamp(1, 150),
            },
            mask_start: None,
            mask_lr: 1e-3,
            main_lr: 1e-3,
            warm_up: 0,
            optimizer: &Adam,
            decay: Decay::Cosine,
            gradients: Precision::F32,
            batch_size,
            cache_mb: 768,
            cache_disk_mb: 8192,
            cache_dir: None,
            views: 0,
            augment: Augment::default(),
            seed: 0,
        }
    }
}
