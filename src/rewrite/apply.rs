//! Masks as zeros: the masked model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ndarray::{ArrayD, Axis, IxDyn};
use serde::{Deserialize, Serialize};

use super::analysis::LayerNode;
use super::constants::ConstantWriter;
use super::rules::{Shift, Zeroed};
use super::{Analysis, FilterMasks, GroupId, RewriteError};
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, NodeId};
use crate::onnx::proto::ModelProto;
use crate::onnx::{each, map_each};

/// What "removed" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// The channel contributes nothing downstream: its column is zeroed in each Conv, Gemm and
    /// MatMul that reads it through channel-wise operators.
    #[default]
    Drop,
    /// Only the output tensor of the named node is zero; the constants that this leaves behind
    /// (BatchNormalization of 0, Sign of that) still arrive downstream.
    Fold,
}

/// A model with masked filters.
#[derive(Debug, Clone)]
pub struct Masked {
    /// A valid model in which the masked filters are zero.
    pub model: ModelProto,
    /// What a report should say of it.
    pub notes: Vec<Note>,
}

/// Something that happened to a layer when masks were written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The computed weights of a layer were replaced by their values.
    Evaluated {
        /// The layer.
        layer: String,
    },
    /// Masked filters had a bias (perhaps a folded BatchNormalization shift), which is zero now.
    FoldedShift {
        /// The layer.
        layer: String,
        /// How many of them.
        filters: usize,
    },
    /// Filters named in `drop` that were masked as in `fold`.
    MaskedAsFold {
        /// The layer.
        layer: String,
        /// Which.
        filters: Vec<usize>,
        /// Why they are not prunable.
        reason: String,
    },
    /// A consumer's columns that are zero now.
    Dropped {
        /// The Conv, Gemm or MatMul that reads.
        consumer: String,
        /// How many of its columns.
        columns: usize,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluated { layer } => {
                write!(f, "'{layer}': computed weights were written as constants")
            }
            Self::FoldedShift { layer, filters } => write!(
                f,
                "'{layer}': {filters} masked filters carried a bias, which went with them"
            ),
            Self::MaskedAsFold {
                layer,
                filters,
                reason,
            } => write!(
                f,
                "'{layer}': {} filters were masked as in 'fold': {reason}",
                filters.len()
            ),
            Self::Dropped { consumer, columns } => {
                write!(f, "'{consumer}': {columns} columns dropped")
            }
        }
    }
}

/// Rows and columns of one layer that become zero.
#[derive(Debug, Default)]
struct Zeros {
    filters: BTreeSet<usize>,
    columns: BTreeSet<usize>,
}

/// Columns that are folded, never dropped ([`Removal::Drop`]), by the names of the layers that read them: a
/// flag for each channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoldedColumns(BTreeMap<String, Vec<bool>>);

impl FoldedColumns {
    /// Those of channels that are constant in a model that nobody has masked.
    pub fn of(graph: &Graph<'_>, analysis: &Analysis) -> Self {
        let readers = analysis.mixing_with_data();
        let columns = readers.map(|(reader, _, data)| {
            let constant = data.states.iter().map(|state| !state.is_live());
            (graph.label(reader).to_owned(), constant.collect())
        });
        Self(columns.collect())
    }

    /// With those of a stream's channels, where each layer that writes into it is masked by itself: the
    /// stream stays, and in it the constants that masked filters leave.
    #[must_use]
    pub fn with_stream(mut self, graph: &Graph<'_>, analysis: &Analysis, stream: GroupId) -> Self {
        for site in analysis.mask_sites(stream) {
            let flags = self.0.get_mut(graph.label(site.consumer));
            for (flag, channel) in flags.into_iter().flatten().zip(&site.filter_of) {
                *flag |= channel.is_some();
            }
        }
        self
    }

    /// The flags of a reader of so many channels.
    fn of_reader(&self, reader: &str, channels: usize) -> Option<&[bool]> {
        let flags = self.0.get(reader)?;
        (flags.len() == channels).then_some(flags)
    }
}

/// Writes masks into a model as zeros in its effective weights. The rest stays byte for byte.
///
/// # Errors
/// If the masks do not fit the model, or a layer cannot be masked.
pub fn apply_masks(
    model: &ModelProto,
    masks: &FilterMasks,
    removal: Removal,
) -> Result<Masked, RewriteError> {
    write_masks(model, masks, removal, None)
}

/// [`apply_masks`] to a model that was retrained with these masks on: which columns were `folded` was decided
/// when learning began. A channel that was dropped has no say in what the layers behind it learn, and may have
/// become constant since, by parameters that nothing depended on any more; and the other way round. Of readers
/// that are not in `folded` the model's own states decide.
///
/// # Errors
/// As [`apply_masks`].
pub fn apply_learned_masks(
    model: &ModelProto,
    masks: &FilterMasks,
    removal: Removal,
    folded: &FoldedColumns,
) -> Result<Masked, RewriteError> {
    write_masks(model, masks, removal, Some(folded))
}

