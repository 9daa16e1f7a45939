//! What comes after filters were chosen: removal, verification, measurements, the output.

use std::path::Path;

use super::cut::{self, Cut};
use super::proof::Proof;
use super::summary::{self, Pruned, Summary};
use super::trained::{self, Agreement};
use super::written::{self, Provenance, Written};
use super::{Budget, Choice, Chosen, Job, View, kept, normal};
use crate::error::Error;
use crate::forms;
use crate::onnx::proto::ModelProto;
use crate::onnx::provenance::stamp;
use crate::onnx::{self, Model};
use crate::progress::{Observer, Phase};
use crate::report::{
    AccuracyReport, BudgetReport, LatencyReport, NormalisedReport, Report, Totals,
};
use crate::rewrite::{Eliminated, parameters};
use crate::subsidiary::{Cost, Options, within_budget};
use crate::verify::{KeptChannels, Verification};

/// The job from there on.
pub(super) struct End<'a> {
    pub job: &'a Job,
    /// As read.
    pub model: &'a Model,
    /// As learned from: the model, or that in inference mode.
    pub original: &'a ModelProto,
    /// The filters that go, and what was learned.
    pub chosen: Chosen,
    /// Who verifies.
    pub proof: &'a Proof<'a>,
    pub observer: &'a dyn Observer,
}

/// The model in the form that is written, where that is another one than it was verified in.
#[derive(Default)]
struct Form {
    shaped: Option<Written>,
    /// What is said of a form that the model came in and does not keep.
    lost: Option<String>,
}

/// What was measured of the models, on the validation images where there are any.
struct Measured {
    /// Share of images on which original and result give one class.
    agreement: Option<f64>,
    accuracy: Option<AccuracyReport>,
    /// On how many of them the result gives the class that the trained network gave.
    trained: Option<Agreement>,
    latency: LatencyReport,
}

/// A model that is written, and what its file says of it.
struct Product<'a> {
    model: &'a ModelProto,
    accuracy: Option<&'a AccuracyReport>,
    /// The form, where it is another than the model's.
    form: Option<&'a str>,
}

