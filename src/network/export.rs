//! Trained parameters back into the model.

use std::collections::{BTreeMap, HashSet};

use bnn_kernels::parallel::Planes;
use ndarray::ArrayD;
use thiserror::Error;

use super::binary_weight::{BinaryId, ScaleMode};
use super::graph::Network;
use super::restored::close;
use crate::arrays::map_planes;
use crate::graph::edit::{Editor, used_names};
use crate::graph::{Graph, GraphError, NodeId, TensorId, operand_name};
use crate::onnx::Tensor;
use crate::onnx::proto::{ModelProto, NodeProto};

/// Why parameters cannot be written into a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model is not a valid graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model is not the one that the network was imported from.
    #[error("the model has no node {0}: it is not the one that the network was imported from")]
    OtherModel(usize),
}

/// A place in the model that reads a parameter: node and input index.
type Place = (NodeId, usize);

/// Edits of a model, planned.
#[derive(Debug, Default)]
struct Plan {
    /// New values of initializers.
    values: BTreeMap<String, ArrayD<f32>>,
    /// New initializers: wished name, value, and the places that read it from now on.
    added: Vec<(String, ArrayD<f32>, Vec<Place>)>,
    /// What is to be added to a node's output from now on: a value for each channel.
    behind: Vec<(NodeId, ArrayD<f32>)>,
}

/// A changed value and the places that are to read it.
struct Change {
    value: ArrayD<f32>,
    uses: Vec<Place>,
}

/// Writes all changed parameters into `model`, which has to be the one that the network was
/// imported from: into their initializers where nothing else reads those, else as new
/// initializers. Latents are written where the model computes exactly sign(W) · mean|W| of
/// them, else the layer's weight becomes the constant that the network computes. A
/// BatchNormalization that was put back gets the file's form again. Masks are not written. What did not
/// change stays as it is, to the bit.
///
/// # Errors
/// If `model` is not a valid graph, or not that of the import.
pub fn write_back(network: &Network, model: &mut ModelProto) -> Result<(), ExportError> {
    let plan = {
        let graph = Graph::new(model)?;
        planned(network, &graph)?
    };
    if plan.values.is_empty() && plan.added.is_empty() && plan.behind.is_empty() {
        return Ok(());
    }
    let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
    plan.apply(&mut Editor::new(model), &was_used);
    Ok(())
}

fn planned(network: &Network, graph: &Graph<'_>) -> Result<Plan, ExportError> {
    let mut plan = Plan::default();
    let mut changes = Vec::new();
    for param in network.params() {
        if let Some(origin) = &param.origin
            && param.value != origin.initial
        {
            changes.push(Change {
                value: param.value.clone(),
                uses: origin.uses.clone(),
            });
        }
    }
    for b in (0..network.binaries().len()).map(BinaryId) {
        plan_binary(network, graph, b, &mut plan, &mut changes);
    }
    let places = changes.iter().flat_map(|c| &c.uses);
    let mut nodes = places
        .map(|(n, _)| *n)
        .chain(plan.behind.iter().map(|b| b.0));
    if let Some(n) = nodes.find(|n| n.0 >= graph.node_count()) {
        return Err(ExportError::OtherModel(n.0));
    }
    plan.add(graph, changes);
    Ok(plan)
}

fn plan_binary(
    network: &Network,
    graph: &Graph<'_>,
    b: BinaryId,
    plan: &mut Plan,
    changes: &mut Vec<Change>,
) {
    let weight = network.binary(b);
    let effective = network.effective_weight(b);
    let uses = &weight.origin.uses[..];
    if let Some(norm) = network.restored.iter().find(|n| n.form.binary == b) {
        let written = norm.written(network);
        let constants = written.constants.into_iter();
        changes.extend(constants.map(|(value, uses)| Change { value, uses }));
        if let Some(values) = written.added {
            plan.behind.push((norm.form.layer, values));
        }
        if let Some(scales) = written.scales {
            let planes = Planes::around(effective.shape(), weight.filter_axis);
            let scaled = map_planes(planes, &effective, |f, w, out| {
                out.iter_mut().zip(w).for_each(|(o, w)| *o = w * scales[f]);
            });
            // Putting back and writing rounds: an untrained layer keeps the file's own numbers.
            if !close(&scaled, &weight.origin.initial) {
                changes.push(Change {
                    value: scaled,
                    uses: uses.to_vec(),
                });
            }
            return;
        }
    }
    if effective == weight.imported && !latents_moved(network, graph, b) {
        return;
    }
    if let (Some(origin), ScaleMode::MeanAbs { kept_columns }) =
        (&weight.latent_origin, &weight.scale)
        && origin.mean_abs
        && kept_columns.as_ref().is_none_or(|k| k.iter().all(|k| *k))
        && let Some(t) = graph.find(&origin.initializer)
        && feeds_only(graph, t, uses)
    {
        let latents = network.param(weight.latent).value.clone();
        plan.values.insert(origin.initializer.clone(), latents);
        return;
    }
    if effective != weight.imported {
        changes.push(Change {
            value: effective,
            uses: uses.to_vec(),
        });
    }
}

