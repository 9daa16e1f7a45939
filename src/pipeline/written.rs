//! The model in the form that it is written in, held against the model that was verified; and what the
//! file says of itself.

use std::borrow::Cow;
use std::path::Path;

use prost::Message as _;

use super::proof::Proof;
use super::summary::hex;
use super::{Choice, Job};
use crate::error::Error;
use crate::forms::{self, Computed, FormError, OutputForm, Shaped};
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::onnx::provenance::Entries;
use crate::qonnx;
use crate::report::{AccuracyReport, FormReport};
use crate::rewrite::FilterMasks;
use crate::runnable::runnable;
use crate::subsidiary::Options;
use crate::verify::{KeptChannels, Runtime, SessionOptions, Verification};

/// A model in another form.
pub(super) struct Written {
    pub model: ModelProto,
    pub report: FormReport,
}

impl Written {
    /// Whether it gives the bits of the model that it was made of, at each level of optimisation.
    pub(super) fn is_equal(&self) -> bool {
        let differences = &self.report.max_abs_diff;
        !differences.is_empty() && differences.values().all(|&d| d == 0.0)
    }
}

/// What becomes of a model that is written.
pub(super) enum Formed {
    /// No form was asked for, and it came in none.
    AsItIs,
    /// It came in a form that what was made of it cannot have, for this reason.
    Lost(String),
    /// It is in this form.
    In(&'static dyn OutputForm, Box<Shaped>),
}

/// `model` in the form asked for, or in that which it `came` in, where weights are stored in another
/// way in it.
///
/// # Errors
/// If a form was asked for that it does not have, or its graph is invalid.
pub(super) fn formed(
    asked: Option<&'static dyn OutputForm>,
    came: &ModelProto,
    model: &ModelProto,
    computed: impl FnOnce() -> Computed,
) -> Result<Formed, FormError> {
    let came = || forms::came_as(came).filter(|form| !form.is_qonnx());
    let Some(form) = asked.or_else(came) else {
        return Ok(Formed::AsItIs);
    };
    match form.write(model, &computed()) {
        Ok(shaped) => Ok(Formed::In(form, Box::new(shaped))),
        // Nobody asked for it: what came packed may have lost all that can be packed, or be of an
        // opset that this tool packs nothing in.
        Err(
            e @ (FormError::Nothing { .. } | FormError::Rounded { .. } | FormError::Opset { .. }),
        ) if asked.is_none() => Ok(Formed::Lost(lost(form, &e))),
        Err(e) => Err(e),
    }
}

/// What [`formed`] is given of a job: the bits of a network that learns are written exactly, also those that
/// learning left as they came, within rounding.
///
/// # Errors
/// If its graph is invalid.
pub(super) fn to_be_formed<'m>(
    job: &Job,
    model: &'m ModelProto,
) -> Result<Cow<'m, ModelProto>, FormError> {
    match job.form {
        Some(_) if job.learns() => forms::without_rounding(model),
        _ => Ok(Cow::Borrowed(model)),
    }
}

/// What is said of a file that does not stay in the form that it came in.
fn lost(form: &dyn OutputForm, why: &FormError) -> String {
    format!(
        "the file came {}, and is written with weights as floats: it {why}",
        form.name()
    )
}

/// What is said of a pruned network that has nothing left to be written in the form asked for.
fn not_in_form(form: &dyn OutputForm, why: &FormError) -> String {
    format!(
        "not written {}, but with weights as floats: it {why}",
        form.name()
    )
}

/// Refuses a model whose binary layers are operators of the form `ops`: nothing is pruned from those, or
/// trained in them.
///
/// # Errors
/// [`Error::Unsuitable`] with what to give instead.
pub(super) fn of_layers(path: &Path, model: &ModelProto) -> Result<(), Error> {
    match forms::has_operators(model) {
        false => Ok(()),
        true => Err(Error::unsuitable(
            path,
            "its binary layers are operators already (--to ops), which nothing is pruned from, trained in or written anew: give the model that it was made of".to_owned(),
        )),
    }
}

