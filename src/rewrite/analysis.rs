//! The forward analysis of a graph: for each tensor its channels, for each node what it does to
//! them, which channels are tied, and which cannot be cut and why.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::bounds::{self, Interval};
use super::classes::{ChannelClass, ChannelClasses};
use super::did_you_mean;
use super::groups::{self, Group, GroupId, MaskSite};
use super::rules::{
    self, Behaviour, Channels, Context, LayerShape, Mixing, Output, Source, Total, Zeroed,
};
use super::state::State;
use super::{FilterMasks, Residual, decide};
use crate::graph::{Facts, Graph, NodeId, TensorId};

/// Every Conv, Gemm and MatMul with constant weights, how their filters are coupled, and where
/// masks act.
#[derive(Debug)]
pub struct Analysis {
    pub(super) tensors: Vec<Option<Channels>>,
    pub(super) behaviours: Vec<Option<Behaviour>>,
    pub(super) classes: ChannelClasses,
    pub(super) layers: Vec<LayerNode>,
    /// Operands of an `Add`, `Sum` or `Mul` that need not have the channels of its output: what they lack
    /// can be scattered back in.
    pub(super) scattered: Vec<Scattered>,
    residual: Residual,
    declined: BTreeMap<NodeId, String>,
    groups: Vec<Group>,
    sites: Vec<Vec<MaskSite>>,
    group_of: BTreeMap<String, GroupId>,
    /// What each channel of each tensor can hold at all.
    bounds: Vec<Option<Vec<Interval>>>,
    /// Channels that may still be tracked, over all tensors.
    budget: usize,
    /// Solved when first asked for.
    dead_filters: OnceLock<FilterMasks>,
}

/// The most channels of one tensor (a Flatten has C·H·W of them), and of all.
const MOST_CHANNELS: usize = 1 << 22;
const MOST_IN_ALL: usize = 1 << 25;

/// An operand of an `Add`, `Sum` or `Mul` that may have fewer channels than the stream it goes into.
#[derive(Debug)]
pub(super) struct Scattered {
    pub node: NodeId,
    pub input: usize,
    pub operand: TensorId,
    pub stream: TensorId,
    /// Channel `j` of the stream receives channel `index[j]` of the operand.
    pub index: Vec<Option<usize>>,
}

/// A layer in the order of execution.
#[derive(Debug, Clone)]
pub(super) struct LayerNode {
    pub name: String,
    pub node: NodeId,
    pub shape: LayerShape,
    pub output: TensorId,
}

impl Analysis {
    /// Analyses a graph as it is.
    pub fn new(graph: &Graph<'_>, facts: &Facts) -> Self {
        Self::of(graph, facts, &[], &Zeroed::new(), Residual::Coupled)
    }

    /// As [`new`](Self::new), with residual streams as given, and with what holds at `others` too, other sizes.
    pub(super) fn at_sizes(
        graph: &Graph<'_>,
        facts: &Facts,
        others: &[Facts],
        residual: Residual,
    ) -> Self {
        Self::of(graph, facts, others, &Zeroed::new(), residual)
    }

    /// Analyses a graph as if some filters were zero.
    pub(super) fn with_zeroed(graph: &Graph<'_>, facts: &Facts, zeroed: &Zeroed) -> Self {
        Self::of(graph, facts, &[], zeroed, Residual::Coupled)
    }

    fn of(
        graph: &Graph<'_>,
        facts: &Facts,
        others: &[Facts],
        zeroed: &Zeroed,
        residual: Residual,
    ) -> Self {
        let mut a = Self {
            tensors: vec![None; graph.tensor_count()],
            behaviours: (0..graph.node_count()).map(|_| None).collect(),
            classes: ChannelClasses::default(),
            layers: Vec::new(),
            scattered: Vec::new(),
            residual,
            declined: BTreeMap::new(),
            groups: Vec::new(),
            sites: Vec::new(),
            group_of: BTreeMap::new(),
            bounds: vec![None; graph.tensor_count()],
            budget: MOST_IN_ALL,
            dead_filters: OnceLock::new(),
        };
        for &n in graph.order() {
            a.visit(graph, facts, others, zeroed, n);
        }
        a.block_contracts(graph);
        (a.groups, a.sites) = groups::form(&a);
        for g in &a.groups {
            a.group_of
                .extend(g.layers.iter().map(|l| (l.clone(), g.id)));
        }
        a
    }

