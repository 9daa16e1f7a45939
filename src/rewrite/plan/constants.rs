//! Constants that follow channels: parameters, shapes that name how many there are.

use std::borrow::Cow;

use ndarray::Array1;

use super::Plan;
use crate::graph::{Facts, Graph, NodeId};
use crate::onnx::Tensor;
use crate::rewrite::inserted::{At, By, Correction};
use crate::rewrite::rules::{Along, Cut, Parameter};
use crate::rewrite::{Analysis, RewriteError};

impl Plan {
    pub(super) fn cut_parameters(
        &mut self,
        graph: &Graph<'_>,
        facts: &Facts,
        analysis: &Analysis,
        n: NodeId,
    ) -> Result<(), RewriteError> {
        let Some(behaviour) = &analysis.behaviours[n.0] else {
            return Ok(());
        };
        for p in &behaviour.parameters {
            let along = match p.along {
                Along::Input(k) => graph.input_of(n, k),
                Along::Output(slot) => graph.output_of(n, slot),
                Along::Part(_) => graph.output_of(n, 0),
            };
            let Some(map) = along.and_then(|t| self.kept(graph, t)) else {
                continue;
            };
            let kept = match &p.along {
                Along::Part(part) => {
                    let inside = map.kept.iter().filter(|k| part.contains(k));
                    inside.map(|k| k - part.start).collect()
                }
                _ => map.kept.clone(),
            };
            if p.cut == Cut::Groups {
                self.groups.push((n, kept.len()));
                continue;
            }
            let input = graph.input_of(n, p.input);
            if let (Cut::Entry(entry), Some(t)) = (p.cut, input)
                && facts.is_of_shape(t)
                && let Some(target) = facts.value(t).and_then(Tensor::to_ints)
                && let Some(old) = target.get(entry)
            {
                let by = kept.len() as i64 - old;
                let at = At::Input(p.input);
                self.add_to_entry(n, at, entry, target.len(), by);
                continue;
            }
            let implied = behaviour.implied.iter().find(|i| i.input == p.input);
            let current = match (self.constants.requested(n, p.input), implied) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(i)) => Some(Tensor::I64(Array1::from(i.value.clone()).into_dyn())),
                (None, None) if matches!(p.cut, Cut::Uniform | Cut::Whole) => {
                    input.and_then(|t| facts.value(t)).cloned()
                }
                (None, None) => input.and_then(|t| {
                    let known = facts.constant(t).or_else(|| facts.expanded(t)).cloned();
                    known.or_else(|| facts.typed_weights(graph, t).map(Cow::into_owned))
                }),
            };
            let cut = current.and_then(|value| cut(&value, p, &kept));
            let cut = cut.ok_or_else(|| RewriteError::Inconsistent {
                at: graph.label(n).to_owned(),
                why: format!("input {} does not fit the channels it belongs to", p.input),
            })?;
            self.constants.request(n, p.input, cut);
        }
        for i in &behaviour.implied {
            if self.constants.requested(n, i.input).is_none() {
                continue;
            }
            if let Some(name) = i.attribute {
                let value = self.constants.withdraw(n, i.input);
                let list = value.and_then(|v| v.to_ints()).unwrap_or_default();
                self.attributes.push((n, name, Some(list)));
            }
            if let Some(name) = i.instead_of {
                self.attributes.push((n, name, None));
            }
        }
        Ok(())
    }

    /// Another number in one entry of a list that is computed.
    fn add_to_entry(&mut self, node: NodeId, at: At, entry: usize, len: usize, by: i64) {
        let mut own = self.corrections.iter_mut();
        let own = own.find(|c| c.node == node && c.at == at);
        if let Some(Correction {
            by: By::Adding(difference),
            ..
        }) = own
        {
            difference[entry] += by;
            return;
        }
        let mut difference = vec![0; len];
        difference[entry] = by;
        let by = By::Adding(difference);
        self.corrections.push(Correction { node, at, by });
    }

    /// A `Shape` or `Size` of a tensor that loses channels: what reads it goes on with the numbers
    /// as they were.
    pub(super) fn shape_read(
        &self,
        graph: &Graph<'_>,
        facts: &Facts,
        n: NodeId,
    ) -> Option<Correction> {
        let node = graph.node(n);
        let tensor = graph.input_of(n, 0)?;
        let map = self.kept(graph, tensor)?;
        let shape = facts.shape(tensor)?;
        let (old, new) = (*shape.get(map.axis)? as i64, map.kept.len() as i64);
        let by = match node.op() {
            "Size" => By::Ratio { old, new },
            "Shape" => {
                let rank = shape.len() as i64;
                let place = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank);
                let start = place(node.int("start", 0));
                let count = usize::try_from(place(node.int("end", rank)) - start).ok()?;
                let entry = usize::try_from(map.axis as i64 - start).ok()?;
                let mut difference = vec![0; count];
                *difference.get_mut(entry)? = old - new;
                By::Adding(difference)
            }
            _ => return None,
        };
        let at = At::Behind;
        Some(Correction { node: n, at, by })
    }
}

/// The constant with only what belongs to the kept channels.
fn cut(value: &Tensor, p: &Parameter, kept: &[usize]) -> Option<Tensor> {
    match p.cut {
        Cut::Axis(axis) => value.select(axis, kept),
        Cut::Entry(index) => {
            let count = kept.len();
            let mut value = value.clone();
            match &mut value {
                Tensor::I64(a) => *a.iter_mut().nth(index)? = i64::try_from(count).ok()?,
                Tensor::I32(a) => *a.iter_mut().nth(index)? = i32::try_from(count).ok()?,
                _ => return None,
            }
            Some(value)
        }
        Cut::Uniform => {
            let mut value = value.clone();
            for axis in 0..value.shape().len() {
                value = value.select(axis, &[0])?;
            }
            Some(value)
        }
        Cut::Whole => Some(value.clone()),
        Cut::Groups => None,
    }
}