fn write_masks(
    model: &ModelProto,
    masks: &FilterMasks,
    removal: Removal,
    learned: Option<&FoldedColumns>,
) -> Result<Masked, RewriteError> {
    let graph = Graph::new(model)?;
    let facts = Facts::lean(&graph, 1)?;
    let before = Analysis::new(&graph, &facts);
    masks.validate(&before)?;
    let mut zeros: BTreeMap<NodeId, Zeros> = BTreeMap::new();
    let mut zeroed = Zeroed::new();
    for l in &before.layers {
        let pruned = masks.layers.get(&l.name).map_or(&[][..], |m| &m.pruned);
        if pruned.is_empty() {
            continue;
        }
        zeros.entry(l.node).or_default().filters = pruned.iter().copied().collect();
        let mut flags = vec![false; l.shape.filters];
        pruned.iter().for_each(|&f| flags[f] = true);
        zeroed.insert(l.node, flags);
    }
    let mut notes = Vec::new();
    if removal == Removal::Drop {
        let after = Analysis::with_zeroed(&graph, &facts, &zeroed);
        notes.extend(not_droppable(&after, &zeroed));
        let named = named_channels(&graph, &after, &zeroed);
        let own = FoldedColumns::of(&graph, &before);
        // What all channels meet alike (a gate of one channel, a map that is added to each) makes a channel vary
        // that nothing else writes any more.
        let left = before.written_channels(masks);
        for (consumer, mixing, now) in after.mixing_with_data() {
            let (label, count) = (graph.label(consumer), now.states.len());
            let folded = learned.and_then(|learned| learned.of_reader(label, count));
            let folded = folded.or_else(|| own.of_reader(label, count));
            let named = mixing.data.and_then(|t| named[t.0].as_deref());
            let (Some(folded), Some(named)) = (folded, named) else {
                continue;
            };
            let left = mixing.data.and_then(|t| left.of(t));
            let written = |i: &usize| left.is_none_or(|left| left.kept.contains(i));
            let columns: BTreeSet<usize> = (0..count)
                .filter(|i| named[*i] && !folded[*i] && !(now.states[*i].is_live() && written(i)))
                .collect();
            if !columns.is_empty() {
                notes.push(Note::Dropped {
                    consumer: label.to_owned(),
                    columns: columns.len(),
                });
                zeros.entry(consumer).or_default().columns = columns;
            }
        }
    }
    let mut writer = ConstantWriter::default();
    for l in &before.layers {
        if let Some(z) = zeros.get(&l.node) {
            zero_layer(&graph, &facts, l, z, &mut writer, &mut notes)?;
        }
    }
    let model = written(&graph, writer)?;
    Ok(Masked { model, notes })
}

/// A model without the biases of masked filters, which go with these ([`Removal::Fold`]): for a form that has
/// them elsewhere, in thresholds.
///
/// # Errors
/// As [`apply_masks`].
pub fn without_biases(model: &ModelProto, masks: &FilterMasks) -> Result<ModelProto, RewriteError> {
    let graph = Graph::new(model)?;
    let facts = Facts::lean(&graph, 1)?;
    let analysis = Analysis::new(&graph, &facts);
    masks.validate(&analysis)?;
    let mut writer = ConstantWriter::default();
    for layer in &analysis.layers {
        if let Some(mask) = masks.layers.get(&layer.name) {
            let filters: BTreeSet<usize> = mask.pruned.iter().copied().collect();
            zero_bias(&graph, &facts, layer, &filters, &mut writer)?;
        }
    }
    written(&graph, writer)
}

/// The graph's model with what was requested.
fn written(graph: &Graph<'_>, writer: ConstantWriter) -> Result<ModelProto, RewriteError> {
    let model = graph.model();
    let mut out = model.clone();
    if !writer.is_empty() {
        let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
        let mut editor = Editor::new(&mut out);
        let changed = writer.write(graph, &mut editor);
        editor.drop_value_info(&changed);
        editor.remove_unused(&was_used);
    }
    Graph::new(&out)?;
    Ok(out)
}

/// Masked filters whose path ends in something without columns.
fn not_droppable(a: &Analysis, zeroed: &Zeroed) -> Vec<Note> {
    let mut notes = Vec::new();
    for l in &a.layers {
        let Some(flags) = zeroed.get(&l.node) else {
            continue;
        };
        let why = |f: usize| match &a.tensors[l.output.0] {
            Some(c) => c.classes.get(f).and_then(|&u| a.classes.why_undroppable(u)),
            None => Some("its operator is declined"),
        };
        let filters: Vec<usize> = (0..flags.len())
            .filter(|&f| flags[f] && why(f).is_some())
            .collect();
        if let Some(&first) = filters.first() {
            let reason = a.prunable(&l.name).err();
            notes.push(Note::MaskedAsFold {
                layer: l.name.clone(),
                reason: reason.unwrap_or_else(|| why(first).unwrap_or_default().to_owned()),
                filters,
            });
        }
    }
    notes
}

