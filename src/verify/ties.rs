//! Is a difference a tie, or a fault?
//!
//! Sign and its like jump. Where their input lies within rounding of the jump, two correct
//! models may decide differently, and one flipped sign changes a logit. To tell that from a
//! fault, the candidate is run again with every decision taken from the reference, so that a
//! flip upstream cannot excuse anything downstream. A tie is claimed only if then
//!
//! - the input of every decision agrees with the reference's within a rounding bound
//!   ([`super::rounding`]), of which only as much counts as the reference needs itself
//!   ([`super::repeat`]),
//! - wherever the candidate itself would have decided otherwise, the reference's input lies
//!   within that bound of the jump,
//! - the outputs agree as the pass rule asks, and
//! - some input that is not exact does lie within the bound of a jump.
//!
//! Which decision of the reference is which of the candidate is a guess ([`super::pairing`]): by
//! name and a given [`KeptChannels`], or by value. The first that proves a tie counts.
//!
//! The integer form of a binary layer decides on a sum in other units ([`KeptChannels::rescale`]):
//! there the second point stands for the first.

use std::cell::RefCell;
use std::collections::HashMap;

use ndarray::ArrayD;

use super::batched::BatchedSession;
use super::compare::{Tolerance, difference};
use super::decide::Evaluation;
use super::kept_channels::KeptChannels;
use super::near::{self, Tie};
use super::pairing::{self, Counterpart, Measured};
use super::probe::{self, Decision};
use super::repeat;
use super::rounding::{Bounds, Values};
use super::runtime::{NamedTensors, Optimization, Runtime, RuntimeError};
use super::samples::Samples;
use super::shift::Shares;
use super::side::{Side, join, load};
use crate::onnx::proto::ModelProto;

/// Samples on which decisions are compared to pair them, and rounding is measured.
const PROBES: usize = 8;
/// How many times the rounding counts that the reference shows when its sums are rescaled.
const MARGIN: f32 = 6.0;
/// The least share of the theoretical bound that counts.
const LEAST: f32 = 0.12;

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
    pub(super) reference: Side<'m>,
    pub(super) candidate: Side<'m>,
    exposed: BatchedSession,
    forced: BatchedSession,
    outputs: Vec<String>,
    tolerance: Tolerance,
    /// Which decision is which: guesses, the first one that proves a tie counts.
    pairings: Vec<Vec<Counterpart>>,
    /// A decision of the candidate's that no guess pairs.
    unpaired: Option<String>,
    /// How much of the bound of sums counts, for each of the reference's decisions.
    pub(super) shares: Vec<f32>,
    /// What decisions of the candidate's read against the reference's, by the reference's decision.
    pub(super) seen: RefCell<HashMap<usize, Shares>>,
    /// By guess: how many decisions are in order, and which one reads what is shifted.
    shifted: Vec<Option<(usize, String)>>,
    /// By guess: the output that depends on what else is in the batch.
    mixed: Vec<Option<String>>,
}

impl<'m> TieExplainer<'m> {
    /// Loads both models with their decisions laid open, and measures on the first samples.
    ///
    /// # Errors
    /// If a graph can't be indexed or the runtime refuses a model.
    pub fn new(
        runtime: &dyn Runtime,
        reference: &'m ModelProto,
        candidate: &'m ModelProto,
        map: &KeptChannels,
        samples: &Samples<'_>,
        tolerance: Tolerance,
    ) -> Result<Self, RuntimeError> {
        let (reference, candidate) = (Side::new(reference)?, Side::new(candidate)?);
        let data = reference.graph.tensors().filter(|&t| reference.computes(t));
        let all: Vec<String> = data.map(|t| reference.graph.name(t).to_owned()).collect();
        let exposed = load(
            runtime,
            &probe::expose(reference.model, &all),
            Optimization::Off,
        )?;
        let read = candidate.read();
        let forced = probe::force(candidate.model, &candidate.decisions, &read);
        let forced = load(runtime, &forced, Optimization::Off)?;
        let mut explainer = TieExplainer {
            outputs: reference
                .graph
                .outputs()
                .iter()
                .map(|&t| reference.graph.name(t).to_owned())
                .collect(),
            shares: vec![1.0; reference.decisions.len()],
            seen: RefCell::default(),
            shifted: Vec::new(),
            mixed: Vec::new(),
            reference,
            candidate,
            exposed,
            forced,
            tolerance,
            pairings: Vec::new(),
            unpaired: None,
        };
        explainer.measure(runtime, map, samples)?;
        Ok(explainer)
    }

