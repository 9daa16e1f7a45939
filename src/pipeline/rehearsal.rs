//! Before hours of learning: the original goes the whole way that what is learned will go.

use super::end::{remove, rewrite_error};
use super::proof::Proof;
use super::written::{self, Formed};
use super::{Job, normal, sizes};
use crate::error::Error;
use crate::forms::Computed;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::report::NormalisedReport;
use crate::rewrite::{self, Eliminated, FilterMasks, Masked};
use crate::verify::Verification;

/// A model brought into the form that will be written.
pub(super) struct Prepared {
    /// In integer form, where it was asked for, and what that changed.
    pub normal: Option<(ModelProto, NormalisedReport)>,
    /// With the masks written into it; `None` without masks.
    pub masked: Option<Masked>,
    /// Without what it does not need.
    pub eliminated: Eliminated,
    /// What is to be said of that.
    pub notes: Vec<String>,
}

/// Brings the original into the form that will be written, with the filters of `masks` cut.
///
/// # Errors
/// If it has no such form.
pub(super) fn prepare(
    job: &Job,
    model: &Model,
    original: &ModelProto,
    masks: Option<&FilterMasks>,
    proof: &Proof<'_>,
) -> Result<Prepared, Error> {
    let normal = match job.normalise {
        true => Some(match normal::form(job, original, &proof.on_one_batch()) {
            // See `run`.
            Err(Error::Verification(_)) => normal::form(job, original, proof)?,
            form => form?,
        }),
        false => None,
    };
    let whole = normal.as_ref().map_or(original, |(model, _)| model);
    let masked = masks.map(|masks| rewrite::apply_masks(whole, masks, job.removal));
    let masked = masked.transpose().map_err(|e| rewrite_error(job, e))?;
    let before = masked.as_ref().map_or(whole, |m| &m.model);
    let (eliminated, mut notes) = remove(job, model, before)?;
    let formed = written::formed(job.form, &model.proto, &eliminated.model, Computed::new);
    match formed.map_err(|e| written::form_error(&job.input, e))? {
        // What does not change is written as it came.
        Formed::Lost(why) if eliminated.model != *original => notes.push(why),
        _ => {}
    }
    Ok(Prepared {
        normal,
        masked,
        eliminated,
        notes,
    })
}

/// Loads and runs the original in the runtime on a batch of the validation images, compares its
/// answers with their labels, and verifies what will be written, with the filters of `masks` cut.
/// Free sizes are tried as they will be: at two.
///
/// A batch on which too many samples are ties says little of all of them, so what fails on one is
/// judged on all samples, by which the job itself will be judged.
///
/// # Errors
/// Whatever would stop the job after learning, but for a verification that fails.
pub(super) fn run(
    job: &Job,
    model: &Model,
    original: &ModelProto,
    masks: Option<&FilterMasks>,
    proof: &Proof<'_>,
) -> Result<(Prepared, Verification), Error> {
    let about = |e: Error| e.about(&job.input);
    let mut prepared = prepare(job, model, original, masks, proof)?;
    let eliminated = &prepared.eliminated;
    let before = prepared.before(original);
    let batch = proof.on_one_batch();
    // First the original: a runtime that refuses it says so of the model as it came.
    batch
        .accuracy(original, before, &eliminated.model, None)
        .map_err(about)?;
    let mut verification = batch.verify(before, eliminated).map_err(about)?;
    if !verification.passed {
        verification = proof.verify(before, eliminated).map_err(about)?;
    }
    if !model.free.is_empty() && verification.passed {
        let other = proof.at_another_size(model, before, eliminated);
        let note = sizes::judge(other.map_err(about)?, &mut verification);
        prepared.notes.extend(note);
    }
    Ok((prepared, verification))
}

impl Prepared {
    /// What filters were cut from: the masked model, or the one without masks.
    fn before<'a>(&'a self, original: &'a ModelProto) -> &'a ModelProto {
        let whole = self.normal.as_ref().map_or(original, |(model, _)| model);
        self.masked.as_ref().map_or(whole, |m| &m.model)
    }
}

/// Refuses to learn from a model that would fail with nothing pruned.
///
/// # Errors
/// [`Error::Verification`] if it did not pass.
pub(super) fn accept(job: &Job, verification: &Verification) -> Result<(), Error> {
    match verification.passed {
        true => Ok(()),
        false => Err(Error::Verification(format!(
            "{}: even with no filter pruned, what would be written differs from the original ({}); \
             nothing was learned",
            job.input.display(),
            verification.failures.join("; ")
        ))),
    }
}

#[cfg(test)]
mod tests;
