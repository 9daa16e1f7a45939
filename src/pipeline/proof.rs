//! Verification, accuracy and latency in a runtime.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::channels::kept_channels;
use super::trained::Agreement;
use super::{Job, sizes};
use crate::data::Images;
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::report::{AccuracyReport, LatencyReport};
use crate::rewrite::Eliminated;
use crate::runnable::runnable;
use crate::subsidiary::NativePredictions;
use crate::verify::{
    self, BatchedSession, KeptChannels, LatencyOptions, Optimization, Predictions, Runtime,
    RuntimeError, Samples, SessionOptions, Verification, VerifyOptions,
};

/// Random inputs compared where there are no images.
const RANDOM_SAMPLES: usize = 256;
/// Samples a run.
pub(super) const BATCH: usize = 64;
/// Samples compared at each lower level of optimisation.
const LOWER_LEVEL_SAMPLES: usize = BATCH;

/// Runs models in a runtime, on validation images or seeded random inputs.
pub(super) struct Proof<'a> {
    pub(super) job: &'a Job,
    runtime: &'a dyn Runtime,
    pub(super) images: Option<&'a Images>,
    pub(super) observer: &'a dyn Observer,
    options: SessionOptions,
    /// At most so many samples.
    most: usize,
    /// The classes that models have given the samples, by the models' sums: what is known is not run
    /// again.
    seen: RefCell<HashMap<Sum, Predictions>>,
}

/// A model's SHA-256.
type Sum = [u8; 32];

fn sum(model: &ModelProto) -> Sum {
    Sha256::digest(model.encode_to_vec()).into()
}

/// Share of samples of which both say the same.
fn alike(before: &Predictions, after: &Predictions) -> f64 {
    let both = before.first.iter().zip(&after.first);
    let same = both.filter(|(a, b)| a == b).count();
    same as f64 / after.len().max(1) as f64
}