    /// Pairs decisions, and measures rounding.
    fn measure(
        &mut self,
        runtime: &dyn Runtime,
        map: &KeptChannels,
        samples: &Samples<'_>,
    ) -> Result<(), RuntimeError> {
        let (mut expected, mut actual) = (Vec::new(), Vec::new());
        let read = self.candidate.read();
        let plain = probe::expose(self.candidate.model, &read);
        let mut plain = load(runtime, &plain, Optimization::Off)?;
        let side = &self.reference;
        let half = side.half_units();
        // Weights of 16 bits on another scale would be others.
        let scaled = match half {
            Some(_) => repeat::reversed(&side.graph, &side.facts),
            None => repeat::rescaled(&side.graph, &side.facts),
        };
        // Nodes were inserted, which moved the decisions.
        let scaled_side = Side::new(&scaled).ok();
        let scaled = scaled_side
            .as_ref()
            .map(|side| probe::force(side.model, &side.decisions, &side.read()));
        let mut others: Vec<BatchedSession> = [Optimization::Off, Optimization::All]
            .into_iter()
            .filter_map(|level| load(runtime, scaled.as_ref()?, level).ok())
            .collect();
        let mut needed = vec![Shares::default(); self.shares.len()];
        for sample in 0..samples.len().min(PROBES) {
            let inputs = samples.batch(self.exposed.inputs(), sample..sample + 1)?;
            let values = self.values(&inputs)?;
            let mut own: Values = plain.run(&inputs)?.into_iter().collect();
            own.extend(inputs.iter().cloned());
            expected.push(self.reference.measured(&values));
            actual.push(self.candidate.measured(&own));
            let bounds = self.bounds(&values);
            let mut fed = inputs;
            for decision in &self.reference.decisions {
                let Some(decided) = values.get(&decision.output) else {
                    continue;
                };
                fed.push((probe::forced_input(&decision.output), decided.clone()));
            }
            others.retain_mut(|other| {
                let Ok(again) = other.run(&fed) else {
                    return false;
                };
                let again: Values = again.into_iter().collect();
                for (needed, decision) in needed.iter_mut().zip(&self.reference.decisions) {
                    for name in &decision.inputs {
                        if let (Some(a), Some(b), Some(bound)) = (
                            values.get(name),
                            again.get(name),
                            self.reference.bound(&bounds, name, &values),
                        ) {
                            needed.add(&bound.taken(a, b), &bound.taken_by_channel(a, b));
                        }
                    }
                }
                true
            });
        }
        let most = needed.iter().map(|needed| needed.all.most);
        let coarse = most.fold(0.0, f32::max) > 1.0;
        if let Some(units) = half.filter(|_| coarse && self.reference.units == 1.0) {
            // More than `f32` ever needs: the runtime does compute in 16 bits.
            self.reference.units = units;
            return self.measure(runtime, map, samples);
        }
        self.pair(map, join(expected), join(actual));
        for guess in 0..self.pairings.len() {
            let mixed = self.mixes(guess, samples)?;
            self.mixed.push(mixed);
        }
        if others.is_empty() {
            return Ok(());
        }
        let shares = needed.iter().map(|needed| MARGIN * needed.all.most);
        self.shares = shares.map(|share| share.clamp(LEAST, 1.0)).collect();
        for guess in 0..self.pairings.len() {
            self.seen.take();
            for sample in 0..samples.len().min(PROBES) {
                let inputs = samples.batch(self.exposed.inputs(), sample..sample + 1)?;
                let values = self.values(&inputs)?;
                // Whatever becomes of the sample, what decisions read was seen.
                let _ = self.attempt(guess, &inputs, &values);
            }
            let shifted = self.shifted_by(guess, &needed);
            self.shifted.push(shifted);
        }
        Ok(())
    }

