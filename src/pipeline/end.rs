//! What comes after filters were chosen: removal, verification, measurements, the output.

use super::proof::Proof;
use super::summary::{self, Summary};
use super::{Budget, Choice, Job, View, normal, sizes};
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::qonnx;
use crate::report::{AccuracyReport, BudgetReport, Report};
use crate::rewrite::{self, EliminateOptions, Eliminated, FilterMasks};

/// The job from there on.
pub(super) struct End<'a> {
    pub job: &'a Job,
    /// As read.
    pub model: &'a Model,
    /// As learned from: the model, or that in inference mode.
    pub original: &'a ModelProto,
    /// The filters that go.
    pub masks: Option<&'a FilterMasks>,
    /// Who verifies.
    pub proof: &'a Proof<'a>,
    pub observer: &'a dyn Observer,
}

impl End<'_> {
    /// Everything up to the output and the report, with the weights of `retrained`; `left` are nodes
    /// that were in training mode.
    ///
    /// # Errors
    /// Whatever keeps the job from a verdict, or the output from being written.
    pub(super) fn conclude(
        &self,
        retrained: &ModelProto,
        left: &[String],
        summary: &mut Summary,
    ) -> Result<Report, Error> {
        let Self {
            job,
            model,
            original,
            masks,
            proof,
            observer,
        } = *self;
        let about = |e: Error| e.about(&job.input);
        // In the integer form first: masks and constants then meet integers.
        let normal = match job.normalise {
            true => Some(normal::form(job, retrained, proof)?),
            false => None,
        };
        let retrained = normal.as_ref().map_or(retrained, |(model, _)| model);
        let written = match masks {
            Some(masks) => {
                let applied = rewrite::apply_masks(retrained, masks, job.removal);
                Some(applied.map_err(|e| rewrite_error(job, e))?)
            }
            None => None,
        };
        let masked = written.as_ref().map_or(retrained, |m| &m.model);
        let (eliminated, notes) = remove(job, model, masked)?;
        summary.notes.extend(notes);
        let notes = written.iter().flat_map(|m| &m.notes);
        summary.details = left
            .iter()
            .map(|node| format!("'{node}': was in training mode, runs in inference mode now"))
            .chain(notes.map(ToString::to_string))
            .collect();
        summary.details.extend(eliminated.changes.iter().cloned());

        // Whatever the runtime refuses was made of the input.
        let mut verification = proof.verify(masked, &eliminated).map_err(about)?;
        if !model.free.is_empty() && verification.passed {
            let other = proof.at_another_size(model, masked, &eliminated);
            let note = sizes::judge(other.map_err(about)?, &mut verification);
            summary.notes.extend(note);
        }
        if observer.cancelled() {
            return Err(Error::Interrupted);
        }
        let passed = verification.passed;
        let agreement = proof
            .agreement_with(original, &eliminated.model)
            .map_err(about)?;
        let mut accuracy = proof
            .accuracy(original, masked, &eliminated.model, summary.after_masking())
            .map_err(about)?;
        if let (Choice::Masks(_), Some(accuracy)) = (&job.choice, &mut accuracy) {
            accuracy.after_masking = Some(accuracy.masked);
        }
        let latency = proof.latency(original, &eliminated.model).map_err(about)?;

        let budget = self.budget(summary, accuracy.as_ref(), agreement);
        let within = budget.as_ref().is_none_or(|b| b.met);
        // What failed verification is kept to be looked at; what cost too much is not wanted.
        if within {
            if let (Some(path), Some(masks)) = (&job.save_masks, masks) {
                masks.save(path)?;
            }
            if let Some(path) = &job.save_masked {
                model.save_edited(masked, path)?;
            }
        }
        let output = job.output.as_ref().filter(|_| passed && within);
        let mut written = None;
        if let Some(path) = output {
            if observer.cancelled() {
                return Err(Error::Interrupted);
            }
            let done = match job.to_onnx {
                true => {
                    let lowered = qonnx::lower(&eliminated.model).map_err(|e| about(e.into()))?;
                    model.save_edited(&lowered.model, path)?
                }
                false => model.save_edited(&eliminated.model, path)?,
            };
            written = Some((path, done));
        }
        let view = View::lean(&job.input, original)?;
        let pruned = View::lean(&job.input, &eliminated.model)?;
        let mut report = summary.report(job, model, &view, &pruned, &eliminated, masks)?;
        report.verification = Some(verification);
        report.agreement = agreement;
        report.accuracy = accuracy;
        report.budget = budget;
        report.warnings.extend(unlimited(job, &report));
        report.warnings.extend(other_than_trained(&report));
        report.normalised = normal.map(|(_, report)| report);
        report.latency_ms = Some(latency);
        let opset = report.input.opset;
        report.output = written.map(|(path, done)| summary::output_file(path, done, opset));
        Ok(report)
    }
}

