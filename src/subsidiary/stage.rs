//! One stage: train a group's mask, fix it, retrain what lies above.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::evaluate::JUDGE_IMAGES;
use super::retrain::EpochReport;
use super::sanity::uncertainty;
use super::span::{Frozen, Span};
use super::state::Done;
use super::trainer::Trainer;
use super::training::Phase;
use super::{MaskGroup, RuleContext, Selector, mask, select};
use crate::network::ParamId;
use crate::recognize::Layer;

/// Random masks of the same size that a learned one is compared with.
const RANDOM_DRAWS: u64 = 3;
/// How far from 0 a mask that starts at ranks does so, in what it can move while it is trained.
const START_WAY: f32 = 0.25;
/// Above this share of flipped weights in one retraining phase, something is off.
const MANY_FLIPS: f64 = 0.2;

/// What happened in a stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StageReport {
    /// The binary layers masked.
    pub layers: Vec<String>,
    /// Filters of each.
    pub filters: usize,
    /// Filters kept.
    pub kept: usize,
    /// How far the network's outputs moved when a quarter of the filters was masked at random
    /// (mean Kullback-Leibler divergence), where a ratio was shared out by that.
    pub sensitivity: Option<f64>,
    /// Per mask epoch: share kept, share of M that changed sign, share of M at ±1.
    pub mask_epochs: Vec<MaskEpoch>,
    /// Each epoch of retraining; where more filters were kept in between, all of them in order.
    pub retraining: Vec<EpochReport>,
    /// Native accuracy right after masking, before retraining; this and the next two on at most
    /// [`JUDGE_IMAGES`] validation images.
    pub after_masking: Option<f64>,
    /// The same for random masks of the same size (mean of three).
    pub random_after_masking: Option<f64>,
    /// Native validation accuracy after retraining.
    pub after_retraining: Option<f64>,
    /// Share of the retrained binary weights whose sign changed.
    pub flipped_weights: f64,
    /// Mean loss of the last retraining epoch.
    pub loss: f32,
    /// What looks wrong.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl StageReport {
    /// What it came to, in a line.
    pub(super) fn line(&self) -> String {
        let name = self.layers.join(", ");
        let filters = match self.kept == self.filters {
            true => format!("all {} filters stay", self.filters),
            false => format!("{} → {} filters", self.filters, self.kept),
        };
        let mut said = Vec::new();
        if let Some(masked) = self.after_masking.filter(|_| self.kept < self.filters) {
            said.push(format!("{:.1} % masked", 100.0 * masked));
        }
        if let Some(retrained) = self.after_retraining {
            said.push(format!("{:.1} % retrained", 100.0 * retrained));
        }
        let accuracy = match said.is_empty() {
            true => String::new(),
            false => format!("; accuracy {}", said.join(", ")),
        };
        format!("{name}  {filters}{accuracy}")
    }
}

/// One epoch of mask training.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MaskEpoch {
    /// Share of filters kept.
    pub kept: f64,
    /// Share of M whose sign changed within the epoch.
    pub flips: f64,
    /// Share of M at its bounds.
    pub at_bounds: f64,
    /// Mean loss, regulariser included.
    pub loss: f32,
    /// Accuracy on the training images as they passed by; absent without labels.
    pub training_accuracy: Option<f64>,
}

/// The mask that a stage sets.
pub(super) struct StageMask<'a> {
    /// The group whose filters it stands for.
    pub(super) group: &'a MaskGroup,
    /// All layers of the file.
    pub(super) layers: &'a [Layer],
    /// The mask itself, where it is in the network.
    pub(super) m: ParamId,
    /// Exactly so many filters are kept, where that is given.
    pub(super) goal: Option<usize>,
    /// Of what is drawn at random in this stage.
    pub(super) seed: u64,
}

