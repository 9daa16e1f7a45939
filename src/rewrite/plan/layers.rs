//! Layers: their weights, and what they absorb.

use ndarray::{Array1, ArrayD, Axis};

use super::Plan;
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::rewrite::fold::{self, Absorbed};
use crate::rewrite::inserted::{AddBehind, Added};
use crate::rewrite::liveness::{Solution, kept};
use crate::rewrite::rules::{Channels, Mixing, Shift, Total};
use crate::rewrite::{Analysis, RewriteError};

/// What layers absorb constants by.
pub(super) struct PlanContext<'a> {
    pub(super) graph: &'a Graph<'a>,
    pub(super) facts: &'a Facts,
    /// What is known of the channels.
    pub(super) analysis: &'a Analysis,
    /// Which of them stay.
    pub(super) stays: &'a Solution,
}

impl Plan {
    /// A layer's weights follow its filters and its input channels, group by group.
    pub(super) fn cut_weights(
        &mut self,
        graph: &Graph<'_>,
        facts: &Facts,
        node: NodeId,
        mixing: &Mixing,
        out: TensorId,
    ) -> Result<(), RewriteError> {
        let layer = &mixing.layer;
        let rows = self.kept(graph, out);
        let columns = mixing.data.and_then(|t| self.kept(graph, t));
        if rows.is_none() && columns.is_none() {
            return Ok(());
        }
        let all = |n: usize| (0..n).collect::<Vec<_>>();
        let rows = rows.map_or_else(|| all(layer.filters), |m| m.kept.clone());
        let columns = columns.map_or_else(|| all(layer.inputs), |m| m.kept.clone());
        let weight = facts.typed_weights(graph, layer.weight);
        let cut = weight.and_then(|w| layer.cut(&w, &rows, &columns));
        let (weight, groups) = cut.ok_or_else(|| RewriteError::Inconsistent {
            at: graph.label(node).to_owned(),
            why: "its weights do not fit the channels they belong to".to_owned(),
        })?;
        if groups != layer.groups {
            self.groups.push((node, groups));
        }
        self.constants
            .request(node, layer.weights_at.weight_input(), weight);
        Ok(())
    }

    /// What a layer takes over from the channels that it no longer reads.
    pub(super) fn absorb(
        &mut self,
        context: &PlanContext<'_>,
        node: NodeId,
        mixing: &Mixing,
        out: &Channels,
    ) {
        let &PlanContext {
            graph,
            facts,
            analysis,
            stays,
        } = context;
        let Some(data) = mixing.data.and_then(|t| analysis.tensors[t.0].as_ref()) else {
            return;
        };
        let gone = fold::gone(data, &kept(analysis, stays, data));
        if gone.is_empty() {
            return;
        }
        let Some(weight) = facts.weights(graph, mixing.layer.weight) else {
            return;
        };
        let rows = kept(analysis, stays, out);
        let typed = |a: &ArrayD<f64>| facts.typed_as(Some(mixing.layer.weight), a);
        let added = match fold::absorb(mixing, &weight, &rows, &gone) {
            Absorbed::Nothing => return,
            Absorbed::Bias(added) => added,
            Absorbed::Map(map) => {
                self.note(graph, node, "border map");
                let value = Added::Constant(typed(&map));
                self.behind.push(AddBehind { node, value });
                return;
            }
            Absorbed::Kernel(kernel) => {
                self.note(graph, node, "border map");
                let sizes = mixing.border.as_ref().map(|b| b.input.clone());
                let value = Added::Convolved {
                    kernel: typed(&kernel),
                    sizes: sizes.unwrap_or_default(),
                };
                self.behind.push(AddBehind { node, value });
                return;
            }
        };
        let old = |o: usize| match mixing.layer.shift {
            // Stays where it is.
            Shift::Behind(_) => 0.0,
            Shift::Bias | Shift::Scaled => mixing.bias.get(o).copied().unwrap_or(0.0),
        };
        let bias: Array1<f64> = rows.iter().zip(&added).map(|(&o, v)| old(o) + v).collect();
        match mixing.layer.shift {
            Shift::Behind(trailing) => {
                self.note(graph, node, "added constant");
                let mut bias = bias.into_dyn();
                (0..trailing).for_each(|_| bias.insert_axis_inplace(Axis(bias.ndim())));
                let value = Added::Constant(typed(&bias));
                self.behind.push(AddBehind { node, value });
                return;
            }
            Shift::Scaled if graph.node(node).float("beta", 1.0) != 1.0 => {
                self.unit_beta.push(node);
            }
            Shift::Scaled | Shift::Bias => {}
        }
        self.note(graph, node, "bias");
        let value = typed(&bias.into_dyn());
        self.constants.request(node, 2, value);
    }

    fn note(&mut self, graph: &Graph<'_>, node: NodeId, how: &'static str) {
        self.absorbed.insert(graph.label(node).to_owned(), how);
    }

    /// What a sum over channels adds behind it for those that are gone.
    pub(super) fn absorb_total(
        &mut self,
        context: &PlanContext<'_>,
        node: NodeId,
        total: &Total,
        data: &Channels,
    ) {
        let &PlanContext {
            graph,
            facts,
            analysis,
            stays,
        } = context;
        let gone = fold::gone(data, &kept(analysis, stays, data));
        let sum: f64 = gone.iter().map(|(_, v)| v).sum();
        let copies = total.copies.unwrap_or(0) as f64;
        if gone.is_empty() || sum * copies == 0.0 {
            return;
        }
        self.note(graph, node, "added constant");
        let value = ndarray::arr0(sum * copies).into_dyn();
        let value = Added::Constant(facts.typed_as(graph.output_of(node, 0), &value));
        self.behind.push(AddBehind { node, value });
    }
}
