//! Values of `--optimizer`: those of the table of optimisers.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::training::{Adam, OPTIMIZERS, OptimizerRule};

/// An optimiser.
#[derive(Debug, Clone, Copy)]
pub struct OptimizerName(pub &'static dyn OptimizerRule);

static ALL: LazyLock<Vec<OptimizerName>> =
    LazyLock::new(|| OPTIMIZERS.iter().copied().map(OptimizerName).collect());

impl Default for OptimizerName {
    fn default() -> Self {
        Self(&Adam)
    }
}

impl ValueEnum for OptimizerName {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}