    /// The first output of the candidate's that differs on the first samples as one batch, although
    /// every decision is the reference's. A sample is explained by itself, and what goes wrong only
    /// where samples of a batch meet would not show there.
    fn mixes(
        &mut self,
        guess: usize,
        samples: &Samples<'_>,
    ) -> Result<Option<String>, RuntimeError> {
        let count = samples.len().min(PROBES);
        if count < 2 {
            return Ok(None);
        }
        let inputs = samples.batch(self.exposed.inputs(), 0..count)?;
        let values = self.values(&inputs)?;
        let mut fed = inputs;
        let pairs = self.pairings.get(guess).into_iter().flatten();
        for (pair, decision) in pairs.zip(&self.candidate.decisions) {
            let decided = values.get(&pair.tensor);
            let Some(decided) = decided.and_then(|value| pair.restrict(value)) else {
                return Ok(None);
            };
            let decided = match pair.rescaled {
                true => decided.mapv(f32::round),
                false => decided,
            };
            fed.push((probe::forced_input(&decision.output), decided));
        }
        // That the candidate cannot be run so is said where a sample is explained.
        let Ok(actual) = self.forced.run(&fed) else {
            return Ok(None);
        };
        let actual: Values = actual.into_iter().collect();
        let differs = |name: &&String| match (values.get(*name), actual.get(*name)) {
            (Some(a), Some(b)) => {
                a.shape() != b.shape() || !difference(a.view(), b.view()).passes(self.tolerance)
            }
            _ => false,
        };
        let name = self.outputs.iter().find(differs);
        Ok(name.map(|name| {
            format!(
                "output `{name}` differs where samples are run together, although every decision is the same"
            )
        }))
    }

    /// The first decision that reads what is shifted by more than rounding.
    fn shifted_by(&self, guess: usize, rounding: &[Shares]) -> Option<(usize, String)> {
        let pairs = self.pairings.get(guess)?.iter().enumerate();
        let seen = self.seen.borrow();
        pairs
            .zip(&self.candidate.decisions)
            .find_map(|((at, pair), decision)| {
                let number = pair.decision?;
                let shifted = seen.get(&number)?.is_shifted(rounding.get(number)?, pair);
                let why = "reads what is shifted by more than rounding";
                shifted.then(|| (at + 1, fault(decision, why)))
            })
    }

    fn pair(&mut self, map: &KeptChannels, expected: Vec<Measured>, actual: Vec<Measured>) {
        let (reference, candidate) = (&self.reference.decisions, &self.candidate.decisions);
        let named = pairing::by_name(reference, candidate, map);
        let valued = pairing::by_value(reference, &expected, candidate, &actual);
        for guess in [named, valued] {
            match guess {
                Ok(pairs) => {
                    if !self.pairings.contains(&pairs) {
                        self.pairings.push(pairs);
                    }
                }
                Err(decision) => {
                    let (op, node) = (&decision.op, &decision.node);
                    let why = format!("{op} `{node}` has no counterpart in the reference");
                    self.unpaired.get_or_insert(why);
                }
            }
        }
    }

    /// The first binariser (or the like) of which the candidate has fewer channels: its name, how
    /// many it has, and how many the reference has.
    pub(super) fn narrower(&self) -> Option<(String, usize, usize)> {
        let shapes = |pair: &Counterpart, own: &Decision| {
            let full = self.reference.shape(&pair.tensor)?;
            let own_shape = self.candidate.shape(&own.output)?;
            let mut sides = own_shape.iter().zip(full).skip(1);
            let (less, all) = sides.find(|(own, all)| own < all)?;
            Some((own.node.clone(), *less, *all))
        };
        self.pairings.iter().find_map(|pairs| {
            let mut both = pairs.iter().zip(&self.candidate.decisions);
            both.find_map(|(pair, own)| shapes(pair, own))
        })
    }

    fn values(&mut self, inputs: &[(String, ArrayD<f32>)]) -> Result<Values, RuntimeError> {
        let mut values: Values = self.exposed.run(inputs)?.into_iter().collect();
        values.extend(inputs.iter().cloned());
        Ok(values)
    }