/// Runs the stage of the group at `index`, or the rest of it; which filters stay, and what happened.
/// With `goal`, exactly so many filters are kept.
pub(super) fn run(
    trainer: &mut Trainer<'_>,
    groups: &[MaskGroup],
    layers: &[Layer],
    index: usize,
    goal: Option<usize>,
) -> Result<Done, TrainError> {
    let group = &groups[index];
    let seed = trainer.seed_of(index as u64);
    let label = format!("layer {}/{}", index + 1, groups.len());
    let nothing_to_choose = goal.is_some_and(|goal| goal >= group.live());
    let frozen = match nothing_to_choose {
        true => Frozen::AsNeeded,
        false => Frozen::Before,
    };
    let (m, mut span) = trainer.enter(group, seed, frozen)?;
    let target = StageMask {
        group,
        layers,
        m,
        goal,
        seed,
    };
    trainer.clock.lap("computing frozen layers", Some(index));
    let keep = match trainer.stage().keep.clone() {
        Some(keep) => keep,
        None => {
            let keep = choose(trainer, &target, &span, &label)?;
            trainer.stage().keep = Some(keep.clone());
            trainer.save(Some(&span), None)?;
            keep
        }
    };
    trainer.clock.lap("choosing filters", Some(index));
    let mut report = match trainer.stage().report.clone() {
        Some(report) => report,
        None => {
            let report = judge(trainer, &target, &keep, &span)?;
            trainer.stage().report = Some(report.clone());
            trainer.keep_columns(group, &keep);
            report
        }
    };
    trainer.shrink()?;
    trainer.clock.lap("judging the mask", Some(index));
    loop {
        // There is nothing to retrain around; the end retrains everything.
        if nothing_to_choose {
            trainer.skip(&span);
            break;
        }
        let epochs = trainer.options().main_epochs;
        let (flipped, loss) = trainer.retrain(&span, epochs, &label)?;
        report.flipped_weights = flipped;
        report.loss = loss;
        if !trainer.stage_keeps_more(groups)? {
            break;
        }
        trainer.take_again(&span, epochs, groups.len());
        // Masks that are put in and taken out again may have moved the steps.
        span.from = trainer.first_step(group)?;
        if trainer.options().main_epochs == 0 {
            trainer.reestimate(&span)?;
        }
        trainer.save(Some(&span), None)?;
    }
    report.after_retraining = trainer.accuracy()?;
    trainer.clock.lap("retraining", Some(index));
    let stage = std::mem::take(trainer.stage());
    report.retraining = stage.retraining;
    let keep = stage.keep.unwrap_or(keep);
    report.kept = keep.iter().filter(|&&k| k).count();
    Ok(Done {
        keep,
        scores: stage.scores,
        report,
    })
}

/// Which filters stay: by a mask that is trained, or by a rule.
fn choose(
    trainer: &mut Trainer<'_>,
    target: &StageMask<'_>,
    span: &Span,
    label: &str,
) -> Result<Vec<bool>, TrainError> {
    let &StageMask { group, m, goal, .. } = target;
    if let Some(goal) = goal.filter(|&goal| goal >= group.live()) {
        let scores = group.with_dead_last(vec![0.0; group.filters]);
        let keep = group.parts.largest(&scores, goal);
        trainer.stage().scores = scores.iter().map(|&s| s as f32).collect();
        return Ok(keep);
    }
    let options = trainer.options();
    Ok(match &options.selector {
        Selector::Subsidiary { .. } => {
            train_mask(trainer, target, span, label)?;
            let scores = trainer.param(m).iter().copied().map(f64::from);
            let scores = group.with_dead_last(scores.collect());
            trainer.stage().scores = scores.iter().map(|&s| s as f32).collect();
            mask::decide(&scores, &group.parts, options.bounds(goal))
        }
        Selector::Rule { rule, amount } => {
            let detail = format!("{label}, choosing by {}", rule.name());
            trainer.observer.detail(&detail);
            let keep = goal.unwrap_or_else(|| select::count(group, amount, options.round_to));
            let mut context = RuleContext::new(trainer, target, span);
            select::by_rule(*rule, &mut context, keep)?
        }
    })
}