impl End<'_> {
    /// What pruning may cost, and cost; `None` where there is no budget, or nothing to measure by.
    fn budget(
        &self,
        summary: &Summary,
        accuracy: Option<&AccuracyReport>,
        agreement: Option<f64>,
    ) -> Option<BudgetReport> {
        let learned = summary.learned.as_ref();
        let max_drop = match learned {
            Some((_, options)) => options.max_drop?,
            None => self.job.budget.given()?,
        };
        let (measure, drop) = match (accuracy, agreement) {
            (Some(accuracy), _) => ("accuracy", accuracy.before - accuracy.after),
            (None, Some(agreement)) => ("agreement", 1.0 - agreement),
            (None, None) => return None,
        };
        Some(BudgetReport {
            measure: measure.to_owned(),
            max_drop,
            drop,
            // Counts of images, divided: what is equal may differ by a rounding.
            met: drop <= max_drop + 1e-9,
            attempts: learned.map_or(Vec::new(), |(learned, _)| learned.attempts.clone()),
        })
    }
}

/// Above this, what was trained and what was written do not lose the same: a hundredth is what ties and
/// other orders of summation make of it.
const SAME_LOSS: f64 = 0.02;

/// Whether the model that was written lost something else than the network that was trained.
fn other_than_trained(report: &Report) -> Option<String> {
    let budget = report.budget.as_ref()?;
    let trained = budget.attempts.last()?.drop;
    let points = |share: f64| format!("{:.2}", 100.0 * share);
    ((trained - budget.drop).abs() > SAME_LOSS).then(|| {
        format!(
            "the network that was trained loses {} points of {}, the model that was made of it {}: please report this model as a fault",
            points(trained),
            budget.measure,
            points(budget.drop)
        )
    })
}

/// What a run without a budget has to say loudly.
fn unlimited(job: &Job, report: &Report) -> Option<String> {
    let accuracy = report.accuracy.as_ref()?;
    let lost = accuracy.before - accuracy.after;
    let usual = Budget::Usual.learning(true)?;
    (job.budget == Budget::Unlimited && lost > usual).then(|| {
        format!(
            "accuracy fell by {:.2} points, and --max-drop none lets that pass",
            100.0 * lost
        )
    })
}

/// The masked model without what it does not need, and what is to be said of that.
pub(super) fn remove(
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
        keep: job.keep.clone(),
        round_to: job.round_to,
        residual: job.residual,
        ..defaults
    };
    let eliminated = rewrite::eliminate_with(masked, &options);
    let mut eliminated = eliminated.map_err(|e| rewrite_error(job, e))?;
    if !qonnx::is_qonnx(&eliminated.model) {
        return Ok((eliminated, Vec::new()));
    }
    let restored = qonnx::restore(&model.proto, &mut eliminated.model)
        .map_err(|e| Error::from(e).about(&job.input))?;
    let notes = restored.notes(job.to_onnx);
    Ok((eliminated, notes))
}

/// A rewrite of the job's model that cannot be done.
pub(super) fn rewrite_error(job: &Job, source: rewrite::RewriteError) -> Error {
    Error::Rewrite {
        path: job.input.clone(),
        source,
    }
}
