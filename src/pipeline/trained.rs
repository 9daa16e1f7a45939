//! What a network answers that was trained here, held against what a runtime makes of the model written.

use std::collections::HashMap;

use crate::data::Images;
use crate::subsidiary::NativePredictions;

/// The written model must predict what the trained network does on at least this share of images;
/// ties may fall either way.
const LEAST_AGREEMENT: f64 = 0.98;
/// On few images, so many may differ.
const FEW_TIES: usize = 2;

/// The classes that a trained network gives (at most 2,000) validation images, by the images' indices.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<usize, usize>);

/// On how many images a model predicts what the trained network did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    same: usize,
    images: usize,
}

impl Answers {
    /// By image.
    pub(super) fn new(found: NativePredictions) -> Self {
        Self(found.images.into_iter().zip(found.classes).collect())
    }

    /// How many of them a model gives too that predicts `classes` for the validation images; `None` where it
    /// predicts none.
    pub(super) fn agreement(&self, images: &Images, classes: &[usize]) -> Option<Agreement> {
        let predicted = images.val_indices.iter().zip(classes);
        let both: Vec<bool> = predicted
            .filter_map(|(image, class)| Some(self.0.get(image)? == class))
            .collect();
        let same = both.iter().filter(|&&same| same).count();
        (!both.is_empty()).then_some(Agreement {
            same,
            images: both.len(),
        })
    }
}

impl Agreement {
    /// As a fraction.
    pub(super) fn share(self) -> f64 {
        self.same as f64 / self.images.max(1) as f64
    }

    /// Whether both are one network: what differs may be ties.
    pub(super) fn holds(self) -> bool {
        self.share() >= LEAST_AGREEMENT || self.images - self.same <= FEW_TIES
    }
}
