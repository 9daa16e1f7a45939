//! Rules that choose filters without learning, for comparison with the method: one file each, and
//! one line each in [`RULES`].
//!
//! A rule scores the channels of a mask group; how many of them stay is not its business. It sees the
//! network as the schedule has it at that stage, lower layers pruned and retrained, all channels of
//! its group in place.

mod bn_scale;
mod data;
mod fisher;
mod hamming;
mod magnitude;
mod random;
mod reconstruction;
mod sign_balance;
mod taylor;

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::TrainError;
use super::span::Span;
use super::stage::StageMask;
use super::trainer::Trainer;
use super::{Amount, MaskGroup, mask};
use crate::network::ParamId;
use crate::recognize::Layer;

/// Every rule, in the order in which the command line lists them.
pub const RULES: &[&dyn Rule] = &[
    &random::Random,
    &magnitude::Magnitude,
    &bn_scale::BnScale,
    &sign_balance::SignBalance,
    &hamming::Hamming,
    &reconstruction::Reconstruction,
    &taylor::Taylor,
    &fisher::Fisher,
];

/// A way to choose filters without learning a mask.
pub trait Rule: Sync {
    /// Its name on the command line, in reports and in checkpoints.
    fn name(&self) -> &'static str;

    /// What goes, in one line for `--help`.
    fn about(&self) -> &'static str;

    /// One score for each channel of the group: the larger, the rather it stays; among equals the
    /// lower index. The same for the same seed, at any number of threads.
    ///
    /// # Errors
    /// If the network cannot be run on the images, or the user stops it.
    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError>;

    /// Whether it looks at what consumers read of each channel: where several layers write that, it
    /// cannot tell them apart.
    fn looks_at_outputs(&self) -> bool {
        false
    }

    /// Whether scores depend on the loss, and so on the options that shape it.
    fn uses_loss(&self) -> bool {
        false
    }
}

/// The rule of that name, if there is one.
pub fn rule(name: &str) -> Option<&'static dyn Rule> {
    RULES.iter().copied().find(|rule| rule.name() == name)
}

impl fmt::Debug for dyn Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Serialize for dyn Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a rule decides by: the group, the file's layers, and the network with its data at that stage.
pub struct RuleContext<'c, 't> {
    trainer: &'c mut Trainer<'t>,
    group: &'c MaskGroup,
    layers: &'c [Layer],
    span: &'c Span,
    /// The group's mask, which keeps all of its channels here.
    m: ParamId,
    seed: u64,
}

impl<'c, 't> RuleContext<'c, 't> {
    /// For the group whose mask was put in place; from now on that keeps all channels.
    pub(super) fn new(
        trainer: &'c mut Trainer<'t>,
        target: &StageMask<'c>,
        span: &'c Span,
    ) -> Self {
        let &StageMask {
            group,
            layers,
            m,
            seed,
            ..
        } = target;
        let all = mask::hard(&vec![true; group.filters]);
        trainer.network.values_mut(m).assign(&all);
        Self {
            trainer,
            group,
            layers,
            span,
            m,
            seed,
        }
    }

    /// Channels to score.
    fn filters(&self) -> usize {
        self.group.filters
    }

    /// The layers of the group as the file has them, each with the channel of each of its filters.
    fn members(&self) -> impl Iterator<Item = (&'c Layer, &'c [usize])> + use<'c> {
        let (class, layers) = (&self.group.class, self.layers);
        let members = class.layers.iter().zip(&class.channel_of);
        members.filter_map(|(name, channel_of)| {
            let layer = layers.iter().find(|l| l.name == *name)?;
            Some((layer, channel_of.as_slice()))
        })
    }
}

/// How many filters of a group a rule keeps.
pub(super) fn count(group: &MaskGroup, amount: &Amount, round_to: usize) -> usize {
    let keep = match amount {
        Amount::Ratio(r) | Amount::Shared(r) => {
            let keep = group.filters - (group.filters as f64 * r).round() as usize;
            keep.min(group.live())
        }
        Amount::Like { masks, .. } => group
            .layers
            .iter()
            .find_map(|l| masks.layers.get(l))
            .map_or(group.filters, |l| {
                group.filters.saturating_sub(l.pruned.len())
            }),
    };
    group.nearest(keep.max(mask::minimum(group.filters)), round_to)
}

/// Which `keep` filters of a group a rule keeps; the first that go are dead.
pub(super) fn by_rule(
    rule: &dyn Rule,
    context: &mut RuleContext<'_, '_>,
    keep: usize,
) -> Result<Vec<bool>, TrainError> {
    if keep >= context.filters() {
        return Ok(vec![true; context.filters()]);
    }
    let scores = match keep < context.group.live() {
        true => rule.scores(context)?,
        false => vec![0.0; context.filters()],
    };
    let group = context.group;
    Ok(group.parts.largest(&group.with_dead_last(scores), keep))
}

/// Scores of channels that a rule takes out one after the other: the first one has the lowest.
fn by_removal(order: &[usize]) -> Vec<f64> {
    let mut scores = vec![0.0; order.len()];
    for (place, &channel) in order.iter().enumerate() {
        scores[channel] = place as f64;
    }
    scores
}

#[cfg(test)]
pub(super) mod tests;
