//! What elimination will do, as a value: which channels of which tensors stay, what every constant
//! becomes, and why filters that could go do not.

use std::collections::BTreeMap;
use std::fmt;

use ndarray::{Array1, Axis};

use super::constants::ConstantWriter;
use super::decide::decide;
use super::fold::{self, Absorbed};
use super::liveness::{Decisions, Solution, Stays, kept};
use super::rules::{Along, Channels, Cut, Mixing, Parameter, Shift};
use super::state::State;
use super::{Analysis, RewriteError};
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::onnx::Tensor;

/// Settings of [`super::eliminate`].
#[derive(Debug, Clone, PartialEq)]
pub struct EliminateOptions {
    /// A convolution with zero padding that loses constant channels gets a border map (an added
    /// `[1, O, H, W]` constant) of at most this many values for each weight that it saves. 0: the
    /// channels stay.
    pub border_map_ratio: f32,
    /// Layers keep a multiple of this many filters (or all that they have). 1: any number.
    pub round_to: usize,
    /// Names of layers whose filters all stay, needed or not; a name that no layer has does
    /// nothing.
    pub keep: Vec<String>,
}

impl Default for EliminateOptions {
    fn default() -> Self {
        Self {
            border_map_ratio: 1.0,
            round_to: 1,
            keep: Vec::new(),
        }
    }
}

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

/// A node `Add` behind a layer, for what the layer absorbed and cannot hold itself.
#[derive(Debug)]
pub(super) struct AddBehind {
    pub node: NodeId,
    pub value: Tensor,
}

/// A node that becomes `Gather(tensor, indices)` along an axis.
#[derive(Debug)]
pub(super) struct GatherOf {
    pub node: NodeId,
    pub tensor: TensorId,
    pub axis: usize,
    pub indices: Vec<usize>,
}

/// What elimination will do. Printing it gives one line a decision.
#[derive(Debug)]
pub struct Plan {
    /// Tensors that lose channels.
    pub channels: ChannelMaps,
    /// Every layer, in the order of execution.
    pub layers: Vec<LayerOutcome>,
    /// Layers that absorb constants, and how (`bias`, `border map`, `added constant`).
    pub absorbed: BTreeMap<String, &'static str>,
    pub(super) constants: ConstantWriter,
    pub(super) behind: Vec<AddBehind>,
    /// Gemms whose `beta` becomes 1, because their C is rewritten.
    pub(super) unit_beta: Vec<NodeId>,
    /// Nodes that become a `Gather` of a tensor further up.
    pub(super) gathers: Vec<GatherOf>,
    /// Lists that nodes hold as attributes: new, or gone.
    pub(super) attributes: Vec<(NodeId, &'static str, Option<Vec<i64>>)>,
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
        for (layer, how) in &self.absorbed {
            writeln!(f, "layer '{layer}': absorbs constants into its {how}")?;
        }
        Ok(())
    }
}

