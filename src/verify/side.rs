//! One of the two models that are compared, laid open.

use ndarray::{ArrayD, Axis, Zip, concatenate};
use prost::Message as _;

use super::batched::BatchedSession;
use super::pairing::{self, Measured};
use super::probe::{self, Decision};
use super::rounding::{Bound, Bounds, Values};
use super::runtime::{Optimization, Runtime, RuntimeError, SessionOptions};
use crate::graph::{Facts, Graph};
use crate::onnx::DataType;
use crate::onnx::proto::ModelProto;

/// A model's graph, its decisions, and the tensors that they read.
pub(super) struct Side<'m> {
    pub model: &'m ModelProto,
    pub graph: Graph<'m>,
    pub facts: Facts,
    pub decisions: Vec<Decision>,
    /// Unit roundoff of the runtime's arithmetic, in units of `f32`. A runtime without 16-bit
    /// arithmetic computes in `f32` in its place: until that is measured, it is taken to.
    pub units: f32,
}

/// Unit roundoff of `f32`, in which bounds are computed ([`super::rounding`]).
const UNIT: f32 = 1.0 / (1 << 24) as f32;

/// Unit roundoff of a float type, in units of `f32`.
fn units(kind: DataType) -> f32 {
    match kind {
        DataType::F16 => (1 << 13) as f32,
        DataType::Bf16 => (1 << 16) as f32,
        DataType::F64 => 1.0 / (1 << 29) as f32,
        _ => 1.0,
    }
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
        let facts = facts.in_single();
        let decisions = probe::decisions(&graph, &facts);
        let mut side = Self {
            model,
            graph,
            facts,
            decisions,
            units: 1.0,
        };
        let floats: Vec<DataType> = side.kinds().filter(|kind| kind.is_float()).collect();
        if !floats.is_empty() && floats.iter().all(|&kind| kind == DataType::F64) {
            side.units = units(DataType::F64);
        }
        Ok(side)
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

    /// How far rounding can move each element of a tensor, in the arithmetic that the runtime does,
    /// and when it is read.
    pub(super) fn bound(
        &self,
        bounds: &Bounds<'_>,
        tensor: &str,
        values: &Values,
    ) -> Option<Bound> {
        let bound = bounds.of(tensor)?;
        let reading = match (self.half_units(), self.units < 1.0) {
            (Some(units), _) => units * UNIT,
            (None, true) => UNIT,
            (None, false) => return Some(bound),
        };
        let value = values.get(tensor);
        bound.map(|part| {
            let mut scaled = part * self.units;
            if let Some(value) = value.filter(|v| v.shape() == part.shape()) {
                Zip::from(&mut scaled)
                    .and(part)
                    .and(value)
                    .for_each(|scaled, &p, v| {
                        if p > 0.0 {
                            *scaled = scaled.max(2.0 * reading * v.abs());
                        }
                    });
            }
            Some(scaled)
        })
    }

    /// The unit of the 16-bit floats that the model is written in, in units of `f32`; `None` where it
    /// is not.
    pub(super) fn half_units(&self) -> Option<f32> {
        let halves = self.kinds().filter(|kind| kind.is_half());
        halves.map(units).reduce(f32::max)
    }

    fn kinds(&self) -> impl Iterator<Item = DataType> {
        let computed = self.graph.tensors().filter(|&t| self.computes(t));
        computed.filter_map(|t| DataType::from_onnx(self.facts.element(t)?))
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
