//! What the main job is asked to do.

use std::path::PathBuf;

use super::{DataSource, memory};
use crate::checkpoint::Plan;
use crate::data::Images;
use crate::engine::Precision;
use crate::forms::OutputForm;
use crate::output::Target;
use crate::rewrite::{Removal, Residual};
use crate::sizes::Sizes;
use crate::subsidiary::{Cost, Decay, Options, Rule, Selector};
use crate::training::OptimizerRule;

/// The main job.
#[derive(Debug, Clone)]
pub struct Job {
    /// The model to prune.
    pub input: PathBuf,
    /// Where the pruned model goes; `None`: nowhere.
    pub output: Option<PathBuf>,
    /// The form written; `None`: the one that the model came in.
    pub form: Option<&'static dyn OutputForm>,
    /// Only plan it: nothing is trained, and no model or mask is written.
    pub dry_run: bool,
    /// Images, if there are any.
    pub source: Option<DataSource>,
    /// How filters are chosen.
    pub choice: Choice,
    /// Sizes of what the model leaves free.
    pub sizes: Sizes,
    /// Layers whose filters all stay, however filters are chosen.
    pub keep: Vec<String>,
    /// What becomes of filters that write into a residual stream.
    pub residual: Residual,
    /// Bring binary layers into the integer form ([`crate::normalise`]).
    pub normalise: bool,
    /// Layers keep a multiple of this many filters; 1: any number.
    pub round_to: usize,
    /// What a pruned filter leaves behind.
    pub removal: Removal,
    /// What pruning may cost.
    pub budget: Budget,
    /// Nodes in training mode are put into inference mode first.
    pub inference_mode: bool,
    /// Where to write the masks.
    pub save_masks: Option<PathBuf>,
    /// Where to write the masked model.
    pub save_masked: Option<PathBuf>,
    /// Keep pictures for a page about the run ([`crate::report::Pictures`]).
    pub pictures: bool,
    /// Everything that is written, also by the caller (its report): checked before any work.
    pub writes: Vec<Target>,
    /// Where learning is saved, and continued from; nowhere if nothing is learned. What is there
    /// stays until [`crate::checkpoint::remove`].
    pub checkpoint: Option<Plan>,
    /// Seed of everything random.
    pub seed: u64,
}

impl Job {
    /// A job on `input` that chooses filters that way, leaves all else as it is, and writes nothing.
    pub fn new(input: PathBuf, choice: Choice) -> Self {
        Self {
            input,
            output: None,
            form: None,
            dry_run: false,
            source: None,
            choice,
            sizes: Sizes::default(),
            keep: Vec::new(),
            residual: Residual::Coupled,
            normalise: false,
            round_to: 1,
            removal: Removal::Drop,
            budget: Budget::default(),
            inference_mode: false,
            save_masks: None,
            save_masked: None,
            pictures: false,
            writes: Vec::new(),
            checkpoint: None,
            seed: 0,
        }
    }

    /// Whether the job trains.
    pub(super) fn learns(&self) -> bool {
        matches!(self.choice, Choice::Learn(_)) && self.source.is_some()
    }

    /// Whether its images are made by the network itself.
    pub(super) fn makes_images(&self) -> bool {
        self.source.as_ref().is_some_and(|s| s.synthetic.is_some())
    }

    /// The data's path, or the model's where there are no data.
    pub(super) fn source_path(&self) -> PathBuf {
        match &self.source {
            Some(s) => s.data.clone(),
            None => self.input.clone(),
        }
    }
}

/// By how much the network may become worse.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Budget {
    /// Where something is learned, by one percentage point of accuracy on the validation images or,
    /// without labels, to 90 % agreement with the original; by whatever it costs where the filters
    /// were given.
    #[default]
    Usual,
    /// By whatever it costs.
    Unlimited,
    /// By this fraction of accuracy or, without labels, of agreement with the original.
    Most(f64),
}