    fn visit(
        &mut self,
        graph: &Graph<'_>,
        facts: &Facts,
        others: &[Facts],
        zeroed: &Zeroed,
        n: NodeId,
    ) {
        let inputs = graph.inputs_of(n);
        if !inputs.iter().flatten().any(|&t| facts.is_data(t)) {
            return;
        }
        let node = graph.node(n);
        if let (Some(shape), Some(output)) =
            (LayerShape::of(graph, facts, n), graph.output_of(n, 0))
        {
            self.layers.push(LayerNode {
                name: graph.label(n).to_owned(),
                node: n,
                shape,
                output,
            });
        }
        let context = Context {
            graph,
            facts,
            id: n,
            tensors: &self.tensors,
            zeroed,
            limit: MOST_CHANNELS.min(self.budget),
        };
        let tracked: Vec<bool> = (0..inputs.len())
            .map(|k| context.channels(k).is_some())
            .collect();
        let outcome = rules::find(&node).and_then(|rule| {
            let at = |facts| rule(&Context { facts, ..context });
            let outcome =
                others
                    .iter()
                    .try_fold(at(facts)?, |here, facts| match (here, at(facts)?) {
                        (Some(here), Some(there)) => here.also_at(there).map(Some),
                        (None, None) => Ok(None),
                        _ => Err("is a layer at some sizes of the input only".to_owned()),
                    });
            outcome.and_then(|b| accounted_for(b, &tracked))
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(mut behaviour)) => {
                // 16-bit floats round so coarsely that nothing but 0 is known of a sum of them.
                let outputs = graph.outputs_of(n);
                let half = outputs.iter().flatten().any(|&t| facts.is_half(t));
                let found = match half {
                    true => Vec::new(),
                    false => bounds::of(&context, &behaviour, &self.bounds),
                };
                bounds::refine(&mut behaviour, &found);
                if half {
                    let states = behaviour.outputs.iter_mut().flat_map(|o| &mut o.states);
                    states
                        .filter(|s| s.constant().is_some() && !s.is_exact_zero())
                        .for_each(|s| *s = State::Fixed);
                } else if let Some(out) = graph.output_of(n, 0)
                    && !behaviour.outputs.is_empty()
                {
                    self.bounds[out.0] = Some(found);
                }
                self.register(graph, n, behaviour);
            }
            Err(why) => {
                let reason = format!("{} '{}' {why}", node.full_op(), graph.label(n));
                for t in inputs.into_iter().flatten() {
                    self.block(t, &reason);
                }
                self.declined.insert(n, reason);
            }
        }
    }

