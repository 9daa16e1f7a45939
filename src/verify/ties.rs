//! Is a difference a tie, or a fault?
//!
//! Sign and its like jump. Where their input lies within rounding of the jump, two correct
//! models may decide differently, and one flipped sign changes a logit. To tell that from a
//! fault, the candidate is run again with every decision taken from the reference, so that a
//! flip upstream cannot excuse anything downstream. A tie is claimed only if then
//!
//! - the input of every decision agrees with the reference's within a rounding bound
//!   ([`super::rounding`]),
//! - wherever the candidate itself would have decided otherwise, the reference's input lies
//!   within that bound of the jump,
//! - the outputs agree as the pass rule asks, and
//! - some input does lie within the bound of a jump.
//!
//! The integer form of a binary layer decides on a sum in other units ([`ChannelMap::rescale`]):
//! there the second point stands for the first.

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn, Zip};

use super::batched::BatchedSession;
use super::channel_map::ChannelMap;
use super::compare::{Tolerance, difference};
use super::near::{self, Near, Tie};
use super::probe::{self, Decision};
use super::rounding::{Bounds, Values};
use super::runtime::{NamedTensors, Optimization, Runtime, RuntimeError, SessionOptions};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;

/// Why a sample differs by more than the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub enum Explanation {
    /// Decisions within rounding of their jump.
    Tie(Tie),
    /// Anything else, in one line.
    Fault(String),
}

/// Two models, ready to have their differences explained.
pub struct TieExplainer<'m> {
    reference: Graph<'m>,
    facts: Facts,
    map: &'m ChannelMap,
    decisions: Vec<Decision>,
    candidate_decisions: Vec<Decision>,
    exposed: BatchedSession,
    forced: BatchedSession,
    /// Constant operands of the candidate's decisions: thresholds.
    constants: Values,
    outputs: Vec<String>,
    tolerance: Tolerance,
}