impl Budget {
    /// What may be lost where something is learned.
    pub(super) fn learning(self, labelled: bool) -> Option<f64> {
        match (self, labelled) {
            (Self::Usual, true) => Some(0.01),
            (Self::Usual, false) => Some(0.1),
            (Self::Unlimited, _) => None,
            (Self::Most(share), _) => Some(share),
        }
    }

    /// What may be lost where the filters are given.
    pub(super) fn given(self) -> Option<f64> {
        match self {
            Self::Usual | Self::Unlimited => None,
            Self::Most(share) => Some(share),
        }
    }
}

/// How filters are chosen.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Not at all, and nothing is removed: only the form changes.
    Form,
    /// Not at all: lossless elimination only.
    Nothing,
    /// By a masks file.
    Masks(PathBuf),
    /// By training on the images, where there are any; else as [`Choice::Nothing`].
    Learn(Box<Tuning>),
}

/// Options of training; what is left out gets its default.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    /// How filters are chosen.
    pub selector: Option<Selector>,
    /// See [`Options::alpha`].
    pub alpha: Option<f32>,
    /// See [`Options::cost`].
    pub cost: Option<Cost>,
    /// See [`Options::max_share`].
    pub max_share: Option<f64>,
    /// See [`Options::distill`].
    pub distill: Option<f32>,
    /// See [`Options::stage_images`].
    pub stage_images: Option<usize>,
    /// See [`Options::mask_epochs`].
    pub mask_epochs: Option<usize>,
    /// See [`Options::main_epochs`].
    pub main_epochs: Option<usize>,
    /// See [`Options::final_epochs`].
    pub final_epochs: Option<usize>,
    /// See [`Options::mask_start`].
    pub mask_start: Option<&'static dyn Rule>,
    /// See [`Options::mask_lr`].
    pub mask_lr: Option<f32>,
    /// See [`Options::main_lr`].
    pub main_lr: Option<f32>,
    /// See [`Options::optimizer`].
    pub optimizer: Option<&'static dyn OptimizerRule>,
    /// See [`Options::decay`].
    pub decay: Option<Decay>,
    /// See [`Options::gradients`].
    pub gradients: Option<Precision>,
    /// See [`Options::batch_size`].
    pub batch_size: Option<usize>,
    /// See [`Options::cache_mb`]; `None`: what this machine has to spare.
    pub cache_mb: Option<usize>,
    /// See [`Options::cache_disk_mb`].
    pub cache_disk_mb: Option<usize>,
    /// See [`Options::cache_dir`].
    pub cache_dir: Option<PathBuf>,
    /// See [`Options::views`].
    pub views: Option<usize>,
}

impl Tuning {
    /// All options, for those images.
    pub fn options(&self, images: &Images, job: &Job) -> Options {
        let labelled = images.val_set().labels.is_some();
        self.options_for(images.train_indices.len(), labelled, job)
    }

    /// The same for so many images to learn from.
    pub(super) fn options_for(&self, count: usize, labelled: bool, job: &Job) -> Options {
        let mut o = Options::for_stages(count, self.stage_images, self.batch_size);
        o.cache_mb = memory::cache_mb(o.cache_mb);
        macro_rules! take {
            ($($field:ident),*) => {
                $(if let Some(v) = self.$field.clone() { o.$field = v; })*
            };
        }
        take!(
            selector,
            alpha,
            cost,
            max_share,
            distill,
            mask_epochs,
            main_epochs,
            final_epochs,
            mask_lr,
            main_lr,
            optimizer,
            decay,
            gradients,
            cache_mb,
            cache_disk_mb,
            views
        );
        o.mask_start = self.mask_start;
        o.cache_dir.clone_from(&self.cache_dir);
        o.keep.clone_from(&job.keep);
        o.round_to = job.round_to;
        o.removal = job.removal;
        o.residual = job.residual;
        o.seed = job.seed;
        o.max_drop = job.budget.learning(labelled);
        if let Some(source) = &job.source {
            o.augment = source.augment;
        }
        o
    }
}
