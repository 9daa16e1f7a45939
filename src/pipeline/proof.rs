//! Verification, accuracy and latency in a runtime.

use prost::Message as _;

use super::Job;
use crate::data::Images;
use crate::error::Error;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::report::{AccuracyReport, LatencyReport};
use crate::rewrite::Eliminated;
use crate::verify::{
    self, BatchedSession, ChannelMap, LatencyOptions, Runtime, Samples, SessionOptions,
    Verification,
};

/// Random inputs compared where there are no images.
const RANDOM_SAMPLES: usize = 256;
/// Samples a run.
const BATCH: usize = 64;

/// Runs models in a runtime, on validation images or seeded random inputs.
pub(super) struct Proof<'a> {
    runtime: &'a dyn Runtime,
    images: Option<&'a Images>,
    observer: &'a dyn Observer,
    seed: u64,
    options: SessionOptions,
}

impl<'a> Proof<'a> {
    pub(super) fn new(
        job: &Job,
        runtime: &'a dyn Runtime,
        images: Option<&'a Images>,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            runtime,
            images,
            observer,
            seed: job.seed,
            options: SessionOptions::default(),
        }
    }

    fn samples(&self) -> Samples<'a> {
        match self.images {
            Some(images) => Samples::Images {
                data: images.val_set(),
                indices: &images.val_indices,
                preprocess: &images.preprocess,
            },
            None => Samples::Random {
                seed: self.seed,
                count: RANDOM_SAMPLES,
            },
        }
    }

    fn load(&self, model: &ModelProto) -> Result<BatchedSession, Error> {
        let session = self.runtime.load(&model.encode_to_vec(), &self.options)?;
        Ok(BatchedSession::new(session))
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        match self.observer.cancelled() {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }

    /// Masked against pruned model.
    pub(super) fn verify(
        &self,
        masked: &ModelProto,
        eliminated: &Eliminated,
    ) -> Result<Verification, Error> {
        self.check_cancelled()?;
        let mut map = ChannelMap::default();
        for (tensor, cut) in &eliminated.channels {
            map.insert(tensor.clone(), cut.axis, cut.kept.clone());
        }
        Ok(verify::verify(
            self.runtime,
            masked,
            &eliminated.model,
            &map,
            &self.samples(),
            BATCH,
            &self.options,
        )?)
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
        let truth: Vec<usize> = images.val_indices.iter().map(|&i| labels[i]).collect();
        let of = |model: &ModelProto| -> Result<f64, Error> {
            self.check_cancelled()?;
            let mut session = self.load(model)?;
            Ok(verify::accuracy(&mut session, &self.samples(), &truth, BATCH)?.fraction)
        };
        Ok(Some(AccuracyReport {
            before: of(original)?,
            after_masking,
            masked: of(masked)?,
            after: of(pruned)?,
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
        let (mut first, mut second) = (self.load(original)?, self.load(pruned)?);
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
