//! Elimination: plan, check, apply, check again.

use std::collections::HashSet;

use super::inserted::{add_behind, correct, scatter, to_gather};
use super::other_sizes::facts_at_other_sizes;
use super::{Analysis, ChannelMaps, EliminateOptions, LayerOutcome, Plan, RewriteError};
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, Window};
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use crate::operators::Kind;

/// A model without its constant and unused channels.
#[derive(Debug, Clone)]
pub struct Eliminated {
    /// The pruned model: computes what the given one computes.
    pub model: ModelProto,
    /// What became of each layer's filters.
    pub layers: Vec<LayerOutcome>,
    /// Which channels each cut tensor kept.
    pub channels: ChannelMaps,
    /// The plan, printed.
    pub plan: String,
    /// What the graph got besides narrower tensors ([`Plan::changes`]).
    pub changes: Vec<String>,
}

/// Removes every channel that is provably constant or provably unused, without changing what the
/// model computes (up to rounding, for finite inputs). Masked or not: real networks have dead
/// filters. A model with nothing to remove comes back as it is.
pub fn eliminate(model: &ModelProto) -> Result<Eliminated, RewriteError> {
    eliminate_with(model, &EliminateOptions::default())
}

/// [`eliminate`] with other settings than the default ones.
pub fn eliminate_with(
    model: &ModelProto,
    options: &EliminateOptions,
) -> Result<Eliminated, RewriteError> {
    let graph = Graph::new(model)?;
    let facts = Facts::lean(&graph, 1)?;
    let options = &EliminateOptions {
        // A map has the size that the border has.
        border_map_ratio: match disputes_sizes(&graph, &facts) {
            true => 0.0,
            false => options.border_map_ratio,
        },
        ..options.clone()
    };
    let others = facts_at_other_sizes(model, &graph, &facts, &options.free);
    let analysis = Analysis::at_sizes(&graph, &facts, &others, options.residual);
    let plan = Plan::new(&graph, &facts, &analysis, options)?;
    check(&graph, &facts, &plan)?;
    let (text, changes) = (plan.to_string(), plan.changes());
    let layers = plan.layers.clone();
    let mut channels = plan.channels.clone();
    let out = apply(&graph, model, plan);
    check_result(&graph, &facts, &out, &channels)?;
    if let Some(g) = &out.graph {
        let present: HashSet<&str> = g
            .node
            .iter()
            .flat_map(|n| n.output.iter().map(String::as_str))
            .collect();
        channels.retain(|t, _| present.contains(t.as_str()));
    }
    Ok(Eliminated {
        model: out,
        layers,
        channels,
        plan: text,
        changes,
    })
}

/// Whether a runtime may infer other sizes than those that the model has when it runs.
fn disputes_sizes(graph: &Graph<'_>, facts: &Facts) -> bool {
    graph.order().iter().any(|&n| {
        let node = graph.node(n);
        let pools = node
            .operator()
            .is_some_and(|o| matches!(o.kind, Kind::Pool(_)));
        let shape = graph.input_of(n, 0).and_then(|t| facts.shape(t));
        pools
            && shape.is_some_and(|shape| {
                Window::of(&node, shape, None).is_some_and(|w| w.is_disputed(&node, shape))
            })
    })
}

fn inconsistent(at: &str, why: impl Into<String>) -> RewriteError {
    RewriteError::Inconsistent {
        at: at.to_owned(),
        why: why.into(),
    }
}

/// No tensor is left without channels; what the graph takes and gives is not cut.
fn check(graph: &Graph<'_>, facts: &Facts, plan: &Plan) -> Result<(), RewriteError> {
    for (name, map) in &plan.channels {
        let t = graph.find(name);
        let size = t
            .and_then(|t| facts.shape(t))
            .and_then(|s| s.get(map.axis))
            .copied()
            .unwrap_or(0);
        if map.kept.is_empty() || map.kept.last().is_some_and(|&k| k >= size) {
            return Err(inconsistent(name, "no channel would be left"));
        }
        if t.is_some_and(|t| graph.is_output(t) || graph.inputs().contains(&t)) {
            return Err(inconsistent(name, "an input or output would change shape"));
        }
    }
    Ok(())
}

fn apply(graph: &Graph<'_>, model: &ModelProto, plan: Plan) -> ModelProto {
    let mut out = model.clone();
    if plan.is_empty() {
        return out;
    }
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    let mut editor = Editor::new(&mut out);
    let mut changed = plan.constants.write(graph, &mut editor);
    for n in plan.unit_beta {
        editor.set_attribute(n.0, AttributeProto::float("beta", 1.0));
    }
    for gather in &plan.gathers {
        to_gather(graph, &mut editor, gather);
    }
    for (n, groups) in plan.groups {
        editor.set_attribute(n.0, AttributeProto::int("group", groups as i64));
    }
    for (n, name, value) in plan.attributes {
        match value {
            Some(list) => editor.set_attribute(n.0, AttributeProto::ints(name, list)),
            None => editor.remove_attribute(n.0, name),
        }
    }
    // (before which node, the new one)
    let mut new: Vec<(usize, NodeProto)> = Vec::new();
    for b in &plan.behind {
        let nodes = add_behind(graph, &mut editor, b).unwrap_or_default();
        new.extend(nodes.into_iter().map(|node| (b.node.0 + 1, node)));
    }
    for c in &plan.corrections {
        let nodes = correct(graph, &mut editor, c);
        new.extend(
            nodes
                .into_iter()
                .flat_map(|(at, nodes)| nodes.into_iter().map(move |n| (at, n))),
        );
    }
    for s in &plan.scatters {
        let nodes = scatter(graph, &mut editor, s);
        new.extend(nodes.into_iter().map(|node| (s.node.0, node)));
    }
    // From the end, so that earlier indices stay true.
    new.sort_by_key(|(index, _)| *index);
    for (index, node) in new.into_iter().rev() {
        editor.insert_node(index, node);
    }
    changed.extend(plan.channels.into_keys());
    editor.drop_value_info(&changed);
    editor.remove_unused(&was_used);
    out
}

/// Every tensor that is still there has the shape that was planned, and the rest its old one.
fn check_result(
    graph: &Graph<'_>,
    facts: &Facts,
    model: &ModelProto,
    channels: &ChannelMaps,
) -> Result<(), RewriteError> {
    let new_graph = Graph::new(model)?;
    let new_facts = Facts::lean(&new_graph, 1)?;
    for t in graph.tensors() {
        let name = graph.name(t);
        let (Some(old), Some(new)) = (facts.shape(t), new_graph.find(name)) else {
            continue;
        };
        if !facts.is_data(t) {
            continue;
        }
        let mut planned = old.to_vec();
        if let Some(map) = channels.get(name)
            && let Some(d) = planned.get_mut(map.axis)
        {
            *d = map.kept.len();
        }
        let found = new_facts.shape(new);
        if found != Some(&planned) {
            return Err(inconsistent(
                name,
                format!("shape {found:?} where {planned:?} was planned"),
            ));
        }
    }
    for &t in graph.outputs() {
        if new_graph.find(graph.name(t)).is_none() {
            return Err(inconsistent(graph.name(t), "the graph output is gone"));
        }
    }
    Ok(())
}