/// Whether latents that the file holds differ from the file's.
fn latents_moved(network: &Network, graph: &Graph<'_>, b: BinaryId) -> bool {
    let weight = network.binary(b);
    let held = weight.latent_origin.as_ref().and_then(|o| {
        let t = graph.find(&o.initializer)?;
        graph.initializer_value(t)
    });
    held.is_some_and(|h| h.as_f32() != Some(&network.param(weight.latent).value))
}

/// Whether whatever is computed from `t` through constants ends in `uses` alone.
fn feeds_only(graph: &Graph<'_>, t: TensorId, uses: &[Place]) -> bool {
    let mut seen = HashSet::new();
    let mut waiting = vec![t];
    while let Some(t) = waiting.pop() {
        if graph.is_output(t) {
            return false;
        }
        for u in graph.consumers(t) {
            let Some(k) = u.input else {
                return false;
            };
            if uses.contains(&(u.node, k)) {
                continue;
            }
            // A layer, or anything else that computes on data, is an end; chains of weights are
            // made of these operators.
            let is_chain = matches!(
                graph.node(u.node).op(),
                "Sign" | "Abs" | "ReduceMean" | "Mul" | "Identity"
            );
            if !is_chain {
                return false;
            }
            for t in graph.outputs_of(u.node).into_iter().flatten() {
                if seen.insert(t) {
                    waiting.push(t);
                }
            }
        }
    }
    true
}

impl Plan {
    /// Plans the changes of constants.
    fn add(&mut self, graph: &Graph<'_>, changes: Vec<Change>) {
        // Places by the tensor that they read; each change may touch several tensors.
        for change in changes {
            let mut by_tensor: BTreeMap<TensorId, Vec<Place>> = BTreeMap::new();
            for &(n, k) in &change.uses {
                if let Some(t) = graph.input_of(n, k) {
                    by_tensor.entry(t).or_default().push((n, k));
                }
            }
            for (t, places) in by_tensor {
                let name = graph.name(t).to_owned();
                let all_readers = graph.consumers(t).iter().all(|u| {
                    let place = u.input.map(|k| (u.node, k));
                    place.is_some_and(|p| places.contains(&p))
                });
                if graph.initializer(t).is_some() && all_readers && !graph.is_output(t) {
                    self.values.insert(name, change.value.clone());
                } else {
                    let wish = match (graph.producer(t), places.first()) {
                        (Some(_), Some(&(node, k))) => operand_name(graph, node, k),
                        _ => name,
                    };
                    self.added.push((wish, change.value.clone(), places));
                }
            }
        }
    }

    fn apply(mut self, editor: &mut Editor<'_>, was_used: &HashSet<String>) {
        for (name, value) in self.values {
            editor.set_initializer(&name, &Tensor::F32(value));
        }
        let mut replaced = false;
        for (wish, value, places) in self.added {
            let name = editor.add_initializer(&wish, &Tensor::F32(value));
            for (node, k) in places {
                editor.set_input(node.0, k, &name);
                replaced = true;
            }
        }
        // From the back, so that what is inserted moves nothing that is still to be edited.
        self.behind
            .sort_by_key(|(node, _)| std::cmp::Reverse(*node));
        for (node, value) in self.behind {
            add_behind(editor, node.0, value);
        }
        if replaced {
            editor.remove_unused(was_used);
        }
    }
}

/// Adds a constant to the output of the node at `index`, for all that read it.
fn add_behind(editor: &mut Editor<'_>, index: usize, value: ArrayD<f32>) {
    let Some(layer) = editor.node_mut(index) else {
        return;
    };
    let Some(output) = layer.output.first().cloned() else {
        return;
    };
    let name = match layer.name() {
        "" => output.clone(),
        name => name.to_owned(),
    };
    let constant = editor.add_initializer(&format!("{name}.threshold"), &Tensor::F32(value));
    let shifted = editor.fresh_name(&format!("{name}.shifted"));
    editor.redirect(&output, &shifted, Some(index));
    let add = NodeProto::of("Add", [output, constant], shifted);
    editor.insert_node(index + 1, add.named(format!("{name}/threshold")));
}