impl End<'_> {
    /// Everything up to the output and the report, with the weights of the network that was learned, if one
    /// was; `left` are nodes that were in training mode. What was learned is kept where it does not come to an
    /// output.
    ///
    /// # Errors
    /// Whatever keeps the job from a verdict, or the output from being written.
    pub(super) fn conclude(&self, left: &[String], mut summary: Summary) -> Result<Report, Error> {
        let learned = self.chosen.network.as_ref();
        let concluded = self
            .concluded(learned.unwrap_or(self.original), left, &mut summary)
            .map_err(|e| e.unless_stopped(self.observer.cancelled()));
        let mut report = match (concluded, learned) {
            (Err(e), Some(_)) => {
                return Err(kept::after(e, self.job, self.model, &self.chosen));
            }
            (concluded, _) => concluded?,
        };
        if learned.is_some() && !report.passed() {
            let note = kept::note(self.job, self.model, &self.chosen);
            report.notes.extend(note);
        }
        summary.clock.lap("writing", None);
        report.timings = summary.clock.take();
        Ok(report)
    }

    fn concluded(
        &self,
        network: &ModelProto,
        left: &[String],
        summary: &mut Summary,
    ) -> Result<Report, Error> {
        let _verifying = Phase::begin(self.observer, "verifying");
        let cut = self.cut(network)?;
        let masked = cut.before(network);
        summary.notes.extend(cut.notes.iter().cloned());
        summary.details = left
            .iter()
            .map(|node| format!("'{node}': was in training mode, runs in inference mode now"))
            .chain(cut.details())
            .collect();
        summary.clock.lap("removing filters", None);

        let (verification, form) = self.verified(&cut, masked, summary)?;
        let shaped = form.shaped.as_ref();
        let result = shaped.map_or(&cut.eliminated.model, |s| &s.model);
        summary.clock.lap("verifying", None);

        let measured = self.measured(masked, result, summary)?;
        let budget = self.budget(summary, &measured);
        let within = budget.as_ref().is_none_or(|b| b.met);
        // What failed verification is kept to be looked at; what cost too much is not wanted.
        if within && let (Some(path), Some(masks)) = (&self.job.save_masks, &self.chosen.masks) {
            masks.save(path)?;
        }
        let lost = form.lost.filter(|_| !self.unchanged(&cut.eliminated.model));
        summary.notes.extend(lost);
        let mut report = self.report(summary, result, &cut.eliminated)?;
        let share = report.totals.pruned_ratio;
        if let Some(path) = self.job.save_masked.as_ref().filter(|_| within) {
            let product = Product {
                model: masked,
                accuracy: None,
                form: None,
            };
            self.save(&product, path, summary, share)?;
        }
        let accepted = verification.passed && within;
        if let Some(path) = self.job.output.as_ref().filter(|_| accepted) {
            if self.observer.cancelled() {
                return Err(Error::Interrupted);
            }
            // A file that came packed and lost nothing is packed already.
            let model = match self.job.form {
                None if self.unchanged(&cut.eliminated.model) => &cut.eliminated.model,
                _ => result,
            };
            let product = Product {
                model,
                accuracy: measured.accuracy.as_ref(),
                form: shaped.map(|s| s.report.name.as_str()),
            };
            let written = self.save(&product, path, summary, share)?;
            let output = summary::output_file(path, written, report.input.opset);
            report.output = Some(output);
        }
        report.verification = Some(verification);
        report.agreement = measured.agreement;
        report.accuracy = measured.accuracy;
        report.budget = budget;
        report.warnings.extend(unlimited(self.job, &report));
        let learned = summary.learned.as_ref();
        let options = learned.map(|(_, options)| options);
        report
            .warnings
            .extend(options.and_then(|o| missed(o, &report.totals)));
        report.agreement_with_trained = measured.trained.map(Agreement::share);
        if let Some(agreement) = measured.trained.filter(|a| !a.holds()) {
            self.observer.warn(&self.other_than_trained(agreement)?);
        }
        report.normalised = cut.normal.map(|(_, report)| report);
        report.form = form.shaped.map(|s| s.report);
        report.latency_ms = Some(measured.latency);
        Ok(report)
    }

    /// The network with its filters cut, in integer form first: masks and constants then meet integers.
    fn cut(&self, network: &ModelProto) -> Result<Cut, Error> {
        let Self { job, proof, .. } = *self;
        let (masks, folded) = (self.chosen.masks.as_ref(), self.chosen.folded.as_ref());
        let normal = match job.normalise {
            true => Some(cut::normal(
                job,
                network,
                masks.map(|m| (m, folded)),
                proof,
            )?),
            false => None,
        };
        let alone = job.form.is_none_or(|form| form.is_integer_alone());
        if let (Choice::Form, Some((_, found)), true) = (&job.choice, &normal, alone) {
            normal::some(job, found)?;
        }
        let masks = masks.map(|masks| (masks, folded));
        Cut::of(job, self.model, network, normal, masks)
    }

    /// The verdict on what was cut; and, where it passed, what was cut in the form that is written, which
    /// is held against it.
    fn verified(
        &self,
        cut: &Cut,
        masked: &ModelProto,
        summary: &mut Summary,
    ) -> Result<(Verification, Form), Error> {
        let Self {
            job,
            model,
            proof,
            observer,
            ..
        } = *self;
        let about = |e: Error| e.about(&job.input);
        let eliminated = &cut.eliminated;
        let shape = || -> Result<Form, Error> {
            let (shaped, lost) = written::shape(job, &model.proto, &eliminated.model, proof)?;
            Ok(Form { shaped, lost })
        };
        observer.detail(match job.choice {
            Choice::Form => "original against the form written",
            _ => "masked against pruned model",
        });
        let mut form = Form::default();
        // Whatever the runtime refuses was made of the input.
        let mut verification = match job.choice {
            Choice::Form => {
                form.shaped = shape()?.shaped;
                let normal = cut.normal.as_ref().map(|(_, report)| report);
                self.as_a_whole(normal, form.shaped.as_ref())?
            }
            _ => proof.verify(masked, eliminated).map_err(about)?,
        };
        if !model.free.is_empty() && verification.passed {
            // Where only the form changes, nothing was cut: what is written is what was made.
            let made = match (&job.choice, &form.shaped) {
                (Choice::Form, Some(shaped)) => Some(cut::whole(&shaped.model)),
                _ => None,
            };
            let candidate = made.as_ref().unwrap_or(eliminated);
            let other = proof.at_other_sizes(model, masked, candidate);
            let note = other.map_err(about)?.judge(&mut verification);
            summary.notes.extend(note);
        }
        if observer.cancelled() {
            return Err(Error::Interrupted);
        }
        if verification.passed && form.shaped.is_none() {
            observer.detail("the form written");
            form = shape()?;
        }
        Ok((verification, form))
    }

    /// What `result` is worth beside the original.
    fn measured(
        &self,
        masked: &ModelProto,
        result: &ModelProto,
        summary: &mut Summary,
    ) -> Result<Measured, Error> {
        let Self {
            job,
            original,
            proof,
            observer,
            ..
        } = *self;
        let about = |e: Error| e.about(&job.input);
        observer.detail("pruned against original model");
        let agreement = proof.agreement_with(original, result).map_err(about)?;
        let mut accuracy = proof
            .accuracy(original, masked, result, summary.after_masking())
            .map_err(about)?;
        if let (Choice::Masks(_), Some(accuracy)) = (&job.choice, &mut accuracy) {
            accuracy.after_masking = Some(accuracy.masked);
        }
        let trained = match (&self.chosen.answers, agreement) {
            (Some(Ok(answers)), Some(_)) => {
                let found = proof.agreement_with_trained(answers, result);
                found.map_err(about)?
            }
            (Some(Err(e)), _) => {
                observer.warn(&format!("the trained network was not asked: {e}"));
                None
            }
            // Without classes there is nothing to compare.
            (Some(Ok(_)), None) | (None, _) => None,
        };
        summary.clock.lap("measuring accuracy", None);
        observer.detail("latency");
        let latency = proof.latency(original, result).map_err(about)?;
        summary.clock.lap("measuring latency", None);
        Ok(Measured {
            agreement,
            accuracy,
            trained,
            latency,
        })
    }

    /// Whether a model is the original, in the form that it came in. A form that was asked for is another
    /// one.
    fn unchanged(&self, made: &ModelProto) -> bool {
        let same = self.job.form.is_none() && !self.job.inference_mode;
        same && made == self.original
    }

    /// Writes a model, with how it was made; what does not change is written as it came.
    fn save(
        &self,
        product: &Product<'_>,
        path: &Path,
        summary: &Summary,
        pruned_share: f64,
    ) -> Result<onnx::Written, Error> {
        let Self { job, model, .. } = *self;
        if self.unchanged(product.model) {
            return Ok(model.save_edited(&model.proto, path)?);
        }
        let mut made = product.model.clone();
        let provenance = Provenance {
            job,
            model,
            runtime: self.proof.runtime(),
            masks: self.chosen.masks.as_ref(),
            learned: summary.learned.as_ref().map(|(_, options)| options),
            pruned_share,
            accuracy: product.accuracy,
            form: product.form,
        };
        stamp(&mut made, &provenance.entries());
        Ok(model.save_edited(&made, path)?)
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
        let Self { job, model, .. } = *self;
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
        let pruned = Pruned {
            view: &after,
            eliminated,
            masks: self.chosen.masks.as_ref(),
            params: [self.original, &eliminated.model].map(parameters),
        };
        summary.report(job, model, &before, &pruned)
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

    /// Why the model that was written is another one than the network that was trained.
    fn other_than_trained(&self, agreement: Agreement) -> Result<String, Error> {
        if let Some(images) = self.proof.images() {
            let path = &self.job.input;
            let answers = trained::answers_of_original(path, self.original, images, self.observer);
            let original = match answers {
                Some(answers) => (self.proof).agreement_with_trained(&answers, self.original)?,
                None => None,
            };
            if let Some(original) = original.filter(|&o| agreement.holds_beside(o)) {
                return Ok(trained::hangs_on_ties(original));
            }
        }
        Ok(format!(
            "the network that was trained and the model that was made of it agree on {:.1} % of the images only: please report this model as a fault",
            100.0 * agreement.share()
        ))
    }

    /// What pruning may cost, and cost; `None` where there is no budget, or nothing to measure by.
    fn budget(&self, summary: &Summary, measured: &Measured) -> Option<BudgetReport> {
        let learned = summary.learned.as_ref();
        let max_drop = match learned {
            Some((_, options)) => options.max_drop?,
            None => self.job.budget.given()?,
        };
        let (measure, drop) = match (&measured.accuracy, measured.agreement) {
            (Some(accuracy), _) => ("accuracy", accuracy.before - accuracy.after),
            (None, Some(agreement)) => ("agreement", 1.0 - agreement),
            (None, None) => return None,
        };
        Some(BudgetReport {
            measure: measure.to_owned(),
            max_drop,
            drop,
            met: within_budget(drop, max_drop),
            attempts: learned.map_or(Vec::new(), |(learned, _)| learned.attempts.clone()),
        })
    }
}

/// A share may be missed by so much, for parts of filters.
const MISSED: f64 = 0.02;

/// That fewer filters went than were asked for.
fn missed(options: &Options, totals: &Totals) -> Option<String> {
    let asked = options.selector.asked()?;
    let gone = totals.pruned_ratio;
    if options.cost != Cost::Filters || gone + MISSED > asked {
        return None;
    }
    let why = match totals.masked_but_kept {
        0 if gone == 0.0 => "none of its binary layers can lose filters".to_owned(),
        0 => "layers keep their last filters, or multiples of some".to_owned(),
        n => format!("{n} masked ones have to stay; --keep leaves their layers whole"),
    };
    Some(format!(
        "--ratio asks for {:.1} % of the filters, and {:.1} % went: {why} (the report says so of each layer)",
        100.0 * asked,
        100.0 * gone
    ))
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