/// An option for a form that does nothing on such a model, or cannot be.
///
/// # Errors
/// [`Error::Usage`] with the reason.
pub(super) fn idle(job: &Job, model: &ModelProto) -> Result<(), Error> {
    of_layers(&job.input, model)?;
    let input = job.input.display();
    if let Some(form) = job.form
        && let Some(why) = form.idle(model)
    {
        let name = form.name();
        let remedy = match job.choice {
            Choice::Form => "there is nothing to convert",
            _ => "leave it out",
        };
        return Err(Error::Usage(format!(
            "--to {name}: {input} {why}; {remedy}"
        )));
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

/// `model` in the form that the job writes: see [`formed`]; and what is to be said where it is in none.
///
/// # Errors
/// If it has no such form; [`Error::Verification`] if it computes something else in it, at any level of
/// optimisation.
pub(super) fn shape(
    job: &Job,
    came: &ModelProto,
    model: &ModelProto,
    proof: &Proof<'_>,
) -> Result<(Option<Written>, Option<String>), Error> {
    let exact = to_be_formed(job, model).map_err(|e| form_error(&job.input, e))?;
    let computed = || computed(&exact, proof.runtime());
    let formed = match (job.form, formed(job.form, came, &exact, computed)) {
        // The network that came had something: what was learned of it is not lost for a form.
        (Some(form), Err(e @ (FormError::Nothing { .. } | FormError::Rounded { .. })))
            if job.learns() =>
        {
            Ok(Formed::Lost(not_in_form(form, &e)))
        }
        (_, formed) => formed,
    };
    let (form, shaped) = match formed.map_err(|e| form_error(&job.input, e))? {
        Formed::AsItIs => return Ok((None, None)),
        Formed::Lost(why) => return Ok((None, Some(why))),
        Formed::In(form, shaped) => (form, *shaped),
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
        accept(job, form, "all", &found)?;
        let lower = proof.at_lower_levels(&before, &after).map_err(about)?;
        for (level, lower) in &lower {
            accept(job, form, level, lower)?;
        }
        let levels = lower.iter().map(|(&level, found)| (level, found));
        report.max_abs_diff = levels
            .chain([("all", &found)])
            .map(|(level, found)| (level.to_owned(), largest(found)))
            .collect();
        report.verification = Some(found);
    }
    let model = shaped.model;
    Ok((Some(Written { model, report }), None))
}

/// Refuses a model that computes something else in its form, at a level of optimisation.
fn accept(
    job: &Job,
    form: &dyn OutputForm,
    level: &str,
    found: &Verification,
) -> Result<(), Error> {
    match found.passed {
        true => Ok(()),
        // There was nothing to compare: that is the model's fault, not the form's.
        false if found.samples > 0 && found.not_compared == found.samples => {
            let why = "gives no finite output on any sample, so no form of it can be verified; mend the model, or give images with --data that it takes";
            Err(Error::unsuitable(&job.input, why))
        }
        false => Err(Error::Verification(format!(
            "{}: written in {} form, the model computes something else, at the level of optimisation \"{level}\" ({}); nothing was written",
            job.input.display(),
            form.name(),
            found.failures.join("; ")
        ))),
    }
}

/// How far outputs lie apart; no number says it where one is finite and the other is not.
fn largest(found: &Verification) -> f64 {
    match found.non_finite_differs {
        true => f64::INFINITY,
        false => found.max_abs_diff,
    }
}

/// The weights that a model computes, as the runtime computes them; those that it does not give are
/// computed here.
pub(super) fn computed(model: &ModelProto, runtime: &dyn Runtime) -> Computed {
    let found = || -> Option<Computed> {
        let apart = forms::computed_weights(model)?;
        let bytes = apart.encode_to_vec();
        let options = SessionOptions::default();
        let mut session = runtime.load(&bytes, &options).ok()?;
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
    /// Who verified it, measured it, and computed its weights.
    pub runtime: &'a dyn Runtime,
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
            ("runtime", ran_by(self.runtime)),
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

/// A runtime's name and version, as a file says it.
pub(super) fn ran_by(runtime: &dyn Runtime) -> String {
    format!("{} {}", runtime.name(), runtime.version())
}
