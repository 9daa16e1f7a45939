//! How much worse than the original the network may become, and what is done where it does.

use serde::{Deserialize, Serialize};

use super::MaskGroup;
use super::allocation::shared_out;
use super::cost::Costs;
use super::error::TrainError;
use super::evaluate::{RunContext, Subset, logits_of};
use super::sanity::{agreement, predictions, spread};
use super::state::Done;
use super::trainer::Trainer;
use super::{EvenParts, Options, mask};
use crate::data::Images;
use crate::network::Network;

/// Validation images that the whole network is held against its budget on, at most.
const BUDGET_IMAGES: usize = 10_000;
/// The same for a stage.
const STAGE_IMAGES: usize = 2_000;
/// Beyond the budget, what a stage may cost that the ones above and the last retraining win back.
const STAGE_SLACK: f64 = 0.02;
/// A stage that cost less is not what is wrong.
const STAGE_COST: f64 = 0.005;
/// Times that a stage keeps half as many more.
const STAGE_TRIES: usize = 2;
/// Times that filters are given back at the end.
const TRIES: usize = 6;
/// For each percentage point beyond the budget this share of what is pruned is given back.
const GIVEN_BACK_A_POINT: f64 = 0.08;
/// Times that a share is lowered until some filter is given back.
const LOWERED: usize = 20;
/// But so much stays pruned, at least and at most.
const STAYS_PRUNED: (f64, f64) = (0.6, 0.9);
/// Times that a network with a share that was asked for is retrained once more.
const MORE_RETRAINING: usize = 1;

/// A network whose masks are all fixed, as it came out of retraining.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    /// Binary filters that are masked.
    pub pruned: usize,
    /// What that cost: percentage points / 100 of accuracy on (at most 10,000) validation images
    /// against the original or, without labels, of agreement with it; by the native network.
    pub drop: f64,
}

/// What a network is held against.
#[derive(Debug)]
pub(super) struct Judge {
    /// Validation images, and the right answers: labels, or the original's own.
    chosen: Vec<usize>,
    truth: Vec<usize>,
    /// The original's answers on them.
    original: Vec<bool>,
    /// What may be lost.
    most: f64,
}

impl Judge {
    /// None where there is no budget.
    pub(super) fn new(
        original: &Network,
        images: &Images,
        options: &Options,
        context: &RunContext<'_>,
    ) -> Result<Option<Self>, TrainError> {
        let Some(most) = options.max_drop else {
            return Ok(None);
        };
        let chosen = spread(&images.val_indices, BUDGET_IMAGES);
        let set = images.val_set();
        let of = Subset::of_validation(images, &chosen);
        let logits = logits_of(original, &of, context)?;
        let answers = predictions(&logits);
        let truth: Vec<usize> = match &set.labels {
            Some(labels) => chosen.iter().map(|&i| labels[i]).collect(),
            None => answers.clone(),
        };
        Ok(Some(Self {
            original: answers.iter().zip(&truth).map(|(a, t)| a == t).collect(),
            chosen,
            truth,
            most,
        }))
    }

    /// By how much a network is worse than the original on at most `count` images.
    fn drop(
        &self,
        network: &Network,
        images: &Images,
        count: usize,
        context: &RunContext<'_>,
    ) -> Result<f64, TrainError> {
        let all: Vec<usize> = (0..self.chosen.len()).collect();
        let places = spread(&all, count);
        let pick = |list: &[usize]| places.iter().map(|&p| list[p]).collect::<Vec<usize>>();
        let (chosen, truth) = (pick(&self.chosen), pick(&self.truth));
        let of = Subset::of_validation(images, &chosen);
        let logits = logits_of(network, &of, context)?;
        let right = places.iter().filter(|&&p| self.original[p]).count();
        let before = right as f64 / places.len().max(1) as f64;
        Ok(before - agreement(&predictions(&logits), &truth))
    }
}

/// Whether a drop is within what may be lost, both shares of images: what is equal may differ by a rounding.
pub fn within_budget(drop: f64, most: f64) -> bool {
    drop <= most + 1e-9
}