impl<'m> TieExplainer<'m> {
    /// Loads both models with their decisions laid open.
    ///
    /// # Errors
    /// If a graph can't be indexed or the runtime refuses a model.
    pub fn new(
        runtime: &dyn Runtime,
        reference: &'m ModelProto,
        candidate: &'m ModelProto,
        map: &'m ChannelMap,
        tolerance: Tolerance,
    ) -> Result<Self, RuntimeError> {
        let index = |model: &'m ModelProto| -> Result<(Graph<'m>, Facts), RuntimeError> {
            let unusable = |e: &dyn std::fmt::Display| RuntimeError::Interface(e.to_string());
            let graph = Graph::new(model).map_err(|e| unusable(&e))?;
            let facts = Facts::infer(&graph, 1).map_err(|e| unusable(&e))?;
            Ok((graph, facts))
        };
        // As written: an optimiser that fuses differently here and there would round differently.
        let load = |model: &[u8]| {
            let options = SessionOptions {
                optimization: Optimization::Off,
                threads: 1,
            };
            runtime.load(model, &options).map(BatchedSession::new)
        };
        let (graph, facts) = index(reference)?;
        let data = graph
            .tensors()
            .filter(|&t| facts.is_data(t) && graph.producer(t).is_some());
        let tensors: Vec<String> = data.map(|t| graph.name(t).to_owned()).collect();
        let exposed = load(&probe::expose(reference, &tensors))?;
        let (other, other_facts) = index(candidate)?;
        let candidate_decisions = probe::decisions(&other, &other_facts);
        let read: Vec<String> = candidate_decisions
            .iter()
            .flat_map(|decision| &decision.inputs)
            .filter(|name| {
                let id = other.find(name);
                id.is_some_and(|t| other_facts.is_data(t) && other.producer(t).is_some())
            })
            .cloned()
            .collect();
        let constants = candidate_decisions
            .iter()
            .flat_map(|decision| &decision.inputs)
            .filter_map(|name| {
                let value = other_facts.constant(other.find(name)?)?.as_f32()?;
                Some((name.clone(), value.clone()))
            })
            .collect();
        let forced = load(&probe::force(candidate, &candidate_decisions, &read))?;
        Ok(TieExplainer {
            outputs: graph
                .outputs()
                .iter()
                .map(|&t| graph.name(t).to_owned())
                .collect(),
            decisions: probe::decisions(&graph, &facts),
            reference: graph,
            facts,
            map,
            candidate_decisions,
            exposed,
            forced,
            constants,
            tolerance,
        })
    }

    /// Explains the difference on one sample, given as a batch of one.
    ///
    /// # Errors
    /// If a model can't be run.
    pub fn explain(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
    ) -> Result<Explanation, RuntimeError> {
        let mut values: Values = self.exposed.run(inputs)?.into_iter().collect();
        values.extend(inputs.iter().cloned());
        let mut fed: NamedTensors = inputs.to_vec();
        for decision in &self.candidate_decisions {
            let Some(decided) = values
                .get(&decision.output)
                .and_then(|value| self.map.restrict(&decision.output, value))
            else {
                return Ok(fault(decision, "has no counterpart in the reference"));
            };
            let decided = match self.map.is_rescaled(&decision.output) {
                // A detach trick leaves noise behind ±1, which no integer form has.
                true => decided.mapv(f32::round),
                false => decided,
            };
            fed.push((probe::forced_input(&decision.output), decided));
        }
        let actual: Values = self.forced.run(&fed)?.into_iter().collect();
        let exact: Vec<String> = self.decisions.iter().map(|d| d.output.clone()).collect();
        let bounds = Bounds::compute(&self.reference, &self.facts, &values, &exact);
        let mut tie: Option<(Tie, bool)> = None;
        for decision in &self.candidate_decisions {
            let checked = match self.map.is_rescaled(&decision.output) {
                true => self.check_rescaled(decision, &values, &actual, &bounds),
                false => self.check(decision, &values, &actual, &bounds),
            };
            match checked {
                Ok(near) => near::add(&mut tie, &decision.node, &near),
                Err(why) => return Ok(fault(decision, &why)),
            }
        }
        for name in &self.outputs {
            let agree = match (values.get(name), actual.get(name)) {
                (Some(a), Some(b)) if a.shape() == b.shape() => {
                    difference(a.view(), b.view()).passes(self.tolerance)
                }
                _ => false,
            };
            if !agree {
                return Ok(Explanation::Fault(format!(
                    "output `{name}` differs although every decision is the same"
                )));
            }
        }
        Ok(match tie {
            None => Explanation::Fault("no decision lies within rounding of its jump".into()),
            Some((tie, _)) => Explanation::Tie(tie),
        })
    }

    /// Checks one decision; returns its elements within rounding of the jump.
    fn check(
        &self,
        decision: &Decision,
        values: &Values,
        actual: &Values,
        bounds: &Bounds<'_>,
    ) -> Result<Near, String> {
        let counterpart = self
            .decisions
            .iter()
            .find(|other| other.output == decision.output && other.op == decision.op)
            .ok_or("has no counterpart in the reference")?;
        let expected = values.get(&decision.output).ok_or("was not computed")?;
        let restrict = |value: &ArrayD<f32>| {
            let restricted = self.map.restrict(&decision.output, value);
            restricted.ok_or("has another number of channels than the channel map says")
        };
        let shape = expected.shape();
        let mut bound = ArrayD::<f32>::zeros(IxDyn(shape));
        let mut operands = Vec::new();
        for (name, own) in counterpart.inputs.iter().zip(&decision.inputs) {
            let of_input = bounds
                .elementwise(name, shape)
                .ok_or("lies behind an operator whose rounding has no bound")?;
            bound += &of_input;
            let value = self.operand(name, values, shape)?;
            if let Some(actual) = actual.get(own).or(self.constants.get(own)) {
                let (want, limit) = (restrict(&value)?, restrict(&of_input)?);
                let actual = actual.broadcast(want.shape()).ok_or("has another shape")?;
                let agree = Zip::from(&want)
                    .and(&actual)
                    .and(&limit)
                    .all(|&a, &b, &limit| {
                        a == b || (f64::from(a) - f64::from(b)).abs() <= f64::from(limit)
                    });
                if !agree {
                    return Err(format!(
                        "reads `{own}`, which differs by more than rounding"
                    ));
                }
            }
            operands.push(value);
        }
        let margin = margin(&decision.op, &operands).ok_or("has operands that do not fit")?;
        let near = Zip::from(&margin).and(&bound).map_collect(|m, b| m <= b);
        let near = near.mapv(|near| f32::from(u8::from(near)));
        let (near, margin) = (restrict(&near)?, restrict(&margin)?);
        let expected = restrict(expected)?;
        let own = actual
            .get(&probe::own_decision(&decision.output))
            .filter(|own| own.shape() == expected.shape())
            .ok_or("has another shape")?;
        let explained = Zip::from(&expected)
            .and(own)
            .and(&near)
            .all(|a, b, &near| a == b || (a.is_nan() && b.is_nan()) || near == 1.0);
        if !explained {
            return Err("decides differently far from its jump".into());
        }
        let flipped = Zip::from(&expected).and(own).map_collect(|a, b| a != b);
        Ok(Near::of(&margin, &near, &flipped))
    }

    /// Checks a decision whose input is in other units than the reference's, by what it decides: the
    /// same, or some decision that the reference makes on the way there is within rounding of its
    /// jump.
    fn check_rescaled(
        &self,
        decision: &Decision,
        values: &Values,
        actual: &Values,
        bounds: &Bounds<'_>,
    ) -> Result<Near, String> {
        let expected = values.get(&decision.output).ok_or("was not computed")?;
        let own = actual
            .get(&probe::own_decision(&decision.output))
            .filter(|own| own.shape() == expected.shape())
            .ok_or("has another shape")?;
        let mut near = ArrayD::from_elem(expected.raw_dim(), 0.0);
        let mut closest = ArrayD::from_elem(expected.raw_dim(), f32::INFINITY);
        for made in self.made_for(&decision.output) {
            let shape = values.get(&made.output).map(|v| v.shape());
            if shape != Some(expected.shape()) {
                continue;
            }
            let mut bound = ArrayD::<f32>::zeros(expected.raw_dim());
            let mut operands = Vec::new();
            for name in &made.inputs {
                bound += &bounds
                    .elementwise(name, expected.shape())
                    .ok_or("lies behind an operator whose rounding has no bound")?;
                operands.push(self.operand(name, values, expected.shape())?);
            }
            let margin = margin(&made.op, &operands).ok_or("has operands that do not fit")?;
            Zip::from(&mut near)
                .and(&mut closest)
                .and(&margin)
                .and(&bound)
                .for_each(|near, closest, &m, &b| {
                    if m <= b {
                        (*near, *closest) = (1.0, closest.min(m));
                    }
                });
        }
        let explained = Zip::from(expected)
            .and(own)
            .and(&near)
            .all(|a, b, &near| (a - b).abs() <= 1e-4 || near == 1.0);
        if !explained {
            return Err("decides differently far from its jump".into());
        }
        let flipped = Zip::from(expected)
            .and(own)
            .map_collect(|a, b| (a - b).abs() > 1e-4);
        Ok(Near::of(&closest, &near, &flipped))
    }

    /// The reference's decisions that lead to a tensor from those that the candidate makes too.
    fn made_for(&self, tensor: &str) -> Vec<&Decision> {
        let mut open: Vec<_> = self.reference.find(tensor).into_iter().collect();
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some(t) = open.pop() {
            let name = self.reference.name(t);
            let mut shared = self.candidate_decisions.iter().map(|d| &d.output);
            if !seen.insert(t) || (name != tensor && shared.any(|o| o == name)) {
                continue;
            }
            found.extend(self.decisions.iter().find(|d| d.output == name));
            if let Some(n) = self.reference.producer(t) {
                open.extend(self.reference.inputs_of(n).into_iter().flatten());
            }
        }
        found
    }

    /// An operand of a decision in the reference, broadcast to the decision's shape.
    fn operand(
        &self,
        name: &str,
        values: &Values,
        shape: &[usize],
    ) -> Result<ArrayD<f32>, &'static str> {
        let measured = values.get(name).map(|value| value.view());
        let constant = || {
            let id = self.reference.find(name)?;
            Some(self.facts.constant(id)?.as_f32()?.view())
        };
        measured
            .or_else(constant)
            .and_then(|value| Some(value.broadcast(shape)?.to_owned()))
            .ok_or("has an operand whose value is unknown")
    }
}

fn fault(decision: &Decision, why: &str) -> Explanation {
    Explanation::Fault(format!("{} `{}` {why}", decision.op, decision.node))
}

/// How far each element's operands lie from the point where the decision jumps.
fn margin(op: &str, operands: &[ArrayD<f32>]) -> Option<ArrayD<f32>> {
    let first = operands.first()?;
    // To the nearest integer: where Floor, Ceil and truncation jump.
    let to_integer = |x: f32| (x - x.round()).abs();
    Some(match op {
        "Sign" => first.mapv(f32::abs),
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" => {
            let second = operands.get(1)?;
            Zip::from(first)
                .and(second)
                .map_collect(|a, b| (a - b).abs())
        }
        // Round jumps half way between integers.
        "Round" => first.mapv(|x| 0.5 - to_integer(x)),
        "Floor" | "Ceil" | "Cast" => first.mapv(to_integer),
        _ => return None,
    })
}
