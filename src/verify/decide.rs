//! The checks of single decisions that explain a difference: see [`super::ties`].

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn, Zip};

use super::jump::margin;
use super::near::Near;
use super::pairing::Counterpart;
use super::probe::{self, Decision};
use super::rounding::{Bounds, Values};
use super::ties::TieExplainer;

/// What decisions are checked by: a sample as both models compute it.
pub(super) struct Evaluation<'a> {
    /// What the reference computes.
    pub(super) values: &'a Values,
    /// What the candidate computes, the reference's decisions forced on it.
    pub(super) actual: &'a Values,
    /// How far rounding can move the reference's values.
    pub(super) bounds: &'a Bounds<'a>,
}

impl TieExplainer<'_> {
    /// Checks one decision; returns its elements within rounding of the jump.
    pub(super) fn check(
        &self,
        pair: &Counterpart,
        decision: &Decision,
        evaluation: &Evaluation<'_>,
    ) -> Result<Near, String> {
        let &Evaluation {
            values,
            actual,
            bounds,
        } = evaluation;
        let (number, other) = self.counterpart(pair)?;
        let expected = values.get(&other.output).ok_or("was not computed")?;
        let restrict = |value: &ArrayD<f32>| {
            let restricted = pair.restrict(value);
            restricted.ok_or("has another number of channels")
        };
        let shape = expected.shape();
        let mut bound = ArrayD::<f32>::zeros(IxDyn(shape));
        let mut operands = Vec::new();
        for (name, own) in other.inputs.iter().zip(&decision.inputs) {
            let of_input = self.bound(number, name, shape, evaluation)?;
            bound += &of_input;
            let value = self.reference.operand(name, values, shape)?;
            let found = actual.get(own).map(|value| value.view());
            let found = found.or_else(|| self.candidate.constant(own));
            if let Some(found) = found {
                let (want, limit) = (restrict(&value)?, restrict(&of_input)?);
                let found = found.broadcast(want.shape()).ok_or("has another shape")?;
                let agree = Zip::from(&want)
                    .and(&found)
                    .and(&limit)
                    .all(|a, b, &limit| {
                        let alike = a == b || (a.is_nan() && b.is_nan());
                        alike || (f64::from(*a) - f64::from(*b)).abs() <= f64::from(limit)
                    });
                if !agree {
                    return Err(format!(
                        "reads `{own}`, which differs by more than rounding"
                    ));
                }
                let sums = self.reference.bound(bounds, name, values);
                let sums = sums.and_then(|bound| bound.broadcast(shape));
                let sums = sums.and_then(|bound| bound.map(|part| pair.restrict(part)));
                if let Some(sums) = sums {
                    let found = found.to_owned();
                    let channels = sums.taken_by_channel(&want, &found);
                    let mut seen = self.seen.borrow_mut();
                    let seen = seen.entry(number).or_default();
                    seen.add(&sums.taken(&want, &found), &channels);
                }
            }
            operands.push(value);
        }
        let margin = margin(&decision.op, &operands).ok_or("has operands that do not fit")?;
        // What is exact has no ties that differ.
        let near = Zip::from(&margin)
            .and(&bound)
            .map_collect(|&m, &b| f32::from(u8::from(b > 0.0 && m <= b)));
        let (near, margin) = (restrict(&near)?, restrict(&margin)?);
        let expected = restrict(expected)?;
        let own = actual
            .get(&probe::own_decision(&decision.output))
            .filter(|own| own.shape() == expected.shape())
            .ok_or("has another shape")?;
        let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
        let explained = Zip::from(&expected)
            .and(own)
            .and(&near)
            .all(|&a, &b, &near| same(a, b) || near == 1.0);
        if !explained {
            return Err("decides differently far from its jump".into());
        }
        let flipped = Zip::from(&expected)
            .and(own)
            .map_collect(|&a, &b| !same(a, b));
        Ok(Near::of(&margin, &near, &flipped))
    }

    /// Checks a decision whose input is in other units than the reference's, by what it decides: the
    /// same, or some decision that the reference makes on the way there is within rounding of its
    /// jump.
    pub(super) fn check_rescaled(
        &self,
        pairs: &[Counterpart],
        number: usize,
        evaluation: &Evaluation<'_>,
    ) -> Result<Near, String> {
        let &Evaluation { values, actual, .. } = evaluation;
        let (Some(pair), Some(decision)) =
            (pairs.get(number), self.candidate.decisions.get(number))
        else {
            return Err("was not paired".into());
        };
        let all = values.get(&pair.tensor).ok_or("was not computed")?;
        let mut near = ArrayD::from_elem(all.raw_dim(), 0.0);
        let mut closest = ArrayD::from_elem(all.raw_dim(), f32::INFINITY);
        for (made_at, made) in self.made_for(pairs, &pair.tensor) {
            let shape = values.get(&made.output).map(|v| v.shape());
            if shape != Some(all.shape()) {
                continue;
            }
            let mut bound = ArrayD::<f32>::zeros(all.raw_dim());
            let mut operands = Vec::new();
            for name in &made.inputs {
                bound += &self.bound(made_at, name, all.shape(), evaluation)?;
                operands.push(self.reference.operand(name, values, all.shape())?);
            }
            let margin = margin(&made.op, &operands).ok_or("has operands that do not fit")?;
            Zip::from(&mut near)
                .and(&mut closest)
                .and(&margin)
                .and(&bound)
                .for_each(|near, closest, &m, &b| {
                    if b > 0.0 && m <= b {
                        (*near, *closest) = (1.0, closest.min(m));
                    }
                });
        }
        let restrict = |value: &ArrayD<f32>| {
            let restricted = pair.restrict(value);
            restricted.ok_or("has another number of channels")
        };
        let (expected, near, closest) = (restrict(all)?, restrict(&near)?, restrict(&closest)?);
        let own = actual
            .get(&probe::own_decision(&decision.output))
            .filter(|own| own.shape() == expected.shape())
            .ok_or("has another shape")?;
        let explained = Zip::from(&expected)
            .and(own)
            .and(&near)
            .all(|a, b, &near| (a - b).abs() <= 1e-4 || near == 1.0);
        if !explained {
            return Err("decides differently far from its jump".into());
        }
        let flipped = Zip::from(&expected)
            .and(own)
            .map_collect(|a, b| (a - b).abs() > 1e-4);
        Ok(Near::of(&closest, &near, &flipped))
    }

    fn counterpart(&self, pair: &Counterpart) -> Result<(usize, &Decision), &'static str> {
        let found = pair
            .decision
            .and_then(|number| Some((number, self.reference.decisions.get(number)?)));
        found.ok_or("has no counterpart in the reference")
    }

    /// How far rounding can move an operand of the reference's decision.
    fn bound(
        &self,
        decision: usize,
        operand: &str,
        shape: &[usize],
        evaluation: &Evaluation<'_>,
    ) -> Result<ArrayD<f32>, &'static str> {
        let share = self.shares.get(decision).copied().unwrap_or(1.0);
        let bound = self
            .reference
            .bound(evaluation.bounds, operand, evaluation.values);
        let bound = bound.ok_or("lies behind an operator whose rounding has no bound")?;
        let bound = bound
            .broadcast(shape)
            .ok_or("has operands that do not fit")?;
        Ok(bound.total(share))
    }

    /// The reference's decisions that lead to a tensor from those that the candidate makes too.
    fn made_for(&self, pairs: &[Counterpart], tensor: &str) -> Vec<(usize, &Decision)> {
        let side = &self.reference;
        let shared: BTreeSet<&str> = pairs.iter().map(|pair| pair.tensor.as_str()).collect();
        let mut open: Vec<_> = side.graph.find(tensor).into_iter().collect();
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some(t) = open.pop() {
            let name = side.graph.name(t);
            if !seen.insert(t) || (name != tensor && shared.contains(name)) {
                continue;
            }
            let mut decisions = side.decisions.iter().enumerate();
            found.extend(decisions.find(|(_, d)| d.output == name));
            if let Some(n) = side.graph.producer(t) {
                open.extend(side.graph.inputs_of(n).into_iter().flatten());
            }
        }
        found
    }
}