impl Trainer<'_> {
    fn drop_on(&self, count: usize) -> Result<Option<f64>, TrainError> {
        let Some(judge) = &self.judge else {
            return Ok(None);
        };
        let found = judge.drop(self.network, self.images, count, &self.context())?;
        Ok(Some(found))
    }

    /// Whether the stage under way cost too much, and has been given back half of what it pruned: it is
    /// to be retrained once more then.
    pub(super) fn stage_keeps_more(&mut self, groups: &[MaskGroup]) -> Result<bool, TrainError> {
        let Some(drop) = self.drop_on(STAGE_IMAGES)? else {
            return Ok(false);
        };
        let before = self.run.drop;
        let most = self.judge.as_ref().map_or(1.0, |j| j.most);
        let index = self.run.done.len();
        let stage = self.run.stage.get_or_insert_default();
        let costly = !within_budget(drop, most + STAGE_SLACK) && drop > before + STAGE_COST;
        let (Some(keep), Some(group)) = (&stage.keep, groups.get(index)) else {
            return Ok(false);
        };
        let pruned = keep.iter().filter(|&&k| !k).count();
        // What is dead is missed by nobody.
        let dead = group.dead_among_pruned(keep);
        let free = self.options.selector.decides_how_many();
        if !costly || !free || stage.tries >= STAGE_TRIES || pruned == dead {
            self.run.drop = drop;
            return Ok(false);
        }
        let goes = dead + (pruned - dead) / 2;
        let keep = more(
            keep,
            &stage.scores,
            goes,
            &group.parts,
            self.options.round_to,
        );
        self.observer.note(&format!(
            "{}: costs {:.1} points; keeps {} of {} filters instead of {}",
            group.layers.join(", "),
            (drop - before) * 100.0,
            keep.iter().filter(|&&k| k).count(),
            group.filters,
            group.filters - pruned,
        ));
        stage.tries += 1;
        stage.keep = Some(keep);
        self.remask(groups)?;
        Ok(true)
    }

    /// Whether the network is worse than its budget allows, and something was done about it: filters
    /// were given back, or none as exactly so many were asked for. It is to be retrained then.
    pub(super) fn goes_on(
        &mut self,
        groups: &[MaskGroup],
        costs: &Costs,
    ) -> Result<bool, TrainError> {
        let Some(drop) = self.drop_on(BUDGET_IMAGES)? else {
            return Ok(false);
        };
        let pruned: usize = groups
            .iter()
            .zip(&self.run.done)
            .map(|(group, done)| done.keep.iter().filter(|&&k| !k).count() * group.layers.len())
            .sum();
        self.run.attempts.push(Attempt { pruned, drop });
        let most = self.judge.as_ref().map_or(1.0, |j| j.most);
        let free = self.options.selector.decides_how_many();
        let retrains = self.options.final_epochs > 0;
        let tries = match free {
            true => TRIES,
            false => MORE_RETRAINING * usize::from(retrains),
        };
        if within_budget(drop, most) || self.run.attempts.len() > tries || pruned == 0 {
            return Ok(false);
        }
        let cost = format!(
            "costs {:.2} points with {pruned} filters pruned, and {:.2} may go",
            drop * 100.0,
            most * 100.0
        );
        if !free {
            self.observer.note(&format!("{cost}; retrains once more"));
            return Ok(true);
        }
        self.observer.note(&format!("{cost}; gives filters back"));
        // The more the further it is from what is allowed.
        let stays = 1.0 - GIVEN_BACK_A_POINT * 100.0 * (drop - most);
        let stays = stays.clamp(STAYS_PRUNED.0, STAYS_PRUNED.1);
        let goals = match self.run.ratio.or(self.options.selector.ratio()) {
            Some(ratio) => {
                let (ratio, goals) = self.lower_goals(groups, costs, ratio, stays);
                self.run.ratio = Some(ratio);
                Some(goals)
            }
            None => None,
        };
        let round_to = self.options.round_to;
        for (i, (done, group)) in self.run.done.iter_mut().zip(groups).enumerate() {
            let pruned = done.keep.iter().filter(|&&k| !k).count();
            let goes = match goals.as_ref().and_then(|goals| goals.get(i)) {
                Some(&goal) => pruned.min(done.keep.len() - goal.min(done.keep.len())),
                None => {
                    let dead = group.dead_among_pruned(&done.keep);
                    dead + ((pruned - dead) as f64 * stays).floor() as usize
                }
            };
            done.keep = more(&done.keep, &done.scores, goes, &group.parts, round_to);
            done.report.kept = done.keep.iter().filter(|&&k| k).count();
        }
        self.remask(groups)?;
        if !retrains {
            let whole = self.whole();
            self.reestimate(&whole)?;
        }
        Ok(true)
    }

    /// A ratio of at most `stays` times what it was, and how many filters each group keeps at it: so small
    /// that some group gets filters back, of which it keeps multiples perhaps.
    fn lower_goals(
        &self,
        groups: &[MaskGroup],
        costs: &Costs,
        ratio: f64,
        stays: f64,
    ) -> (f64, Vec<usize>) {
        let mut ratio = ratio * stays;
        let mut goals = shared_out(self, groups, costs, ratio);
        for _ in 0..LOWERED {
            let kept = |done: &Done| done.keep.iter().filter(|&&k| k).count();
            let mut both = goals.iter().zip(&self.run.done);
            if both.any(|(&goal, done)| goal > kept(done)) {
                break;
            }
            ratio *= stays;
            goals = shared_out(self, groups, costs, ratio);
        }
        (ratio, goals)
    }
}

/// A mask with at most `goes` of its pruned filters still pruned: those with the smallest scores (ties
/// by index).
fn more(
    keep: &[bool],
    scores: &[f32],
    goes: usize,
    parts: &EvenParts,
    round_to: usize,
) -> Vec<bool> {
    let stay = keep.len() - goes.min(keep.len());
    let kept = mask::rounded(stay, keep.len(), parts.multiple(round_to));
    // What stayed so far stays before all others.
    let score = |(i, &stays): (usize, &bool)| match stays {
        true => f64::INFINITY,
        false => scores.get(i).map_or(0.0, |&s| f64::from(s)),
    };
    let scores: Vec<f64> = keep.iter().enumerate().map(score).collect();
    parts.largest(&scores, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_what_was_missed_most() {
        let one = EvenParts::one(6);
        let keep = [true, false, false, true, false, false];
        let scores = [0.1, -0.2, -0.9, 0.3, -0.1, -0.5];
        let new = more(&keep, &scores, 2, &one, 1);
        assert_eq!(new, [true, true, false, true, true, false]);
        assert_eq!(more(&keep, &scores, 0, &one, 1), [true; 6]);
        assert_eq!(
            more(&keep, &[], 3, &one, 4),
            [true, true, true, true, false, false]
        );
    }
}