    fn register(&mut self, graph: &Graph<'_>, n: NodeId, mut behaviour: Behaviour) {
        if self.residual == Residual::Scatter
            && matches!(graph.node(n).op(), "Add" | "Sum" | "Mul")
            && let Some(Output {
                sources, states, ..
            }) = behaviour.outputs.first_mut()
        {
            let tensors = &self.tensors;
            // A constant that goes into a stream which is not constant there: a branch, or a gate.
            let filled = |s: &mut Source| {
                let operand = graph.input_of(n, s.input);
                let operand = operand.and_then(|t| tensors[t.0].as_ref());
                operand.is_some_and(|c| {
                    let mut pairs = s.index.iter().zip(states.iter());
                    pairs.any(|(i, out)| {
                        let own = i.and_then(|i| c.states.get(i)).and_then(|s| s.constant());
                        own.is_some() && out.constant().is_none()
                    })
                })
            };
            let scattered = sources.extract_if(.., filled).filter_map(|s| {
                Some(Scattered {
                    node: n,
                    input: s.input,
                    operand: graph.input_of(n, s.input)?,
                    stream: graph.output_of(n, 0)?,
                    index: s.index,
                })
            });
            self.scattered.extend(scattered);
        }
        for (k, why) in &behaviour.blocked {
            let reason = format!("{} '{}' {why}", graph.node(n).full_op(), graph.label(n));
            if let Some(t) = graph.input_of(n, *k) {
                self.block(t, &reason);
            }
        }
        if let Some(total) = &behaviour.total {
            let (op, label) = (graph.node(n).full_op(), graph.label(n));
            let reason = format!("{op} '{label}' sums up channels and has no columns to zero");
            for &u in self.tensors[total.data.0].iter().flat_map(|c| &c.classes) {
                self.classes.block_drop(u, &reason);
            }
        }
        for (slot, output) in behaviour.outputs.iter().enumerate() {
            self.budget = self.budget.saturating_sub(output.states.len());
            let classes: Vec<ChannelClass> = (0..output.states.len())
                .map(|j| self.class_of(graph, n, output, j))
                .collect();
            for (part, why) in &output.pinned {
                let reason = format!("{} '{}' {why}", graph.node(n).full_op(), graph.label(n));
                for &u in classes.get(part.clone()).into_iter().flatten() {
                    self.classes.block(u, &reason);
                }
            }
            if let Some(out) = graph.output_of(n, slot) {
                self.tensors[out.0] = Some(Channels {
                    axis: output.axis,
                    states: output.states.clone(),
                    classes,
                });
            }
        }
        self.behaviours[n.0] = Some(behaviour);
    }

    /// The class of output channel `j`: a new one, or that of the input channels it comes from, tied.
    fn class_of(
        &mut self,
        graph: &Graph<'_>,
        n: NodeId,
        output: &Output,
        j: usize,
    ) -> ChannelClass {
        let mut class = None;
        for s in &output.sources {
            let source = s.index.get(j).copied().flatten().and_then(|i| {
                let t = s.tensor(graph, n)?;
                self.tensors[t.0].as_ref()?.classes.get(i).copied()
            });
            match (class, source) {
                (Some(a), Some(b)) => self.classes.tie(a, b),
                (None, Some(b)) => class = Some(b),
                (_, None) => {}
            }
        }
        class.unwrap_or_else(|| self.classes.fresh())
    }

    fn block(&mut self, t: TensorId, reason: &str) {
        if let Some(c) = &self.tensors[t.0] {
            for &u in &c.classes {
                self.classes.block(u, reason);
            }
        }
    }

    /// The shapes of graph outputs are a contract, and subgraphs read tensors by name.
    fn block_contracts(&mut self, graph: &Graph<'_>) {
        for &t in graph.outputs() {
            self.block(
                t,
                &format!("graph output '{}' keeps its shape", graph.name(t)),
            );
        }
        for t in graph.tensors() {
            if let Some(u) = graph.consumers(t).iter().find(|u| u.input.is_none()) {
                let (op, label) = (graph.node(u.node).full_op(), graph.label(u.node));
                let reason = format!("a subgraph of {op} '{label}' reads it");
                self.block(t, &reason);
            }
        }
    }

    /// Layers whose filters must be cut together, in the order of execution.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of a layer; `None` if it is no layer, or one that is declined.
    pub fn group_of(&self, layer: &str) -> Option<GroupId> {
        self.group_of.get(layer).copied()
    }

    /// Where a group's mask multiplies in `drop`; empty for an unknown group.
    pub fn mask_sites(&self, group: GroupId) -> &[MaskSite] {
        self.sites.get(group.0).map_or(&[], Vec::as_slice)
    }

    /// Whether a layer's filters can be cut; else the reason, by name.
    pub fn prunable(&self, layer: &str) -> Result<(), String> {
        let Some(l) = self.layers.iter().find(|l| l.name == layer) else {
            return Err(format!(
                "'{layer}' is no Conv, Gemm or MatMul with constant weights"
            ));
        };
        if let Some(reason) = self.declined.get(&l.node) {
            return Err(reason.clone());
        }
        let channels = self.tensors[l.output.0].as_ref();
        let classes = channels.map_or(&[][..], |c| &c.classes);
        match classes
            .iter()
            .find_map(|&u| self.classes.why_undroppable(u))
        {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(()),
        }
    }

