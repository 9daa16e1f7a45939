//! What comes after filters were chosen: removal, verification, measurements, the output.

use std::path::Path;

use super::proof::Proof;
use super::summary::{self, Summary};
use super::written::{self, Provenance, Written};
use super::{Budget, Choice, Job, View, normal, sizes};
use crate::error::Error;
use crate::forms;
use crate::onnx::Model;
use crate::onnx::proto::{ModelProto, TensorProto};
use crate::onnx::provenance::stamp;
use crate::progress::{Observer, Phase};
use crate::qonnx;
use crate::report::{AccuracyReport, BudgetReport, NormalisedReport, Report};
use crate::rewrite::{self, ChannelMaps, EliminateOptions, Eliminated, FilterMasks};
use crate::verify::{KeptChannels, Verification};

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
        let _verifying = Phase::begin(observer, "verifying");
        // In the integer form first: masks and constants then meet integers.
        let normal = match job.normalise {
            true => Some(normal::form(job, retrained, proof)?),
            false => None,
        };
        let alone = job.form.is_none_or(|form| form.is_integer_alone());
        if let (Choice::Form, Some((_, found)), true) = (&job.choice, &normal, alone) {
            normal::some(job, found)?;
        }
        let retrained = normal.as_ref().map_or(retrained, |(model, _)| model);
        let written = match masks {
            Some(masks) => {
                let applied = rewrite::apply_masks(retrained, masks, job.removal);
                Some(applied.map_err(|e| rewrite_error(job, e))?)
            }
            None => None,
        };
        let masked = written.as_ref().map_or(retrained, |m| &m.model);
        let (eliminated, notes) = match job.choice {
            Choice::Form => (whole(masked), Vec::new()),
            _ => remove(job, model, masked)?,
        };
        summary.notes.extend(notes);
        let notes = written.iter().flat_map(|m| &m.notes);
        summary.details = left
            .iter()
            .map(|node| format!("'{node}': was in training mode, runs in inference mode now"))
            .chain(notes.map(ToString::to_string))
            .collect();
        summary.details.extend(eliminated.changes.iter().cloned());

        summary.clock.lap("removing filters", None);
        let (mut shaped, mut lost) = (None, None);
        observer.detail(match job.choice {
            Choice::Form => "original against the form written",
            _ => "masked against pruned model",
        });
        // Whatever the runtime refuses was made of the input.
        let mut verification = match job.choice {
            Choice::Form => {
                (shaped, _) = written::shape(job, &model.proto, &eliminated.model, proof)?;
                let normal = normal.as_ref().map(|(_, report)| report);
                self.as_a_whole(normal, shaped.as_ref())?
            }
            _ => proof.verify(masked, &eliminated).map_err(about)?,
        };
        if !model.free.is_empty() && verification.passed {
            // Where only the form changes, nothing was cut: what is written is what was made.
            let written = match (&job.choice, &shaped) {
                (Choice::Form, Some(shaped)) => Some(whole(&shaped.model)),
                _ => None,
            };
            let candidate = written.as_ref().unwrap_or(&eliminated);
            let other = proof.at_another_size(model, masked, candidate);
            let note = sizes::judge(other.map_err(about)?, &mut verification);
            summary.notes.extend(note);
        }
        if observer.cancelled() {
            return Err(Error::Interrupted);
        }
        let passed = verification.passed;
        if passed && shaped.is_none() {
            observer.detail("the form written");
            (shaped, lost) = written::shape(job, &model.proto, &eliminated.model, proof)?;
        }
        let result = shaped.as_ref().map_or(&eliminated.model, |s| &s.model);
        summary.clock.lap("verifying", None);
        observer.detail("pruned against original model");
        let agreement = proof.agreement_with(original, result).map_err(about)?;
        let mut accuracy = proof
            .accuracy(original, masked, result, summary.after_masking())
            .map_err(about)?;
        if let (Choice::Masks(_), Some(accuracy)) = (&job.choice, &mut accuracy) {
            accuracy.after_masking = Some(accuracy.masked);
        }
        summary.clock.lap("measuring accuracy", None);
        observer.detail("latency");
        let latency = proof.latency(original, result).map_err(about)?;
        summary.clock.lap("measuring latency", None);

        let budget = self.budget(summary, accuracy.as_ref(), agreement);
        let within = budget.as_ref().is_none_or(|b| b.met);
        // What failed verification is kept to be looked at; what cost too much is not wanted.
        if within && let (Some(path), Some(masks)) = (&job.save_masks, masks) {
            masks.save(path)?;
        }
        // A form that was asked for is another one.
        let same = job.form.is_none() && !job.inference_mode;
        let unchanged = |made: &ModelProto| same && made == original;
        let lost = lost.filter(|_| !unchanged(&eliminated.model));
        summary.notes.extend(lost);
        let mut report = self.report(summary, result, &eliminated)?;
        let save = |made: &ModelProto, path: &Path, accuracy, form| -> Result<_, Error> {
            // What does not change is written as it came.
            if unchanged(made) {
                return Ok(model.save_edited(&model.proto, path)?);
            }
            let mut made = made.clone();
            let learned = summary.learned.as_ref().map(|(_, options)| options);
            let provenance = Provenance {
                job,
                model,
                runtime: proof.runtime(),
                masks,
                learned,
                pruned_share: report.totals.pruned_ratio,
                accuracy,
                form,
            };
            stamp(&mut made, &provenance.entries());
            Ok(model.save_edited(&made, path)?)
        };
        if let Some(path) = job.save_masked.as_ref().filter(|_| within) {
            save(masked, path, None, None)?;
        }
        let output = job.output.as_ref().filter(|_| passed && within);
        let mut written = None;
        if let Some(path) = output {
            if observer.cancelled() {
                return Err(Error::Interrupted);
            }
            let form = shaped.as_ref().map(|s| s.report.name.as_str());
            // A file that came packed and lost nothing is packed already.
            let made = match job.form {
                None if unchanged(&eliminated.model) => &eliminated.model,
                _ => result,
            };
            let done = save(made, path, accuracy.as_ref(), form)?;
            written = Some((path, done));
        }
        report.verification = Some(verification);
        report.agreement = agreement;
        report.accuracy = accuracy;
        report.budget = budget;
        report.warnings.extend(unlimited(job, &report));
        report.warnings.extend(other_than_trained(&report));
        report.normalised = normal.map(|(_, report)| report);
        report.form = shaped.map(|s| s.report);
        report.latency_ms = Some(latency);
        let opset = report.input.opset;
        report.output = written.map(|(path, done)| summary::output_file(path, done, opset));
        Ok(report)
    }
}