    fn bounds<'a>(&'a self, values: &'a Values) -> Bounds<'a> {
        let decisions = self.reference.decisions.iter();
        let exact: Vec<String> = decisions.map(|d| d.output.clone()).collect();
        Bounds::compute(&self.reference.graph, &self.reference.facts, values, &exact)
    }

    /// Explains the difference on one sample, given as a batch of one.
    ///
    /// # Errors
    /// If the reference can't be run.
    pub fn explain(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
    ) -> Result<Explanation, RuntimeError> {
        let values = self.values(inputs)?;
        // The fault that the guess which got furthest ended at.
        let mut furthest: Option<(usize, String)> = None;
        for guess in 0..self.pairings.len() {
            let (reached, why) = match self.attempt(guess, inputs, &values) {
                Ok(tie) => return Ok(Explanation::Tie(tie)),
                Err(fault) => fault,
            };
            if furthest.as_ref().is_none_or(|(most, _)| reached > *most) {
                furthest = Some((reached, why));
            }
        }
        let unpaired = || self.unpaired.clone().unwrap_or_default();
        Ok(Explanation::Fault(
            furthest.map_or_else(unpaired, |(_, why)| why),
        ))
    }

    /// Explains by one guess; an error is a fault, and how many decisions are in order.
    fn attempt(
        &mut self,
        guess: usize,
        inputs: &[(String, ArrayD<f32>)],
        values: &Values,
    ) -> Result<Tie, (usize, String)> {
        if let Some(Some(shifted)) = self.shifted.get(guess) {
            return Err(shifted.clone());
        }
        let pairs = self.pairings.get(guess).cloned().unwrap_or_default();
        let mut fed: NamedTensors = inputs.to_vec();
        for (pair, decision) in pairs.iter().zip(&self.candidate.decisions) {
            let decided = values.get(&pair.tensor);
            let decided = decided.and_then(|value| pair.restrict(value));
            let own = self.candidate.shape(&decision.output);
            let Some(decided) = decided.filter(|d| own.is_none_or(|own| own == d.shape())) else {
                return Err((0, fault(decision, "has another number of channels")));
            };
            let decided = match pair.rescaled {
                // A detach trick leaves noise behind ±1, which no integer form has.
                true => decided.mapv(f32::round),
                false => decided,
            };
            fed.push((probe::forced_input(&decision.output), decided));
        }
        let actual = match self.forced.run(&fed) {
            Ok(actual) => actual.into_iter().collect::<Values>(),
            Err(error) => return Err((0, format!("cannot be explained: {error}"))),
        };
        let bounds = self.bounds(values);
        let evaluation = Evaluation {
            values,
            actual: &actual,
            bounds: &bounds,
        };
        let mut tie: Option<(Tie, bool)> = None;
        for (number, (pair, decision)) in pairs.iter().zip(&self.candidate.decisions).enumerate() {
            let checked = match pair.rescaled {
                true => self.check_rescaled(&pairs, number, &evaluation),
                false => self.check(pair, decision, &evaluation),
            };
            match checked {
                Ok(near) => near::add(&mut tie, &decision.node, &near),
                Err(why) => return Err((number + 1, fault(decision, &why))),
            }
        }
        let all = pairs.len() + 1;
        for name in &self.outputs {
            let agree = match (values.get(name), actual.get(name)) {
                (Some(a), Some(b)) if a.shape() == b.shape() => {
                    difference(a.view(), b.view()).passes(self.tolerance)
                }
                _ => false,
            };
            if !agree {
                let why = format!("output `{name}` differs although every decision is the same");
                return Err((all, why));
            }
        }
        if let Some(Some(mixed)) = self.mixed.get(guess) {
            return Err((all, mixed.clone()));
        }
        let nothing = "no decision lies within rounding of its jump".to_owned();
        tie.map(|(tie, _)| tie).ok_or((all, nothing))
    }
}

fn fault(decision: &Decision, why: &str) -> String {
    format!("{} `{}` {why}", decision.op, decision.node)
}