    /// Why a node is declined.
    pub(super) fn declined(&self, n: NodeId) -> Option<&str> {
        self.declined.get(&n).map(String::as_str)
    }

    /// Names of all layers, in the order of execution.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|l| l.name.as_str())
    }

    /// Filters of a layer.
    pub fn filters(&self, layer: &str) -> Option<usize> {
        let l = self.layers.iter().find(|l| l.name == layer)?;
        Some(l.shape.filters)
    }

    /// `; did you mean …?`, where layers have names like `wanted`; else nothing.
    pub fn did_you_mean(&self, wanted: &str) -> String {
        did_you_mean(wanted, self.layers.iter().map(|l| l.name.as_str()))
    }

    /// What is known of each channel of a tensor; `None` where its channels are not tracked.
    pub fn states(&self, t: TensorId) -> Option<&[State]> {
        self.tensors.get(t.0)?.as_ref().map(|c| c.states.as_slice())
    }

    /// The filters that leave the file without any mask: what they write is constant, or read by nothing.
    pub fn dead_filters(&self) -> &FilterMasks {
        self.dead_filters.get_or_init(|| decide::dead_filters(self))
    }

    /// The axis along which a tensor's channels are tracked.
    pub fn channel_axis(&self, t: TensorId) -> Option<usize> {
        self.tensors.get(t.0)?.as_ref().map(|c| c.axis)
    }

    /// The layers that are not declined, in the order of execution, with the channels that they
    /// write.
    pub(super) fn mixing(&self) -> impl Iterator<Item = (&LayerNode, &Mixing, &Channels)> {
        self.layers.iter().filter_map(|l| {
            let mixing = self.behaviours[l.node.0].as_ref()?.mixing.as_ref()?;
            Some((l, mixing, self.tensors[l.output.0].as_ref()?))
        })
    }

    /// Sums over channels, with these.
    pub(super) fn totals(&self) -> impl Iterator<Item = (NodeId, &Total, &Channels)> {
        let all = self.behaviours.iter().enumerate();
        all.filter_map(|(n, b)| {
            let total = b.as_ref()?.total.as_ref()?;
            Some((NodeId(n), total, self.tensors[total.data.0].as_ref()?))
        })
    }

    /// Those of them that read tracked channels, with these.
    pub(super) fn mixing_with_data(&self) -> impl Iterator<Item = (NodeId, &Mixing, &Channels)> {
        self.mixing()
            .filter_map(|(l, m, _)| Some((l.node, m, self.tensors[m.data?.0].as_ref()?)))
    }

    /// The classes of channels that are constant where a layer reads them: masks fold those, and drop none.
    pub(super) fn constants_read(&self) -> impl Iterator<Item = ChannelClass> {
        self.mixing_with_data().flat_map(|(_, _, channels)| {
            let states = channels.classes.iter().zip(&channels.states);
            let constant = states.filter(|(_, state)| !state.is_live());
            constant.map(|(&class, _)| self.classes.find(class))
        })
    }
}

/// A rule must say what becomes of every tracked input; one that it overlooks would be cut unseen.
fn accounted_for(b: Option<Behaviour>, tracked: &[bool]) -> Result<Option<Behaviour>, String> {
    if let Some(b) = &b {
        for (k, _) in tracked.iter().enumerate().filter(|(_, t)| **t) {
            let sources = b.outputs.iter().flat_map(|o| &o.sources);
            let known = sources.into_iter().any(|s| s.input == k)
                || b.blocked.iter().any(|(i, _)| *i == k)
                || b.mixing
                    .as_ref()
                    .is_some_and(|m| m.layer.weights_at.data_input() == k)
                || (b.total.is_some() && k == 0);
            if !known {
                return Err(format!("reads channels at input {k}, which has no rule"));
            }
        }
    }
    Ok(b)
}