impl<'a> Proof<'a> {
    pub(super) fn new(
        job: &'a Job,
        runtime: &'a dyn Runtime,
        images: Option<&'a Images>,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            job,
            runtime,
            images,
            observer,
            options: SessionOptions::default(),
            most: usize::MAX,
            seen: RefCell::default(),
        }
    }

    /// The same on a single batch.
    pub(super) fn on_one_batch(&self) -> Self {
        Self {
            most: BATCH,
            ..Self::new(self.job, self.runtime, self.images, self.observer)
        }
    }

    fn samples(&self) -> Samples<'a> {
        match self.images {
            Some(images) => first(images, self.most),
            None => Samples::Random {
                seed: self.job.seed,
                count: RANDOM_SAMPLES.min(self.most),
            },
        }
    }

    /// What models are held against each other on; `None`: random numbers.
    pub(super) fn images(&self) -> Option<&'a Images> {
        self.images
    }

    /// Who runs the models.
    pub(super) fn runtime(&self) -> &'a dyn Runtime {
        self.runtime
    }

    /// Two models where the runtime rewrites less of them than usual, by the level of optimisation, on
    /// some of the samples; what fails on these, of which one tie is a large share, is judged on all.
    ///
    /// # Errors
    /// If the runtime refuses either, or they have other interfaces.
    pub(super) fn at_lower_levels(
        &self,
        reference: &ModelProto,
        candidate: &ModelProto,
    ) -> Result<BTreeMap<&'static str, Verification>, Error> {
        let mut found = BTreeMap::new();
        for (name, optimization) in [("off", Optimization::Off), ("basic", Optimization::Basic)] {
            let judged = |most: usize| {
                self.check_cancelled()?;
                let at = Self {
                    most: self.most.min(most),
                    options: SessionOptions {
                        optimization,
                        ..self.options
                    },
                    ..Self::new(self.job, self.runtime, self.images, self.observer)
                };
                let map = KeptChannels::default();
                at.agreement(reference, candidate, &map)
                    .map_err(Error::from)
            };
            let mut verification = judged(LOWER_LEVEL_SAMPLES)?;
            if !verification.passed {
                verification = judged(usize::MAX)?;
            }
            found.insert(name, verification);
        }
        Ok(found)
    }

    fn load(&self, model: &ModelProto) -> Result<BatchedSession, Error> {
        session(self.runtime, model, &self.options)
    }

    /// What the runtime said of the pruned model, as a failed verification.
    fn refused(&self, reason: &str) -> Error {
        let output = self.job.output.as_ref();
        Error::Verification(format!(
            "{}: the pruned model failed verification: {reason}{}",
            self.job.input.display(),
            output.map_or(String::new(), |o| format!(
                "; {} was not written",
                o.display()
            ))
        ))
    }

    fn load_pruned(&self, model: &ModelProto) -> Result<BatchedSession, Error> {
        self.load(model).map_err(|e| self.of_pruned(e))
    }

    /// An error that the pruned model met in the runtime, as a failed verification.
    fn of_pruned(&self, e: Error) -> Error {
        match e {
            Error::Runtime(e)
                if !matches!(e, RuntimeError::Missing(_) | RuntimeError::Images(_)) =>
            {
                self.refused(&e.to_string())
            }
            other => other,
        }
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        match self.observer.cancelled() {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }

    /// Masked against pruned model.
    ///
    /// # Errors
    /// [`Error::Verification`] if the runtime refuses the pruned model or its outputs have other
    /// shapes; other errors are the masked model's.
    pub(super) fn verify(
        &self,
        masked: &ModelProto,
        eliminated: &Eliminated,
    ) -> Result<Verification, Error> {
        self.check_cancelled()?;
        let reference = runnable(masked)?;
        let candidate = runnable(&eliminated.model)?;
        let map = kept_channels(eliminated, [&reference, &candidate]);
        let found = self.agreement(&reference.model, &candidate.model, &map);
        let found = found.map_err(|e| match e {
            RuntimeError::Candidate(reason) => self.refused(&reason),
            other => other.into(),
        })?;
        self.remember([masked, &eliminated.model], &found);
        Ok(found)
    }

    /// Keeps what two models said of the samples.
    fn remember(&self, models: [&ModelProto; 2], found: &Verification) {
        for (model, predictions) in models.into_iter().zip(&found.predictions) {
            if predictions.len() == found.samples {
                let mut seen = self.seen.borrow_mut();
                seen.insert(sum(model), predictions.clone());
            }
        }
    }

    /// The class that a model gives each sample.
    fn predictions(&self, model: &ModelProto) -> Result<Predictions, Error> {
        self.check_cancelled()?;
        let key = sum(model);
        if let Some(known) = self.seen.borrow().get(&key) {
            return Ok(known.clone());
        }
        let mut session = self.load(model)?;
        let threshold = verify::threshold_of_one_output(model);
        let found = verify::predict(&mut session, &self.samples(), BATCH, threshold)?;
        self.seen.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// Masked and pruned model at other sizes of images than the one that the model was given.
    ///
    /// # Errors
    /// As [`Proof::verify`].
    pub(super) fn at_other_sizes(
        &self,
        model: &Model,
        masked: &ModelProto,
        eliminated: &Eliminated,
    ) -> Result<sizes::Elsewhere, Error> {
        self.check_cancelled()?;
        sizes::at_others(model, masked, eliminated, self.runtime, self.job.seed)
    }

    /// Two models that differ as `map` says.
    ///
    /// # Errors
    /// If the runtime refuses either, or they have other interfaces.
    pub(super) fn compare(
        &self,
        reference: &ModelProto,
        candidate: &ModelProto,
        map: &KeptChannels,
    ) -> Result<Verification, Error> {
        self.check_cancelled()?;
        let found = self.agreement(reference, candidate, map)?;
        self.remember([reference, candidate], &found);
        Ok(found)
    }

    fn agreement(
        &self,
        reference: &ModelProto,
        candidate: &ModelProto,
        map: &KeptChannels,
    ) -> Result<Verification, RuntimeError> {
        let options = VerifyOptions {
            session: self.options,
            ..VerifyOptions::in_batches_of(BATCH)
        };
        let samples = self.samples();
        verify::verify(self.runtime, reference, candidate, map, &samples, &options)
    }

    /// Share of samples on which original and pruned model give the same top-1 class; `None` where
    /// they have no classes. A pruned model that was verified is not run again.
    ///
    /// # Errors
    /// [`Error::Verification`] if the runtime refuses the pruned model; other errors are the
    /// original's.
    pub(super) fn agreement_with(
        &self,
        original: &ModelProto,
        pruned: &ModelProto,
    ) -> Result<Option<f64>, Error> {
        self.check_cancelled()?;
        let known = self.seen.borrow().get(&sum(pruned)).cloned();
        if let Some(after) = known.filter(|known| !known.is_empty()) {
            return Ok(Some(alike(&self.predictions(original)?, &after)));
        }
        let (mut first, mut second) = (self.load(original)?, self.load_pruned(pruned)?);
        let tolerance = verify::Tolerance::default();
        let found = verify::compare(&mut first, &mut second, &self.samples(), BATCH, tolerance);
        let found = found.map_err(|e| match e {
            RuntimeError::Candidate(reason) => self.refused(&reason),
            other => other.into(),
        })?;
        if found.top1_agreement.is_none() && self.one_number_tells_classes(original) {
            let after = self.predictions(pruned).map_err(|e| self.of_pruned(e))?;
            return Ok(Some(alike(&self.predictions(original)?, &after)));
        }
        Ok(found.top1_agreement)
    }

    /// Whether one number a sample is that of a classifier: by labels, or as it is a probability.
    fn one_number_tells_classes(&self, model: &ModelProto) -> bool {
        self.images.is_some_and(|images| {
            images.val_set().labels.is_some() || verify::threshold_of_one_output(model) > 0.0
        })
    }

    /// On how many validation images a model gives the class that the trained network gave; `None` where it
    /// has no classes.
    ///
    /// # Errors
    /// If the runtime refuses it.
    pub(super) fn agreement_with_trained(
        &self,
        trained: &NativePredictions,
        pruned: &ModelProto,
    ) -> Result<Option<Agreement>, Error> {
        let Some(images) = self.images else {
            return Ok(None);
        };
        let predicted = self.predictions(pruned).map_err(|e| self.of_pruned(e))?;
        Ok(Agreement::of(trained, images, &predicted.first))
    }

    /// Accuracy of the original, the masked and the pruned model; `None` without labelled images.
    pub(super) fn accuracy(
        &self,
        original: &ModelProto,
        masked: &ModelProto,
        pruned: &ModelProto,
        after_masking: Option<f64>,
    ) -> Result<Option<AccuracyReport>, Error> {
        let Some((images, labels)) = self
            .images
            .and_then(|i| Some((i, i.val_set().labels.as_ref()?)))
        else {
            return Ok(None);
        };
        let chosen = images.val_indices.iter().take(self.most);
        let truth: Vec<usize> = chosen.map(|&i| labels[i]).collect();
        let of = |model: &ModelProto| -> Result<verify::Accuracy, Error> {
            Ok(verify::Accuracy::of(self.predictions(model)?, &truth)?)
        };
        let before = of(original)?;
        let after = of(pruned).map_err(|e| self.of_pruned(e))?;
        Ok(Some(AccuracyReport {
            before: before.fraction,
            after_masking,
            masked: of(masked)?.fraction,
            after: after.fraction,
            top5_before: before.top5,
            top5_after: after.top5,
            samples: truth.len(),
            source: images.val_source.clone(),
        }))
    }

    /// Median latency of the original and the pruned model, one sample at a time.
    pub(super) fn latency(
        &self,
        original: &ModelProto,
        pruned: &ModelProto,
    ) -> Result<LatencyReport, Error> {
        self.check_cancelled()?;
        let mut first = self.load(original)?;
        if original == pruned {
            let options = LatencyOptions::default();
            let times = verify::latency_ms(&mut [&mut first], &self.samples(), &options)?;
            let same = times.first().copied().unwrap_or(f64::NAN);
            return Ok(LatencyReport {
                before: same,
                after: same,
                ratio: 1.0,
            });
        }
        let mut second = self.load_pruned(pruned)?;
        let times = verify::latency_ms(
            &mut [&mut first, &mut second],
            &self.samples(),
            &LatencyOptions::default(),
        );
        let times = times.map_err(|e| match e {
            RuntimeError::Candidate(reason) => self.refused(&reason),
            other => other.into(),
        })?;
        let (before, after) = match times[..] {
            [before, after] => (before, after),
            _ => (f64::NAN, f64::NAN),
        };
        Ok(LatencyReport {
            before,
            after,
            ratio: after / before,
        })
    }
}

/// A session of `model`, in standard operators.
pub(super) fn session(
    runtime: &dyn Runtime,
    model: &ModelProto,
    options: &SessionOptions,
) -> Result<BatchedSession, Error> {
    let lowered = runnable(model)?;
    let session = runtime.load(&lowered.model.encode_to_vec(), options)?;
    Ok(BatchedSession::new(session))
}

/// The validation images.
pub(super) fn validation(images: &Images) -> Samples<'_> {
    first(images, usize::MAX)
}

/// The first of the validation images, at most `count`.
fn first(images: &Images, count: usize) -> Samples<'_> {
    let all = &images.val_indices;
    Samples::Images {
        data: images.val_set(),
        indices: all.get(..count).unwrap_or(all),
        preprocess: &images.preprocess,
    }
}

#[cfg(test)]
mod tests;