impl End<'_> {
    /// The report but for what was measured; `result` is what is written.
    fn report(
        &self,
        summary: &Summary,
        result: &ModelProto,
        eliminated: &Eliminated,
    ) -> Result<Report, Error> {
        let Self {
            job, model, masks, ..
        } = *self;
        // Bytes are those of the file, which may be packed.
        let read = match job.inference_mode {
            true => self.original,
            false => &model.proto,
        };
        let before = View::lean(&job.input, read)?;
        // Costs are those of the layers, which operators that are not standard do not show.
        let counted = match forms::has_operators(result) {
            true => &eliminated.model,
            false => result,
        };
        let after = View::lean(&job.input, counted)?;
        let params = [params(self.original), params(&eliminated.model)];
        summary.report(
            job,
            model,
            (&before, &after),
            eliminated,
            masks,
            Some(params),
        )
    }

    /// The original against what is written of it where only the form changes.
    fn as_a_whole(
        &self,
        normal: Option<&NormalisedReport>,
        shaped: Option<&Written>,
    ) -> Result<Verification, Error> {
        let found = shaped.and_then(|s| s.report.verification.clone());
        match (normal, found) {
            // It was held against the original.
            (None, Some(found)) => Ok(found),
            (Some(normal), None) => Ok(normal.verification.clone()),
            // Where it gives the bits of the integer form, that one's verdict holds, ties included: of operators that
            // are not standard no decisions can be looked into.
            (Some(normal), Some(_)) if shaped.is_some_and(Written::is_equal) => {
                Ok(normal.verification.clone())
            }
            (normal, _) => {
                let mut map = KeptChannels::default();
                let rescaled = normal.iter().flat_map(|n| &n.rescaled);
                rescaled.for_each(|t| map.rescale(t));
                let made = shaped.map_or(self.original, |s| &s.model);
                written::verification(self.proof, self.original, made, &map)
                    .map_err(|e| e.about(&self.job.input))
            }
        }
    }

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

/// What a run that has no budget has to say loudly.
fn unlimited(job: &Job, report: &Report) -> Option<String> {
    let accuracy = report.accuracy.as_ref()?;
    let lost = accuracy.before - accuracy.after;
    let usual = Budget::Usual.learning(true)?;
    if lost <= usual {
        return None;
    }
    let fell = format!("accuracy fell by {:.2} points", 100.0 * lost);
    match (job.budget, &job.choice) {
        (Budget::Unlimited, _) => Some(format!("{fell}, and --max-drop none lets that pass")),
        (Budget::Usual, Choice::Masks(_)) => Some(format!(
            "{fell}: --masks takes filters out and retrains nothing; the masks of a run that retrained belong to the network that it wrote (--max-drop refuses what lost too much)"
        )),
        _ => None,
    }
}

/// Elements of a model's initializers.
fn params(model: &ModelProto) -> u64 {
    let tensors = model.graph.iter().flat_map(|g| &g.initializer);
    let count = |t: &TensorProto| {
        t.dims
            .iter()
            .fold(1u64, |n, &d| n.saturating_mul(d.unsigned_abs()))
    };
    tensors.map(count).fold(0, u64::saturating_add)
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
    let standard = job.form.filter(|form| !form.is_qonnx());
    let notes = restored.notes(standard.map(|form| form.name()));
    Ok((eliminated, notes))
}

/// A rewrite of the job's model that cannot be done.
pub(super) fn rewrite_error(job: &Job, source: rewrite::RewriteError) -> Error {
    Error::Rewrite {
        path: job.input.clone(),
        source,
    }
}
