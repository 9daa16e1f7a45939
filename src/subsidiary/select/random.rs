//! Any filters, by seed: what every other way of choosing has to beat.

use super::{Rule, RuleContext, TrainError};
use crate::subsidiary::rules;

#[derive(Debug)]
pub(super) struct Random;

impl Rule for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn about(&self) -> &'static str {
        "Prune filters at random"
    }

    fn scores(&self, context: &mut RuleContext<'_, '_>) -> Result<Vec<f64>, TrainError> {
        let places = rules::shuffled(context.filters(), context.seed);
        Ok(places.into_iter().map(|place| -(place as f64)).collect())
    }
}
