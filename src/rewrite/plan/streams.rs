//! Channels that are put elsewhere: operands scattered into a stream, shuffles and parts.

use ndarray::{ArrayD, IxDyn};

use super::Plan;
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::rewrite::analysis::Scattered;
use crate::rewrite::inserted::{GatherOf, Place, Scatter};
use crate::rewrite::{Analysis, RewriteError};

impl Plan {
    /// An operand that keeps other channels than the stream it is added to.
    pub(super) fn scatter(
        &self,
        graph: &Graph<'_>,
        facts: &Facts,
        analysis: &Analysis,
        s: &Scattered,
    ) -> Result<Option<Scatter>, RewriteError> {
        let label = graph.label(s.node);
        let inconsistent = |why: &str| RewriteError::Inconsistent {
            at: label.to_owned(),
            why: why.to_owned(),
        };
        let (Some(channels), Some(shape)) = (
            analysis.tensors[s.operand.0].as_ref(),
            facts.shape(s.operand),
        ) else {
            return Err(inconsistent("an operand is not tracked"));
        };
        let kept = |t: TensorId, count: usize| match self.kept(graph, t) {
            Some(map) => map.kept.clone(),
            None => (0..count).collect(),
        };
        let of = kept(s.operand, channels.states.len());
        let place = |j: usize| -> Option<Place> {
            let i = s.index.get(j).copied().flatten()?;
            match of.binary_search(&i) {
                Ok(place) => Some(Place::Channel(place)),
                Err(_) => Some(Place::Constant(channels.states.get(i)?.constant()?.value)),
            }
        };
        let places: Option<Vec<_>> = kept(s.stream, s.index.len())
            .into_iter()
            .map(place)
            .collect();
        let places =
            places.ok_or_else(|| inconsistent("a channel that is not constant would go"))?;
        let in_place = |(j, p): (usize, &Place)| *p == Place::Channel(j);
        if places.len() == of.len() && places.iter().enumerate().all(in_place) {
            return Ok(None);
        }
        Ok(Some(Scatter {
            node: s.node,
            label: label.to_owned(),
            input: s.input,
            axis: channels.axis,
            rank: shape.len(),
            operand: s.operand,
            kind: facts
                .typed_as(Some(s.operand), &ArrayD::zeros(IxDyn(&[])))
                .data_type(),
            channels: of.len(),
            places,
        }))
    }

    /// A channel shuffle of which channels go.
    pub(super) fn gather(
        &self,
        graph: &Graph<'_>,
        analysis: &Analysis,
        n: NodeId,
    ) -> Option<GatherOf> {
        let behaviour = analysis.behaviours[n.0].as_ref()?;
        let output = behaviour.outputs.first()?;
        let (source, out) = (output.sources.first()?, graph.output_of(n, 0)?);
        let tensor = source.via?;
        let of = self.kept(graph, tensor).map(|m| m.kept.as_slice());
        let kept = self.kept(graph, out).map(|m| m.kept.as_slice());
        if of.is_none() && kept.is_none() {
            return None;
        }
        let all: Vec<usize> = (0..source.index.len()).collect();
        let place = |i: usize| match of {
            Some(of) => of.binary_search(&i).ok(),
            None => Some(i),
        };
        let indices = kept.unwrap_or(&all).iter();
        let indices = indices
            .map(|&j| place(source.index.get(j).copied().flatten()?))
            .collect::<Option<_>>()?;
        Some(GatherOf {
            node: n,
            tensor,
            axis: output.axis,
            indices,
        })
    }
}
