//! The model in the form that it is written in, held against the model that was verified; and what the
//! file says of itself.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;

use super::proof::Proof;
use super::summary::hex;
use super::{Choice, Job};
use crate::error::Error;
use crate::forms::{self, Computed, FormError, OutputForm};
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::onnx::provenance::Entries;
use crate::qonnx;
use crate::report::{AccuracyReport, FormReport};
use crate::rewrite::FilterMasks;
use crate::runnable::runnable;
use crate::subsidiary::Options;
use crate::verify::{KeptChannels, SessionOptions, Verification};

/// A model in another form.
pub(super) struct Written {
    pub model: ModelProto,
    pub report: FormReport,
}

/// The form that the job writes: the one asked for, or that which the model came in, where weights
/// are stored in another way in it.
pub(super) fn form_of(job: &Job, model: &ModelProto) -> Option<&'static dyn OutputForm> {
    let came = || forms::came_as(model).filter(|form| !form.is_qonnx());
    job.form.or_else(came)
}

/// An option for a form that does nothing on such a model, or cannot be.
///
/// # Errors
/// [`Error::Usage`] with the reason.
pub(super) fn idle(job: &Job, model: &ModelProto) -> Result<(), Error> {
    let input = job.input.display();
    if let Some(form) = job.form
        && let Some(why) = form.idle(model)
    {
        let name = form.name();
        return Err(Error::Usage(format!("--to {name}: {input} {why}")));
    }
    let standard = job.form.is_some_and(|form| !form.is_qonnx());
    match job.normalise && qonnx::is_qonnx(model) && !standard {
        true => Err(super::normal::needs_standard(&job.input)),
        false => Ok(()),
    }
}

/// A form that a model does not have, by the model's name.
pub(super) fn form_error(path: &Path, e: FormError) -> Error {
    Error::unsuitable(path, e.to_string())
}

/// `model` in the form that the job writes; `None` if that is the one it has.
///
/// # Errors
/// If it has no such form; [`Error::Verification`] if it computes something else in it.
pub(super) fn shape(
    job: &Job,
    came: &ModelProto,
    model: &ModelProto,
    proof: &Proof<'_>,
) -> Result<Option<Written>, Error> {
    let Some(form) = form_of(job, came) else {
        return Ok(None);
    };
    let computed = computed(model, proof);
    let shaped = match form.write(model, &computed) {
        Ok(shaped) => shaped,
        // What came packed may have lost all that can be packed.
        Err(FormError::Nothing { .. }) if job.form.is_none() => return Ok(None),
        Err(e) => return Err(form_error(&job.input, e)),
    };
    let about = |e: Error| e.about(&job.input);
    let before = runnable(model).map_err(|e| about(e.into()))?.model;
    let after = runnable(&shaped.model).map_err(|e| about(e.into()))?.model;
    let mut report = FormReport {
        name: form.name().to_owned(),
        layers: shaped.changed,
        left: shaped.left,
        ..FormReport::default()
    };
    // What runs is the same model: it was verified.
    if before != after {
        let found = proof.compare(&before, &after, &KeptChannels::default());
        let found = found.map_err(about)?;
        if !found.passed {
            return Err(Error::Verification(format!(
                "{}: the model in {} form does not compute what it computes ({}); nothing was written",
                job.input.display(),
                form.name(),
                found.failures.join("; ")
            )));
        }
        report.max_abs_diff = proof.at_lower_levels(&before, &after).map_err(about)?;
        let all = found.max_abs_diff;
        report.max_abs_diff.insert("all".to_owned(), all);
        report.verification = Some(found);
    }
    Ok(Some(Written {
        model: shaped.model,
        report,
    }))
}

/// The weights that a model computes, as the runtime computes them; those that it does not give are
/// computed here.
fn computed(model: &ModelProto, proof: &Proof<'_>) -> Computed {
    let found = || -> Option<Computed> {
        let apart = forms::computed_weights(model)?;
        let bytes = apart.encode_to_vec();
        let options = SessionOptions::default();
        let mut session = proof.runtime().load(&bytes, &options).ok()?;
        Some(session.run(&[]).ok()?.into_iter().collect())
    };
    found().unwrap_or_default()
}

/// What verifies a model that was only written in another form.
pub(super) fn verification(
    proof: &Proof<'_>,
    original: &ModelProto,
    written: &ModelProto,
    map: &KeptChannels,
) -> Result<Verification, Error> {
    let (before, after) = (runnable(original)?, runnable(written)?);
    proof.compare(&before.model, &after.model, map)
}

/// What a file says of how it was made.
pub(super) struct Provenance<'a> {
    pub job: &'a Job,
    pub model: &'a Model,
    pub masks: Option<&'a FilterMasks>,
    pub learned: Option<&'a Options>,
    pub pruned_share: f64,
    pub accuracy: Option<&'a AccuracyReport>,
    /// The form, where it is another than the model's.
    pub form: Option<&'a str>,
}

impl Provenance<'_> {
    pub(super) fn entries(&self) -> Entries {
        let Self {
            job,
            model,
            masks,
            learned,
            ..
        } = self;
        let method = match (&job.choice, learned) {
            (Choice::Form, _) => "convert",
            (Choice::Masks(_), _) => "masks",
            (_, Some(options)) => options.selector.name(),
            (_, None) => "none",
        };
        let mut entries: Entries = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("method", method.to_owned()),
            ("input_sha256", hex(&model.bytes)),
        ];
        if let Some(form) = self.form {
            entries.push(("form", form.to_owned()));
        }
        if learned.is_some() {
            entries.push(("seed", job.seed.to_string()));
        }
        if let Some(text) = masks.and_then(|m| m.to_bytes().ok()) {
            entries.push(("masks_sha256", hex(&text)));
        }
        if !matches!(job.choice, Choice::Form) {
            entries.push(("pruned_share", format!("{:.6}", self.pruned_share)));
        }
        if let Some(accuracy) = self.accuracy {
            entries.push(("accuracy_before", format!("{:.6}", accuracy.before)));
            entries.push(("accuracy_after", format!("{:.6}", accuracy.after)));
        }
        entries
    }
}

/// Largest differences by optimisation level.
pub(super) type ByLevel = BTreeMap<String, f64>;