impl Plan {
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
        };
        for t in graph.tensors() {
            if let Some(c) = &analysis.tensors[t.0] {
                let kept = kept(analysis, &stays, c);
                if kept.len() < c.units.len() {
                    let axis = c.axis;
                    let map = ChannelMap { axis, kept };
                    plan.channels.insert(graph.name(t).to_owned(), map);
                }
            }
        }
        for &n in graph.order() {
            plan.cut_parameters(graph, facts, analysis, n)?;
        }
        for &n in graph.order() {
            plan.gathers.extend(plan.gather(graph, analysis, n));
        }
        for (layer, mixing, out) in analysis.mixing() {
            plan.cut_weights(graph, facts, (layer.node, mixing, layer.output))?;
            plan.absorb(graph, facts, analysis, &stays, (layer.node, mixing, out));
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

    fn cut_parameters(
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
            let implied = behaviour.implied.iter().find(|i| i.input == p.input);
            let current = match self.constants.requested(n, p.input) {
                Some(value) => Some(value.clone()),
                None => match implied {
                    Some(i) => Some(Tensor::I64(Array1::from(i.value.clone()).into_dyn())),
                    None => {
                        let t = graph.input_of(n, p.input);
                        t.and_then(|t| facts.constant(t)).cloned()
                    }
                },
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

    /// A channel shuffle of which channels go.
    fn gather(&self, graph: &Graph<'_>, analysis: &Analysis, n: NodeId) -> Option<GatherOf> {
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

    /// A layer's weights follow its filters and its input channels, group by group.
    fn cut_weights(
        &mut self,
        graph: &Graph<'_>,
        facts: &Facts,
        (node, mixing, out): (NodeId, &Mixing, TensorId),
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
        let weight = facts.constant(layer.weight).and_then(Tensor::as_f32);
        let cut = weight.and_then(|w| layer.cut(w, &rows, &columns));
        let (weight, groups) = cut.ok_or_else(|| RewriteError::Inconsistent {
            at: graph.label(node).to_owned(),
            why: "its weights do not fit the channels they belong to".to_owned(),
        })?;
        if groups != layer.groups {
            self.groups.push((node, groups));
        }
        self.constants
            .request(node, layer.weight_input, Tensor::F32(weight));
        Ok(())
    }

    /// What a layer takes over from the channels that it no longer reads.
    fn absorb(
        &mut self,
        graph: &Graph<'_>,
        facts: &Facts,
        analysis: &Analysis,
        stays: &Solution,
        (node, mixing, out): (NodeId, &Mixing, &Channels),
    ) {
        let weight = facts.constant(mixing.layer.weight).and_then(Tensor::as_f32);
        let data = mixing.data.and_then(|t| analysis.tensors[t.0].as_ref());
        let (Some(weight), Some(data)) = (weight, data) else {
            return;
        };
        let rows = kept(analysis, stays, out);
        let gone = fold::gone(data, &kept(analysis, stays, data));
        let added = match fold::absorb(mixing, weight, &rows, &gone) {
            Absorbed::Nothing => return,
            Absorbed::Bias(added) => added,
            Absorbed::Map(map) => {
                self.note(graph, node, "border map");
                let value = Tensor::F32(map);
                self.behind.push(AddBehind { node, value });
                return;
            }
        };
        let old = |o: usize| match mixing.layer.shift {
            // Stays where it is.
            Shift::Behind(_) => 0.0,
            Shift::Bias | Shift::Scaled => f64::from(mixing.bias.get(o).copied().unwrap_or(0.0)),
        };
        let bias: Array1<f32> = rows
            .iter()
            .zip(&added)
            .map(|(&o, v)| (old(o) + v) as f32)
            .collect();
        match mixing.layer.shift {
            Shift::Behind(trailing) => {
                self.note(graph, node, "added constant");
                let mut bias = bias.into_dyn();
                (0..trailing).for_each(|_| bias.insert_axis_inplace(Axis(bias.ndim())));
                let value = Tensor::F32(bias);
                self.behind.push(AddBehind { node, value });
                return;
            }
            Shift::Scaled if graph.node(node).float("beta", 1.0) != 1.0 => {
                self.unit_beta.push(node);
            }
            Shift::Scaled | Shift::Bias => {}
        }
        self.note(graph, node, "bias");
        let value = Tensor::F32(bias.into_dyn());
        self.constants.request(node, 2, value);
    }

    fn note(&mut self, graph: &Graph<'_>, node: NodeId, how: &'static str) {
        self.absorbed.insert(graph.label(node).to_owned(), how);
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
        Cut::Groups => None,
    }
}

fn outcome(
    graph: &Graph<'_>,
    a: &Analysis,
    stays: &Solution,
    decisions: &Decisions,
    layer: &super::analysis::LayerNode,
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
        let root = a.units.find(out.units[o]);
        Some(match stays[root]? {
            Stays::Blocked => a.units.why_blocked(root)?.to_owned(),
            Stays::Kept => "its layer is kept whole".to_owned(),
            Stays::Last => "a layer keeps at least one filter".to_owned(),
            Stays::Even(reader) => format!(
                "the groups of '{}' keep as many channels as each other",
                graph.label(reader)
            ),
            Stays::Rounded => "filters are kept in multiples (--round-to)".to_owned(),
            Stays::Read(reader, state) => why_read(graph, a, decisions, layer, (reader, state)),
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
    layer: &super::analysis::LayerNode,
    (reader, state): (NodeId, State),
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
        _ => format!(
            "'{reader_name}' reads a value that differs at a border or is within rounding of a jump"
        ),
    }
}