/// Puts the mask in place; what it does to the accuracy, and what random ones would do.
fn judge(
    trainer: &mut Trainer<'_>,
    target: &StageMask<'_>,
    keep: &[bool],
    span: &Span,
) -> Result<StageReport, TrainError> {
    let &StageMask { group, m, seed, .. } = target;
    let kept = keep.iter().filter(|&&k| k).count();
    let mut report = StageReport {
        layers: group.layers.clone(),
        filters: group.filters,
        kept,
        mask_epochs: trainer.stage().mask_epochs.clone(),
        ..StageReport::default()
    };
    let learned = matches!(trainer.options().selector, Selector::Subsidiary { .. });
    // Without labels there is nothing to compare by.
    let labelled = trainer.images.val_set().labels.is_some();
    if learned && labelled && kept < group.live() {
        let mut sum = 0.0;
        for draw in 0..RANDOM_DRAWS {
            let random = group.parts.random(kept, seed ^ (draw + 1));
            sum += trainer.masked_accuracy(m, &random, span)?.unwrap_or(0.0);
        }
        report.random_after_masking = Some(sum / RANDOM_DRAWS as f64);
    }
    report.after_masking = trainer.masked_accuracy(m, keep, span)?;
    Ok(report)
}

/// Phase 1 of a stage: only M is trained, by the loss plus regulariser. A goal takes the
/// regulariser's place: exactly so many filters are kept from the first step to the last, and
/// they compete for staying.
fn train_mask(
    trainer: &mut Trainer<'_>,
    target: &StageMask<'_>,
    span: &Span,
    label: &str,
) -> Result<(), TrainError> {
    let &StageMask { group, m, goal, .. } = target;
    let costs = vec![1.0; group.filters];
    let alpha = match goal {
        Some(_) => 0.0,
        None => {
            let weight = trainer.weights.get(trainer.run.done.len());
            trainer.options().alpha * weight.copied().unwrap_or(1.0)
        }
    };
    let regularizer = mask::Regularizer::new(alpha, &costs);
    let phase = Phase::of_mask(span, &regularizer, group, goal);
    let mut training = match trainer.saved_mask_training(m)? {
        Some(training) => training,
        None => {
            if let Some(rule) = trainer.options().mask_start {
                let way = trainer.options().mask_lr * trainer.steps_per_mask(span) as f32;
                let mut context = RuleContext::new(trainer, target, span);
                let start = mask::ranked(&rule.scores(&mut context)?, START_WAY * way);
                trainer.network.values_mut(m).assign(&start);
            }
            trainer.mask_training(m, group, goal, span)
        }
    };
    while training.epochs < trainer.options().mask_epochs {
        if training.at_start_of_epoch() {
            trainer.stage().signs_before = mask::kept(trainer.param(m));
            trainer.reestimate(span)?;
        }
        let loss = trainer.train_epoch(&phase, &mut training)?;
        let at_bounds = mask::share_at_bounds(trainer.param(m));
        let after = mask::kept(trainer.param(m));
        let before = &trainer.stage().signs_before;
        let share = |n: usize| n as f64 / group.filters.max(1) as f64;
        let now = MaskEpoch {
            kept: share(after.iter().filter(|&&k| k).count()),
            flips: share(after.iter().zip(before).filter(|(a, b)| a != b).count()),
            at_bounds,
            loss,
            training_accuracy: training.accuracy,
        };
        trainer
            .observer
            .detail(&format!("{label}, mask: {:.0} % kept", now.kept * 100.0));
        trainer.stage().mask_epochs.push(now);
    }
    Ok(())
}

/// What looks wrong in a stage that was judged on validation images, so many of which there are.
pub(super) fn warnings(report: &StageReport, images: usize) -> Vec<String> {
    let name = report.layers.join(", ");
    let mut warnings = Vec::new();
    if let (Some(learned), Some(random)) = (report.after_masking, report.random_after_masking)
        // On so few images a smaller difference is none.
        && random - learned > uncertainty(random, images.min(JUDGE_IMAGES))
    {
        warnings.push(format!(
            "{name}: right after masking, random masks of the same size do better ({:.1} % against {:.1} %); more mask epochs or data may help",
            random * 100.0,
            learned * 100.0
        ));
    }
    let retrained = !report.retraining.is_empty();
    if retrained && report.flipped_weights == 0.0 && report.kept < report.filters {
        warnings.push(format!(
            "{name}: retraining flipped no binary weight; a larger --main-lr may help"
        ));
    }
    if report.flipped_weights > MANY_FLIPS {
        warnings.push(format!(
            "{name}: retraining flipped {:.0} % of the binary weights; a smaller --main-lr may help",
            report.flipped_weights * 100.0
        ));
    }
    warnings
}