/// For each tracked tensor, the channels that a masked, droppable filter writes (perhaps together
/// with others).
fn named_channels(graph: &Graph<'_>, a: &Analysis, zeroed: &Zeroed) -> Vec<Option<Vec<bool>>> {
    let mut named: Vec<Option<Vec<bool>>> = vec![None; graph.tensor_count()];
    for &n in graph.order() {
        let outputs = a.behaviours[n.0].iter().flat_map(|b| &b.outputs);
        for (slot, output) in outputs.enumerate() {
            let Some(out) = graph.output_of(n, slot) else {
                continue;
            };
            let Some(channels) = &a.tensors[out.0] else {
                continue;
            };
            // A layer's filters are its only output.
            let own = zeroed.get(&n);
            let flags = (0..output.states.len())
                .map(|j| {
                    let inherited = output.sources.iter().any(|s| {
                        let i = s.index.get(j).copied().flatten();
                        let t = s.tensor(graph, n);
                        i.zip(t)
                            .and_then(|(i, t)| named[t.0].as_ref()?.get(i).copied())
                            .unwrap_or(false)
                    });
                    let itself = own.and_then(|z| z.get(j)).copied().unwrap_or(false)
                        && a.classes.why_undroppable(channels.classes[j]).is_none();
                    inherited || itself
                })
                .collect();
            named[out.0] = Some(flags);
        }
    }
    named
}

/// Requests the layer's weights and bias with zeros in them.
fn zero_layer(
    graph: &Graph<'_>,
    facts: &Facts,
    layer: &LayerNode,
    zeros: &Zeros,
    writer: &mut ConstantWriter,
    notes: &mut Vec<Note>,
) -> Result<(), RewriteError> {
    let shape = &layer.shape;
    let unmaskable = |why: &str| RewriteError::Unmaskable {
        layer: layer.name.clone(),
        why: why.to_owned(),
    };
    let old = facts
        .typed_weights(graph, shape.weight)
        .ok_or_else(|| unmaskable("its weights are not constant numbers of a float type"))?;
    let mut weight = old.clone().into_owned();
    each!(&mut weight, w => {
        for &f in &zeros.filters {
            (0..shape.inputs).for_each(|c| shape.clear(w, f, c));
        }
        for &c in &zeros.columns {
            (0..shape.filters).for_each(|f| shape.clear(w, f, c));
        }
    });
    if weight != *old {
        if graph.producer(shape.weight).is_some() {
            notes.push(Note::Evaluated {
                layer: layer.name.clone(),
            });
        }
        writer.request(layer.node, shape.weights_at.weight_input(), weight);
    }
    let filters = zero_bias(graph, facts, layer, &zeros.filters, writer)?;
    if filters > 0 {
        notes.push(Note::FoldedShift {
            layer: layer.name.clone(),
            filters,
        });
    }
    Ok(())
}

/// Requests the layer's bias with zeros for `filters`; how many of them had one.
fn zero_bias(
    graph: &Graph<'_>,
    facts: &Facts,
    layer: &LayerNode,
    filters: &BTreeSet<usize>,
    writer: &mut ConstantWriter,
) -> Result<usize, RewriteError> {
    let shape = &layer.shape;
    let unmaskable = |why: &str| RewriteError::Unmaskable {
        layer: layer.name.clone(),
        why: why.to_owned(),
    };
    if filters.is_empty() {
        return Ok(0);
    }
    // Where the filters lie in the bias, counted from its last axis.
    let from_end = match shape.shift {
        Shift::Bias | Shift::Scaled => 0,
        Shift::Behind(n) => n,
    };
    let Some(t) = graph.input_of(layer.node, 2) else {
        return Ok(0);
    };
    let old = facts
        .constant(t)
        .filter(|t| t.data_type().is_float())
        .ok_or_else(|| unmaskable("its bias is not constant"))?;
    let mut shifted = 0;
    let bias = map_each!(old, old => {
        let axis = old.ndim().checked_sub(1 + from_end);
        let (mut bias, axis) = match axis {
            Some(axis) if old.shape()[axis] == shape.filters => (old.clone(), Axis(axis)),
            _ if old.len() == 1 => {
                let value = old.first().copied().unwrap_or_default();
                let mut full = vec![1; 1 + from_end];
                full[0] = shape.filters;
                (ArrayD::from_elem(IxDyn(&full), value), Axis(0))
            }
            _ => return Err(unmaskable("its bias is not one value a filter")),
        };
        for &f in filters {
            let mut slice = bias.index_axis_mut(axis, f);
            let zero = Default::default();
            shifted += usize::from(slice.iter().any(|&v| v != zero));
            slice.fill(zero);
        }
        bias
    });
    if shifted > 0 {
        writer.request(layer.node, 2, bias);
    }
    Ok(shifted)
}
