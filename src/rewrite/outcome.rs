//! What elimination makes of each layer, in words.

use super::Analysis;
use super::analysis::LayerNode;
use super::liveness::{Decisions, Solution, Stays, kept};
use super::state::State;
use crate::graph::{Graph, NodeId};

/// What becomes of a layer's filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutcome {
    /// The layer.
    pub name: String,
    /// How many filters it had.
    pub filters: usize,
    /// Those that stay, ascending.
    pub kept: Vec<usize>,
    /// Filters among `kept` whose output is constant all the same.
    pub constant_but_kept: usize,
    /// Why those stay.
    pub reason: Option<String>,
}

/// What becomes of a layer, and why filters that could go do not.
pub(super) fn outcome(
    graph: &Graph<'_>,
    a: &Analysis,
    stays: &Solution,
    decisions: &Decisions,
    layer: &LayerNode,
) -> LayerOutcome {
    let filters = layer.shape.filters;
    let all = LayerOutcome {
        name: layer.name.clone(),
        filters,
        kept: (0..filters).collect(),
        constant_but_kept: 0,
        reason: a.declined(layer.node).map(str::to_owned),
    };
    let Some(out) = &a.tensors[layer.output.0] else {
        return all;
    };
    let kept = kept(a, stays, out);
    let constant: Vec<usize> = kept
        .iter()
        .copied()
        .filter(|&o| out.states[o].constant().is_some())
        .collect();
    let why = |o: usize| {
        let root = a.classes.find(out.classes[o]);
        Some(match stays[root]? {
            Stays::Blocked => a.classes.why_blocked(root)?.to_owned(),
            Stays::Kept => "its layer is kept whole".to_owned(),
            Stays::Last => "what reads it needs at least one channel".to_owned(),
            Stays::Even(reader) => format!(
                "the groups of '{}' keep as many channels as each other",
                graph.label(reader)
            ),
            Stays::Coupled(add) => format!(
                "'{}' combines it with a stream that stays, and scattering it would cost more than it saves",
                graph.label(add)
            ),
            Stays::Rounded => "filters are kept in multiples (--round-to)".to_owned(),
            Stays::Read(reader, state) => why_read(graph, a, decisions, layer, reader, state),
        })
    };
    let mut reasons: Vec<String> = constant.iter().filter_map(|&o| why(o)).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    LayerOutcome {
        kept,
        constant_but_kept: constant.len(),
        reason,
        ..all
    }
}

fn why_read(
    graph: &Graph<'_>,
    a: &Analysis,
    decisions: &Decisions,
    layer: &LayerNode,
    reader: NodeId,
    state: State,
) -> String {
    let reader_name = graph.label(reader);
    match state {
        State::Live => {
            let group = a.group_of(&layer.name).and_then(|g| a.groups().get(g.0));
            let other = group.and_then(|g| g.layers.iter().find(|l| **l != layer.name));
            match other {
                Some(other) => {
                    format!("coupled with '{other}', whose channels '{reader_name}' still reads")
                }
                None => format!("'{reader_name}' reads its channel, which is not constant there"),
            }
        }
        State::Constant(_) if decisions.no_map.contains(&reader) => format!(
            "the zero padding of '{reader_name}' would need a border map larger than what it saves"
        ),
        State::Constant(_) => format!("'{reader_name}' sums it up over a batch of unknown size"),
        State::Fixed => format!(
            "'{reader_name}' reads a value that differs at a border or is within rounding of a jump"
        ),
    }
}
