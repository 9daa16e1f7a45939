//! One of the two models that are compared, laid open.

use ndarray::{ArrayD, Axis, concatenate};
use prost::Message as _;

use super::batched::BatchedSession;
use super::pairing::{self, Measured};
use super::probe::{self, Decision};
use super::rounding::Values;
use super::runtime::{Optimization, Runtime, RuntimeError, SessionOptions};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;

/// A model's graph, its decisions, and the tensors that they read.
pub(super) struct Side<'m> {
    pub model: &'m ModelProto,
    pub graph: Graph<'m>,
    pub facts: Facts,
    pub decisions: Vec<Decision>,
}

/// A model with one thread.
pub(super) fn load(
    runtime: &dyn Runtime,
    model: &ModelProto,
    optimization: Optimization,
) -> Result<BatchedSession, RuntimeError> {
    let options = SessionOptions {
        optimization,
        threads: 1,
    };
    let session = runtime.load(&model.encode_to_vec(), &options);
    session.map(BatchedSession::new)
}

/// Measurements of several samples as one.
pub(super) fn join(samples: Vec<Vec<Measured>>) -> Vec<Measured> {
    let count = samples.first().map_or(0, Vec::len);
    let of = |decision: usize| -> Measured {
        let parts = samples.iter().map(|sample| sample.get(decision)?.as_ref());
        let parts: Option<Vec<_>> = parts.collect();
        let views: Vec<_> = parts?.into_iter().map(|part| part.view()).collect();
        concatenate(Axis(0), &views).ok()
    };
    (0..count).map(of).collect()
}

impl<'m> Side<'m> {
    pub(super) fn new(model: &'m ModelProto) -> Result<Self, RuntimeError> {
        let unusable = |e: &dyn std::fmt::Display| RuntimeError::Interface(e.to_string());
        let graph = Graph::new(model).map_err(|e| unusable(&e))?;
        let facts = Facts::infer(&graph, 1).map_err(|e| unusable(&e))?;
        let decisions = probe::decisions(&graph, &facts);
        Ok(Self {
            model,
            graph,
            facts,
            decisions,
        })
    }

    /// Whether a tensor is computed from the inputs.
    pub(super) fn computes(&self, t: crate::graph::TensorId) -> bool {
        self.facts.is_data(t) && self.graph.producer(t).is_some()
    }

    /// The computed tensors that decisions read.
    pub(super) fn read(&self) -> Vec<String> {
        let names = self.decisions.iter().flat_map(|d| &d.inputs);
        let computed = names.filter(|name| self.graph.find(name).is_some_and(|t| self.computes(t)));
        computed.cloned().collect()
    }

    pub(super) fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.facts.shape(self.graph.find(tensor)?)
    }

    pub(super) fn constant(&self, name: &str) -> Option<ndarray::ArrayViewD<'_, f32>> {
        let value = self.facts.constant(self.graph.find(name)?)?;
        value.as_f32().map(|value| value.view())
    }

    /// An operand of a decision, broadcast to the decision's shape.
    pub(super) fn operand(
        &self,
        name: &str,
        values: &Values,
        shape: &[usize],
    ) -> Result<ArrayD<f32>, &'static str> {
        let measured = values.get(name).map(|value| value.view());
        measured
            .or_else(|| self.constant(name))
            .and_then(|value| Some(value.broadcast(shape)?.to_owned()))
            .ok_or("has an operand whose value is unknown")
    }

    /// What each decision depends on, in one run.
    pub(super) fn measured(&self, values: &Values) -> Vec<Measured> {
        let of = |decision: &Decision| {
            let operands = decision.inputs.iter().map(|name| {
                let measured = values.get(name).map(|value| value.view());
                Some(measured.or_else(|| self.constant(name))?.to_owned())
            });
            pairing::measured(&decision.op, operands.collect::<Option<_>>()?)
        };
        self.decisions.iter().map(of).collect()
    }
}
