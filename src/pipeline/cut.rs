//! A network with the filters cut that were chosen: in integer form where that is asked for, masked,
//! and without what the masks leave dead.

use std::path::Path;

use super::proof::Proof;
use super::{Choice, Job, normal};
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::qonnx;
use crate::report::NormalisedReport;
use crate::rewrite::{
    self, ChannelMaps, EliminateOptions, Eliminated, FilterMasks, FoldedColumns, Masked,
};

/// A network on its way to the form that is written.
pub(super) struct Cut {
    /// In integer form, where it was asked for, and what that changed.
    pub normal: Option<(ModelProto, NormalisedReport)>,
    /// With the masks written into it; `None` without masks.
    pub masked: Option<Masked>,
    /// Without what it does not need.
    pub eliminated: Eliminated,
    /// What is to be said of that.
    pub notes: Vec<String>,
}

impl Cut {
    /// Cuts the filters of `masks` from `network`, or from its integer form `normal`; if they were learned, with
    /// the columns that were folded then. Where only the form changes, nothing is cut.
    ///
    /// # Errors
    /// If masks or elimination do not fit the network.
    pub(super) fn of(
        job: &Job,
        model: &Model,
        network: &ModelProto,
        normal: Option<(ModelProto, NormalisedReport)>,
        masks: Option<(&FilterMasks, Option<&FoldedColumns>)>,
    ) -> Result<Self, Error> {
        let unmasked = normal.as_ref().map_or(network, |(model, _)| model);
        let masked = masks.map(|(masks, folded)| masked(job, unmasked, masks, folded));
        let masked = masked.transpose()?;
        let before = masked.as_ref().map_or(unmasked, |m| &m.model);
        let (eliminated, notes) = match job.choice {
            Choice::Form => (whole(before), Vec::new()),
            _ => remove(job, model, before)?,
        };
        Ok(Self {
            normal,
            masked,
            eliminated,
            notes,
        })
    }

    /// What filters were cut from: the masked network, or the one without masks. `network` is what
    /// this was made of.
    pub(super) fn before<'a>(&'a self, network: &'a ModelProto) -> &'a ModelProto {
        let unmasked = self.normal.as_ref().map_or(network, |(model, _)| model);
        self.masked.as_ref().map_or(unmasked, |m| &m.model)
    }

    /// What masking and elimination did, a line each.
    pub(super) fn details(&self) -> Vec<String> {
        let masked = self.masked.iter().flat_map(|m| &m.notes);
        let masked = masked.map(ToString::to_string);
        masked
            .chain(self.eliminated.changes.iter().cloned())
            .collect()
    }
}

/// `network` with masks written into it; if they were learned, with the columns that were `folded` then.
pub(super) fn masked(
    job: &Job,
    network: &ModelProto,
    masks: &FilterMasks,
    folded: Option<&FoldedColumns>,
) -> Result<Masked, Error> {
    let masked = match folded {
        Some(folded) => rewrite::apply_learned_masks(network, masks, job.removal, folded),
        None => rewrite::apply_masks(network, masks, job.removal),
    };
    masked.map_err(|e| rewrite_error(&job.input, e))
}

/// The integer form of `network`, in which biases are in thresholds: those of masked filters go before.
pub(super) fn normal(
    job: &Job,
    network: &ModelProto,
    masks: Option<(&FilterMasks, Option<&FoldedColumns>)>,
    proof: &Proof<'_>,
) -> Result<(ModelProto, NormalisedReport), Error> {
    let Some((masks, folded)) = masks else {
        return normal::form(job, network, None, proof);
    };
    let without =
        rewrite::without_biases(network, masks).map_err(|e| rewrite_error(&job.input, e))?;
    // Without its bias a filter's sums lie at its threshold, and each would be a tie.
    let masking = |model: &ModelProto| Ok(masked(job, model, masks, folded)?.model);
    normal::form(job, &without, Some(&masking), proof)
}

/// A model that nothing is removed from.
pub(super) fn whole(model: &ModelProto) -> Eliminated {
    Eliminated {
        model: model.clone(),
        layers: Vec::new(),
        channels: ChannelMaps::default(),
        plan: String::new(),
        changes: Vec::new(),
    }
}

/// The masked model without what it does not need, and what is to be said of that.
fn remove(
    job: &Job,
    model: &Model,
    masked: &ModelProto,
) -> Result<(Eliminated, Vec<String>), Error> {
    let defaults = EliminateOptions::default();
    let options = EliminateOptions {
        // A map of a border is one of a fixed size.
        border_map_ratio: match model.free.is_empty() {
            true => defaults.border_map_ratio,
            false => 0.0,
        },
        free: model.free.clone(),
        keep: job.keep.clone(),
        round_to: job.round_to,
        residual: job.residual,
        ..defaults
    };
    let eliminated = rewrite::eliminate_with(masked, &options);
    let mut eliminated = eliminated.map_err(|e| rewrite_error(&job.input, e))?;
    if !qonnx::is_qonnx(&eliminated.model) {
        return Ok((eliminated, Vec::new()));
    }
    let restored = qonnx::restore(&model.proto, &mut eliminated.model)
        .map_err(|e| Error::from(e).about(&job.input))?;
    let standard = job.form.filter(|form| !form.is_qonnx());
    let notes = restored.notes(standard.map(|form| form.name()));
    Ok((eliminated, notes))
}

/// A rewrite of a model that cannot be done, by the model's name.
pub(super) fn rewrite_error(path: &Path, source: rewrite::RewriteError) -> Error {
    Error::Rewrite {
        path: path.to_owned(),
        source,
    }
}
