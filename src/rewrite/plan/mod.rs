//! What elimination will do, as a value: which channels of which tensors stay, what every constant
//! becomes, and why filters that could go do not.

mod constants;
mod layers;
mod streams;

use std::collections::BTreeMap;
use std::fmt;

use self::layers::PlanContext;
use super::constants::ConstantWriter;
use super::decide::decide;
use super::inserted::{AddBehind, Correction, GatherOf, Place, Scatter};
use super::liveness::kept;
use super::outcome::{LayerOutcome, outcome};
use super::{Analysis, EliminateOptions, RewriteError};
use crate::graph::{Facts, Graph, NodeId, TensorId};

/// The channels that a tensor of the pruned model has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelMap {
    /// Along which axis it was cut.
    pub axis: usize,
    /// Indices on that axis of the same tensor in the masked model, ascending.
    pub kept: Vec<usize>,
}

/// By tensor name; tensors that lost nothing are not listed.
pub type ChannelMaps = BTreeMap<String, ChannelMap>;

/// What elimination will do. Printing it gives one line a decision.
#[derive(Debug)]
pub struct Plan {
    /// Tensors that lose channels.
    pub channels: ChannelMaps,
    /// Every layer, in the order of execution.
    pub layers: Vec<LayerOutcome>,
    /// Layers and sums that absorb constants, and how (`bias`, `border map`, `added constant`).
    pub absorbed: BTreeMap<String, &'static str>,
    pub(super) constants: ConstantWriter,
    pub(super) behind: Vec<AddBehind>,
    /// Gemms whose `beta` becomes 1, because their C is rewritten.
    pub(super) unit_beta: Vec<NodeId>,
    /// Operands that are scattered into a stream.
    pub(super) scatters: Vec<Scatter>,
    /// Nodes that become a `Gather` of a tensor further up.
    pub(super) gathers: Vec<GatherOf>,
    /// Lists that nodes hold as attributes: new, or gone.
    pub(super) attributes: Vec<(NodeId, &'static str, Option<Vec<i64>>)>,
    /// What is computed from shapes and would change with the channels.
    pub(super) corrections: Vec<Correction>,
    /// Convolutions whose `group` changes.
    pub(super) groups: Vec<(NodeId, usize)>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for l in &self.layers {
            write!(f, "layer '{}': {} of {}", l.name, l.kept.len(), l.filters)?;
            writeln!(f, " filters stay")?;
            if let Some(reason) = &l.reason {
                writeln!(f, "  {} constant ones: {reason}", l.constant_but_kept)?;
            }
        }
        for (t, m) in &self.channels {
            writeln!(f, "tensor '{t}': axis {} keeps {}", m.axis, m.kept.len())?;
        }
        for line in &self.changes() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl Plan {
    /// What the graph gets besides narrower tensors, one line each.
    pub fn changes(&self) -> Vec<String> {
        let scattered = self.scatters.iter().map(|s| {
            let constant = |p: &&Place| matches!(p, Place::Constant(_));
            let (missing, count) = (s.places.iter().filter(constant).count(), s.places.len());
            format!(
                "input {} of '{}': scattered into the stream, {missing} of {count} channels are constant",
                s.input, s.label
            )
        });
        let absorbed = self
            .absorbed
            .iter()
            .map(|(layer, how)| format!("'{layer}': absorbs constants into its {how}"));
        scattered.chain(absorbed).collect()
    }

    /// Decides what can be cut from an analysed graph. Changes nothing.
    pub fn new(
        graph: &Graph<'_>,
        facts: &Facts,
        analysis: &Analysis,
        options: &EliminateOptions,
    ) -> Result<Self, RewriteError> {
        let (stays, decisions) = decide(analysis, options);
        let mut plan = Self {
            channels: ChannelMaps::new(),
            layers: Vec::new(),
            absorbed: BTreeMap::new(),
            constants: ConstantWriter::default(),
            behind: Vec::new(),
            unit_beta: Vec::new(),
            groups: Vec::new(),
            attributes: Vec::new(),
            gathers: Vec::new(),
            scatters: Vec::new(),
            corrections: Vec::new(),
        };
        for t in graph.tensors() {
            if let Some(c) = &analysis.tensors[t.0] {
                let kept = kept(analysis, &stays, c);
                if kept.len() < c.classes.len() {
                    let axis = c.axis;
                    let map = ChannelMap { axis, kept };
                    plan.channels.insert(graph.name(t).to_owned(), map);
                }
            }
        }
        for &n in graph.order() {
            plan.corrections.extend(plan.shape_read(graph, facts, n));
            plan.cut_parameters(graph, facts, analysis, n)?;
        }
        for s in &analysis.scattered {
            plan.scatters
                .extend(plan.scatter(graph, facts, analysis, s)?);
        }
        for &n in graph.order() {
            plan.gathers.extend(plan.gather(graph, analysis, n));
        }
        let context = PlanContext {
            graph,
            facts,
            analysis,
            stays: &stays,
        };
        for (layer, mixing, out) in analysis.mixing() {
            plan.cut_weights(graph, facts, layer.node, mixing, layer.output)?;
            plan.absorb(&context, layer.node, mixing, out);
        }
        for (node, total, data) in analysis.totals() {
            plan.absorb_total(&context, node, total, data);
        }
        for l in &analysis.layers {
            plan.layers
                .push(outcome(graph, analysis, &stays, &decisions, l));
        }
        Ok(plan)
    }

    /// Whether it leaves the model as it is.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.constants.is_empty() && self.behind.is_empty()
    }

    fn kept(&self, graph: &Graph<'_>, t: TensorId) -> Option<&ChannelMap> {
        self.channels.get(graph.name(t))
    }
}
