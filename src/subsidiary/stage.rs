//! One stage: train a unit's mask, fix it, retrain what lies above.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::trainer::{Span, Trainer};
use super::{Amount, Rule, Selector, Unit, mask, rules};
use crate::autograd::ParamId;
use crate::recognize::Layer;

/// Random masks of the same size that a learned one is compared with.
const RANDOM_DRAWS: u64 = 3;
/// Above this share of flipped weights in one retraining phase, something is off.
const MANY_FLIPS: f64 = 0.2;

/// What happened in a stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// Native accuracy right after masking, before retraining; this and the next two on at most
    /// [`JUDGE_IMAGES`](super::JUDGE_IMAGES) validation images.
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

/// One epoch of mask training.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MaskEpoch {
    /// Share of filters kept.
    pub kept: f64,
    /// Share of M whose sign changed within the epoch.
    pub flips: f64,
    /// Share of M at its bounds.
    pub at_bounds: f64,
    /// Mean loss, regulariser included.
    pub loss: f32,
}

/// Runs the stage of `unit`, `place` = (which, of how many); which filters stay, and what happened.
/// With `goal`, exactly so many filters are kept.
pub(super) fn run(
    trainer: &mut Trainer<'_>,
    unit: &Unit,
    layers: &[Layer],
    (index, count): (usize, usize),
    goal: Option<usize>,
) -> Result<(Vec<bool>, StageReport), TrainError> {
    let seed = trainer.seed_of(index as u64);
    let label = format!("layer {}/{count}", index + 1);
    let m = trainer.insert_mask(unit, mask::initial(unit.filters, seed))?;
    let span = trainer.span_from(unit.first)?;
    let (keep, mask_epochs) = match trainer.options().selector.clone() {
        _ if goal == Some(unit.filters) => (vec![true; unit.filters], vec![]),
        Selector::Subsidiary { .. } => {
            let epochs = train_mask(trainer, unit, (m, goal), &span, &label)?;
            (
                mask::decide(trainer.param(m), trainer.options().bounds(goal)),
                epochs,
            )
        }
        Selector::Rule { rule, amount } => {
            let round_to = trainer.options().round_to;
            (
                by_rule(unit, layers, rule, &amount, (seed, round_to)),
                vec![],
            )
        }
    };
    let kept = keep.iter().filter(|&&k| k).count();
    let mut report = StageReport {
        layers: unit.layers.clone(),
        filters: unit.filters,
        kept,
        sensitivity: None,
        mask_epochs,
        after_masking: None,
        random_after_masking: None,
        after_retraining: None,
        flipped_weights: 0.0,
        loss: 0.0,
        warnings: Vec::new(),
    };
    if matches!(trainer.options().selector, Selector::Subsidiary { .. }) && kept < unit.filters {
        let mut sum = 0.0;
        for draw in 0..RANDOM_DRAWS {
            let random = rules::random(unit.filters, kept, seed ^ (draw + 1));
            sum += trainer.masked_accuracy(m, &random, &span)?.unwrap_or(0.0);
        }
        report.random_after_masking = Some(sum / RANDOM_DRAWS as f64);
    }
    report.after_masking = trainer.masked_accuracy(m, &keep, &span)?;
    if report.after_masking.is_none() {
        report.random_after_masking = None;
    }
    trainer.keep_columns(unit, &keep);
    let (flipped, loss) = trainer.retrain(&span, trainer.options().main_epochs, &label)?;
    report.flipped_weights = flipped;
    report.loss = loss;
    report.after_retraining = trainer.accuracy()?;
    report.warnings = warnings(&report, trainer.options().main_epochs);
    Ok((keep, report))
}

/// Phase 1 of a stage: only M is trained, by the loss plus regulariser. A goal takes the
/// regulariser's place: exactly so many filters are kept from the first step to the last, and
/// they compete for staying.
fn train_mask(
    trainer: &mut Trainer<'_>,
    unit: &Unit,
    (m, goal): (ParamId, Option<usize>),
    span: &Span,
    label: &str,
) -> Result<Vec<MaskEpoch>, TrainError> {
    let costs = vec![1.0; unit.filters];
    let alpha = match goal {
        Some(_) => 0.0,
        None => trainer.options().alpha,
    };
    let regularizer = mask::Regularizer::new(alpha, &costs);
    let mut phase = trainer.mask_phase(m, goal);
    if let Some(keep) = goal {
        mask::centre(&mut trainer.network.params[m.0].value, keep);
    }
    let mut epochs = Vec::new();
    for _ in 0..trainer.options().mask_epochs {
        let before = mask::kept(trainer.param(m));
        trainer.reestimate(span)?;
        let loss = trainer.mask_epoch(&mut phase, span, &regularizer)?;
        let m = trainer.param(m);
        let after = mask::kept(m);
        let share = |n: usize| n as f64 / unit.filters.max(1) as f64;
        let now = MaskEpoch {
            kept: share(after.iter().filter(|&&k| k).count()),
            flips: share(after.iter().zip(&before).filter(|(a, b)| a != b).count()),
            at_bounds: mask::share_at_bounds(m),
            loss,
        };
        trainer
            .observer
            .detail(&format!("{label}, mask: {:.0} % kept", now.kept * 100.0));
        epochs.push(now);
    }
    Ok(epochs)
}

fn by_rule(
    unit: &Unit,
    layers: &[Layer],
    rule: Rule,
    amount: &Amount,
    (seed, round_to): (u64, usize),
) -> Vec<bool> {
    let keep = match amount {
        Amount::Ratio(r) => unit.filters - (unit.filters as f64 * r).round() as usize,
        Amount::Like { masks, .. } => unit
            .layers
            .iter()
            .find_map(|l| masks.layers.get(l))
            .map_or(unit.filters, |l| {
                unit.filters.saturating_sub(l.pruned.len())
            }),
    }
    .max(mask::minimum(unit.filters));
    let keep = mask::rounded(keep, unit.filters, round_to);
    match rule {
        Rule::Random => rules::random(unit.filters, keep, seed),
        Rule::Magnitude => {
            // A coupled group is as large as its members together.
            let mut scores = vec![0.0; unit.filters];
            for (name, channel_of) in unit.group.layers.iter().zip(&unit.group.channel_of) {
                let Some(l) = layers.iter().find(|l| l.name == *name) else {
                    continue;
                };
                let sizes = rules::mean_abs(&l.values, l.filter_axis);
                for (&channel, size) in channel_of.iter().zip(sizes) {
                    scores[channel] += size;
                }
            }
            rules::largest(&scores, keep)
        }
    }
}

fn warnings(report: &StageReport, main_epochs: usize) -> Vec<String> {
    let name = report.layers.join(", ");
    let mut warnings = Vec::new();
    if let (Some(learned), Some(random)) = (report.after_masking, report.random_after_masking)
        && learned < random
    {
        warnings.push(format!(
            "{name}: right after masking, random masks of the same size do better ({:.1} % against {:.1} %); more mask epochs or data may help",
            random * 100.0,
            learned * 100.0
        ));
    }
    if main_epochs > 0 && report.flipped_weights == 0.0 {
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
