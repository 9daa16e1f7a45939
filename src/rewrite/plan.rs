//! What elimination will do, as a value: which channels of which tensors stay, what every constant
//! becomes, and why filters that could go do not.

use std::collections::BTreeMap;
use std::fmt;

use ndarray::{Array1, Axis};

use super::analysis::Scattered;
use super::constants::ConstantWriter;
use super::decide::decide;
use super::fold::{self, Absorbed};
use super::inserted::{AddBehind, At, By, Correction, GatherOf, Place, Scatter};
use super::liveness::{Solution, kept};
use super::outcome::{LayerOutcome, outcome};
use super::rules::{Along, Channels, Cut, Mixing, Parameter, Shift};
use super::{Analysis, EliminateOptions, RewriteError};
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::onnx::Tensor;

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
    /// Layers that absorb constants, and how (`bias`, `border map`, `added constant`).
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
            .map(|(layer, how)| format!("layer '{layer}': absorbs constants into its {how}"));
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
                if kept.len() < c.units.len() {
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
            let input = graph.input_of(n, p.input);
            if let (Cut::Entry(entry), Some(t)) = (p.cut, input)
                && facts.is_of_shape(t)
                && let Some(target) = facts.value(t).and_then(Tensor::to_ints)
                && let Some(old) = target.get(entry)
            {
                let mut difference = vec![0; target.len()];
                difference[entry] = kept.len() as i64 - old;
                self.corrections.push(Correction {
                    node: n,
                    at: At::Input(p.input),
                    by: By::Adding(difference),
                });
                continue;
            }
            let implied = behaviour.implied.iter().find(|i| i.input == p.input);
            let current = match (self.constants.requested(n, p.input), implied) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(i)) => Some(Tensor::I64(Array1::from(i.value.clone()).into_dyn())),
                (None, None) => input
                    .and_then(|t| facts.constant(t).or_else(|| facts.expanded(graph, t)))
                    .cloned(),
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

    /// A `Shape` or `Size` of a tensor that loses channels: what reads it goes on with the numbers
    /// as they were.
    fn shape_read(&self, graph: &Graph<'_>, facts: &Facts, n: NodeId) -> Option<Correction> {
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

    /// An operand that keeps other channels than the stream it is added to.
    fn scatter(
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
            channels: of.len(),
            places,
        }))
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
