//! Verification, accuracy and latency in a runtime.

use prost::Message as _;

use super::{Job, sizes};
use crate::data::Images;
use crate::error::Error;
use crate::onnx::Model;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::report::{AccuracyReport, LatencyReport};
use crate::rewrite::Eliminated;
use crate::runnable::runnable;
use crate::verify::{
    self, BatchedSession, KeptChannels, LatencyOptions, Runtime, RuntimeError, Samples,
    SessionOptions, Verification, VerifyOptions,
};

/// Random inputs compared where there are no images.
const RANDOM_SAMPLES: usize = 256;
/// Samples a run.
pub(super) const BATCH: usize = 64;

/// Runs models in a runtime, on validation images or seeded random inputs.
pub(super) struct Proof<'a> {
    job: &'a Job,
    runtime: &'a dyn Runtime,
    images: Option<&'a Images>,
    observer: &'a dyn Observer,
    options: SessionOptions,
    /// At most so many samples.
    most: usize,
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
        }
    }

    /// The same on a single batch.
    pub(super) fn on_one_batch(self) -> Self {
        Self {
            most: BATCH,
            ..self
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
            Error::Runtime(e) if !matches!(e, RuntimeError::Missing(_)) => {
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
        let mut map = KeptChannels::default();
        for (tensor, cut) in &eliminated.channels {
            map.insert(tensor.clone(), cut.axis, cut.kept.clone());
        }
        let reference = runnable(masked)?;
        let candidate = runnable(&eliminated.model)?;
        for (tensor, of) in reference.added.iter().chain(&candidate.added) {
            if let Some(cut) = eliminated.channels.get(of) {
                map.insert(tensor.clone(), cut.axis, cut.kept.clone());
            }
        }
        self.agreement(&reference.model, &candidate.model, &map)
            .map_err(|e| match e {
                RuntimeError::Candidate(reason) => self.refused(&reason),
                other => other.into(),
            })
    }

    /// Masked and pruned model at another size of images than the one that the model was given;
    /// `None` where the masked one runs at no other.
    ///
    /// # Errors
    /// As [`Proof::verify`].
    pub(super) fn at_another_size(
        &self,
        model: &Model,
        masked: &ModelProto,
        eliminated: &Eliminated,
    ) -> Result<Option<Verification>, Error> {
        self.check_cancelled()?;
        sizes::at_another(model, masked, eliminated, self.runtime, self.job.seed)
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
        Ok(self.agreement(reference, candidate, map)?)
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
    /// they have no classes.
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
        let (mut first, mut second) = (self.load(original)?, self.load_pruned(pruned)?);
        let tolerance = verify::Tolerance::default();
        let found = verify::compare(&mut first, &mut second, &self.samples(), BATCH, tolerance);
        let found = found.map_err(|e| match e {
            RuntimeError::Candidate(reason) => self.refused(&reason),
            other => other.into(),
        })?;
        Ok(found.top1_agreement)
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
        let of = |session: Result<BatchedSession, Error>| -> Result<f64, Error> {
            self.check_cancelled()?;
            let mut session = session?;
            Ok(verify::accuracy(&mut session, &self.samples(), &truth, BATCH)?.fraction)
        };
        Ok(Some(AccuracyReport {
            before: of(self.load(original))?,
            after_masking,
            masked: of(self.load(masked))?,
            after: of(self.load_pruned(pruned)).map_err(|e| self.of_pruned(e))?,
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
        )?;
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
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use ndarray::{ArrayD, Axis, Slice};

    use super::*;
    use crate::pipeline::{Choice, run};
    use crate::progress::Silent;
    use crate::rewrite::Removal;
    use crate::verify::{NamedTensors, OrtRuntime, Session, TensorInfo};

    /// What goes wrong with every pruned model.
    #[derive(Clone, Copy, Debug)]
    enum Fault {
        Load,
        Run,
        Shape,
    }

    /// ONNX Runtime in which pruned models (the clearly smaller ones) go wrong.
    struct Broken {
        inner: OrtRuntime,
        fault: Fault,
        masked: Mutex<Option<usize>>,
    }

    impl Runtime for Broken {
        fn name(&self) -> &'static str {
            self.inner.name()
        }

        fn version(&self) -> &str {
            self.inner.version()
        }

        fn load(
            &self,
            model: &[u8],
            options: &SessionOptions,
        ) -> Result<Box<dyn Session>, RuntimeError> {
            let masked = *self.masked.lock().unwrap().get_or_insert(model.len());
            let inner = self.inner.load(model, options)?;
            if model.len() * 20 > masked * 19 {
                return Ok(inner);
            }
            match self.fault {
                // Cut short: the real runtime's own refusal.
                Fault::Load => self.inner.load(&model[..model.len() / 2], options),
                fault => Ok(Box::new(BrokenSession { inner, fault })),
            }
        }
    }

    struct BrokenSession {
        inner: Box<dyn Session>,
        fault: Fault,
    }

    impl Session for BrokenSession {
        fn inputs(&self) -> &[TensorInfo] {
            self.inner.inputs()
        }

        fn outputs(&self) -> &[TensorInfo] {
            self.inner.outputs()
        }

        fn run(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<NamedTensors, RuntimeError> {
            if matches!(self.fault, Fault::Run) {
                // Images a row too small: the real runtime's own refusal.
                let cut = |(name, x): &(String, ArrayD<f32>)| {
                    let less = x.slice_axis(Axis(2), Slice::from(1..)).to_owned();
                    (name.clone(), less)
                };
                let inputs: Vec<_> = inputs.iter().map(cut).collect();
                return self.inner.run(&inputs);
            }
            let mut outputs = self.inner.run(inputs)?;
            for (_, y) in &mut outputs {
                y.slice_axis_inplace(Axis(1), Slice::from(1..));
            }
            Ok(outputs)
        }
    }

    #[test]
    fn a_pruned_model_that_the_runtime_refuses_failed_verification() {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (masks, output) = (dir.path().join("m.json"), dir.path().join("o.onnx"));
        let pruned: Vec<usize> = (0..20).collect();
        let text = serde_json::json!({"format": "onnx-bnnprune-masks/1",
            "layers": {"/conv2/Conv": {"filters": 48, "pruned": pruned}}});
        std::fs::write(&masks, text.to_string()).unwrap();
        let job = Job {
            input: root.join("fixtures/digits_vgg.onnx"),
            output: Some(output.clone()),
            to_onnx: false,
            dry_run: false,
            source: None,
            choice: Choice::Masks(masks),
            sizes: Default::default(),
            keep: Vec::new(),
            round_to: 1,
            residual: crate::rewrite::Residual::Coupled,
            normalise: false,
            inference_mode: false,
            removal: Removal::Drop,
            save_masks: None,
            save_masked: None,
            writes: Vec::new(),
            checkpoint: None,
            seed: 0,
        };
        for (fault, word) in [
            (Fault::Load, "cannot load"),
            (Fault::Run, "cannot run"),
            (Fault::Shape, "[64, 9]"),
        ] {
            let open = || -> Result<Box<dyn Runtime>, RuntimeError> {
                Ok(Box::new(Broken {
                    inner: OrtRuntime::new(None)?,
                    fault,
                    masked: Mutex::new(None),
                }))
            };
            let error = run(&job, open, &Silent).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.exit_code(), 1, "{fault:?}: {message}");
            assert!(message.contains(word), "{fault:?}: {message}");
            assert!(
                message.contains("digits_vgg.onnx") && message.contains("o.onnx was not written"),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
            assert!(!output.exists());
        }
    }
}
