//! What a network answers that was trained here, held against what a runtime makes of the model written.

use std::collections::HashMap;
use std::path::Path;

use super::View;
use crate::data::Images;
use crate::network::Network;
use crate::onnx::proto::ModelProto;
use crate::progress::Observer;
use crate::subsidiary::{NativePredictions, native_predictions};

/// The written model must predict what the trained network does on at least this share of images;
/// ties may fall either way.
const LEAST_AGREEMENT: f64 = 0.98;
/// On few images, so many may differ.
const FEW_TIES: usize = 2;

/// On how many images a model predicts what the trained network did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    same: usize,
    images: usize,
}

impl Agreement {
    /// Of what a trained network answered, with a model that predicts `classes` for the validation images; `None`
    /// where it predicts none.
    pub(super) fn of(
        trained: &NativePredictions,
        images: &Images,
        classes: &[usize],
    ) -> Option<Self> {
        let answers = trained.images.iter().zip(&trained.classes);
        let answers: HashMap<&usize, &usize> = answers.collect();
        let predicted = images.val_indices.iter().zip(classes);
        let both: Vec<bool> = predicted
            .filter_map(|(image, class)| Some(*answers.get(image)? == class))
            .collect();
        let same = both.iter().filter(|&&same| same).count();
        (!both.is_empty()).then_some(Self {
            same,
            images: both.len(),
        })
    }

    /// As a fraction.
    pub(super) fn share(self) -> f64 {
        self.same as f64 / self.images.max(1) as f64
    }

    /// Whether both are one network: what differs may be ties.
    pub(super) fn holds(self) -> bool {
        self.share() >= LEAST_AGREEMENT || self.images - self.same <= FEW_TIES
    }

    /// The same where a network that nobody trained agrees with itself like `original`: it has as many ties.
    pub(super) fn holds_beside(self, original: Self) -> bool {
        self.holds() || self.share() + (1.0 - LEAST_AGREEMENT) >= original.share()
    }
}

/// What the native network of the original at `path` answers; `None` where there is none.
pub(super) fn answers_of_original(
    path: &Path,
    original: &ModelProto,
    images: &Images,
    observer: &dyn Observer,
) -> Option<NativePredictions> {
    let view = View::new(path, original).ok()?;
    let network = Network::import(&view.graph, &view.facts, &view.layers).ok()?;
    native_predictions(&network, images, observer).ok()
}

/// That a network's answers hang on ties, in the words of a warning.
pub(super) fn hangs_on_ties(original: Agreement) -> String {
    format!(
        "the original as computed here and in the runtime gives {:.1} % of the images the same class only: its answers hang on sums that are equal but for rounding, which fall either way (--to integer writes whole numbers, which do not)",
        100.0 * original.share()
    )
}
