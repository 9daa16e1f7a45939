//! Before hours of learning: the original goes the whole way that what is learned will go.

use super::Job;
use super::cut::{self, Cut};
use super::proof::Proof;
use super::written::{self, Formed};
use crate::error::Error;
use crate::forms::Computed;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::rewrite::FilterMasks;
use crate::verify::Verification;

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
) -> Result<Cut, Error> {
    let masks = masks.map(|masks| (masks, None));
    let normal = match job.normalise {
        true => Some(
            match cut::normal(job, original, masks, &proof.on_one_batch()) {
                // See `run`.
                Err(Error::Verification(_)) => cut::normal(job, original, masks, proof)?,
                form => form?,
            },
        ),
        false => None,
    };
    let mut cut = Cut::of(job, model, original, normal, masks)?;
    let result = &cut.eliminated.model;
    let formed = written::to_be_formed(job, result)
        .and_then(|exact| written::formed(job.form, &model.proto, &exact, Computed::new));
    match formed.map_err(|e| written::form_error(&job.input, e))? {
        // What does not change is written as it came.
        Formed::Lost(why) if *result != *original => cut.notes.push(why),
        _ => {}
    }
    Ok(cut)
}

/// Loads and runs the original in the runtime on a batch of the validation images, compares its
/// answers with their labels, and verifies what will be written, with the filters of `masks` cut.
/// Free sizes are tried as they will be: at several.
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
) -> Result<(Cut, Verification), Error> {
    let about = |e: Error| e.about(&job.input);
    let mut cut = prepare(job, model, original, masks, proof)?;
    let eliminated = &cut.eliminated;
    let before = cut.before(original);
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
        let other = proof.at_other_sizes(model, before, eliminated);
        let note = other.map_err(about)?.judge(&mut verification);
        cut.notes.extend(note);
    }
    if verification.passed {
        runs_as_written(job, model, &cut.eliminated.model, proof, &batch)?;
    }
    Ok((cut, verification))
}

/// Runs the original in the form that will be written, which may need what the runtime lacks.
fn runs_as_written(
    job: &Job,
    came: &Model,
    cut: &ModelProto,
    proof: &Proof<'_>,
    batch: &Proof<'_>,
) -> Result<(), Error> {
    match written::shape(job, &came.proto, cut, batch) {
        // See `run`.
        Err(Error::Verification(_)) => written::shape(job, &came.proto, cut, proof).map(drop),
        shaped => shaped.map(drop),
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
