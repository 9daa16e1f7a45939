//! A network ready to be run, by running statistics.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::batch::PartSize;
use super::boundary::Boundary;
use super::error::RunError;
use super::plan::Plan;
use super::value::Value;
use super::weights::Weights;
use crate::network::{Network, StepId};

/// Some steps of a network, ready to run: packed weights and thresholds are computed once. It is of
/// the network as it was; what is changed there afterwards does not come here.
#[derive(Debug)]
pub struct Inference<'n> {
    network: Cow<'n, Network>,
    weights: Arc<Weights>,
    plan: Plan,
}

impl Boundary {
    /// The start of a run of the whole network on `x` `[N, …]`.
    ///
    /// # Errors
    /// If a sample has another shape than the model's input.
    pub fn start(network: &Network, x: ArrayD<f32>) -> Result<Self, RunError> {
        if x.shape().get(1..) != Some(network.input_shape()) {
            return Err(RunError::InputShape {
                given: x.shape().to_vec(),
                expected: network.input_shape().to_vec(),
            });
        }
        Ok(Self {
            step: StepId(0),
            values: vec![(network.input(), Value::from(x))],
        })
    }
}

impl<'n> Inference<'n> {
    /// The steps `range` of `network`.
    pub fn new(network: Cow<'n, Network>, range: Range<StepId>) -> Self {
        let weights = Weights::new(&network);
        Self {
            plan: Plan::inference(&network, &weights, range),
            weights: Arc::new(weights),
            network,
        }
    }

    /// All steps of `network`.
    pub fn of(network: &'n Network) -> Self {
        Self::new(Cow::Borrowed(network), network.all())
    }

    /// The start of a run of the whole network on `x` `[N, …]`: see [`Boundary::start`].
    ///
    /// # Errors
    /// If a sample has another shape than the model's input.
    pub fn start(&self, x: ArrayD<f32>) -> Result<Boundary, RunError> {
        Boundary::start(&self.network, x)
    }

    /// Runs the steps, and gives what a run from the end needs. Sums of binary layers are integers,
    /// whatever the file's order.
    ///
    /// # Errors
    /// If shapes do not fit, or the boundary is not at the first of the steps.
    pub fn run(&self, from: &Boundary) -> Result<Boundary, RunError> {
        let pass = |from: &Boundary| {
            let trace = self.plan.forward(&self.network, &self.weights, from)?;
            Ok(trace.boundary())
        };
        let elements = from.elements() / from.batch().max(1);
        let parts = PartSize::INFERENCE.parts(from.batch(), elements);
        if parts.len() <= 1 {
            return pass(from);
        }
        let parts: Vec<Boundary> = parts
            .into_par_iter()
            .map(|rows| pass(&from.rows(rows)))
            .collect::<Result<_, _>>()?;
        Ok(Boundary::joined(&parts))
    }

    /// The logits of a run, where the steps go to the network's end.
    ///
    /// # Errors
    /// If shapes do not fit, or the boundary is not at the first of the steps.
    pub fn logits(&self, from: &Boundary) -> Result<ArrayD<f32>, RunError> {
        let mut values = self.run(from)?.values.into_iter();
        let logits = values.find(|(v, _)| *v == self.network.logits());
        let (_, logits) = logits.ok_or_else(|| RunError::Missing {
            node: "graph output".to_owned(),
        })?;
        Ok(logits.into_float())
    }

    /// The logits of `x` `[N, …]`, where the steps are all of the network's.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn infer(&self, x: ArrayD<f32>) -> Result<ArrayD<f32>, RunError> {
        self.logits(&self.start(x)?)
    }

    /// The graph's own output for `x`: the logits, through the softmax or sigmoid if the graph ends in one.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn infer_output(&self, x: ArrayD<f32>) -> Result<ArrayD<f32>, RunError> {
        let logits = self.infer(x)?;
        Ok(match self.network.head() {
            Some(head) => head.apply(logits),
            None => logits,
        })
    }
}
