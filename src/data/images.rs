//! Images to train on and images to validate on.

use super::{Dataset, Preprocess};

/// Images split in two, ready to be batched.
#[derive(Debug)]
pub struct Images {
    /// Images to learn from.
    pub train: Dataset,
    /// Which of them.
    pub train_indices: Vec<usize>,
    /// Images to validate on; `None`: they are in `train`.
    pub val: Option<Dataset>,
    /// Which of them.
    pub val_indices: Vec<usize>,
    /// How pixels become the model's input.
    pub preprocess: Preprocess,
    /// Where the validation images came from, in words.
    pub val_source: String,
}

impl Images {
    /// The data set that holds the validation images.
    pub fn val_set(&self) -> &Dataset {
        self.val.as_ref().unwrap_or(&self.train)
    }

    /// Images that were left out, and why.
    pub fn skipped(&self) -> Vec<String> {
        let val = self.val.iter().flat_map(|set| &set.skipped);
        self.train.skipped.iter().chain(val).cloned().collect()
    }
}
