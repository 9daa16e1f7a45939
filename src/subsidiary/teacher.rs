//! What the original network says of training images: what distillation compares with.

use std::borrow::Cow;

use ndarray::{ArrayD, Axis};

use super::Options;
use super::error::TrainError;
use super::evaluate::{RunContext, Subset, logits_counted};
use super::span::{Span, TrainingImages};
use super::trainer::Trainer;
use crate::data::Images;
use crate::engine::{Boundary, Inference};
use crate::network::Network;
use crate::progress::Phase;

/// Where the original's logits come from.
#[derive(Debug)]
pub(super) enum Teacher {
    /// Kept, `[N, K]` of all training images: these are always the same.
    Kept(ArrayD<f32>),
    /// Computed: each image is varied at random, and both networks must see the same one.
    Asked(Box<Inference<'static>>),
}

impl Teacher {
    /// None where the loss is cross-entropy with the labels alone.
    pub(super) fn new(
        network: &Network,
        images: &Images,
        options: &Options,
        context: &RunContext<'_>,
    ) -> Result<Option<Self>, TrainError> {
        if images.train.labels.is_some() && options.distill == 0.0 {
            return Ok(None);
        }
        if !options.augment.is_none() {
            let original = Inference::new(Cow::Owned(network.clone()), network.all());
            return Ok(Some(Self::Asked(Box::new(original))));
        }
        let &RunContext {
            observer,
            processes,
        } = context;
        let all: Vec<usize> = (0..images.train.len()).collect();
        // Of large images this takes long.
        let what = "asking the original about the images";
        let _asking = Phase::of(observer, what, all.len() as u64);
        // Each process has about as many.
        let asked = |count: usize| observer.advance((count * processes.size()) as u64);
        let of = Subset::of_training(images, &all);
        let logits = logits_counted(network, &of, context, &asked)?;
        Ok(Some(Self::Kept(logits)))
    }
}

/// A batch to learn from.
#[derive(Debug)]
pub(super) struct Sample {
    /// What the frozen part gives for it.
    pub(super) boundary: Boundary,
    /// The original's logits, where it teaches.
    pub(super) taught: Option<ArrayD<f32>>,
}

impl Trainer<'_> {
    /// Training images to learn from.
    pub(super) fn sample(
        &self,
        span: &Span,
        indices: &[usize],
        read: TrainingImages,
    ) -> Result<Sample, TrainError> {
        // A process without a part of a small batch.
        if indices.is_empty() {
            return Ok(Sample {
                boundary: Boundary {
                    step: span.from,
                    values: Vec::new(),
                },
                taught: None,
            });
        }
        if let Some(Teacher::Asked(original)) = &self.teacher {
            let x = self.input(indices, read)?;
            let taught = original.logits(&original.start(x.clone())?)?;
            let boundary = match self.kept(span, indices, read) {
                Some(boundary) => boundary,
                None => self.prefix(span, x)?,
            };
            return Ok(Sample {
                boundary,
                taught: Some(taught),
            });
        }
        let taught = match &self.teacher {
            Some(Teacher::Kept(all)) => Some(all.select(Axis(0), indices)),
            _ => None,
        };
        Ok(Sample {
            boundary: self.boundary(span, indices, read)?,
            taught,
        })
    }
}
