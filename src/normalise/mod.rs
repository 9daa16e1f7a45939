//! The integer form of binary layers.
//!
//! A binary layer computes α·n with n an integer. With α folded into the weights, rounding decides
//! what becomes of ties, and differs from runtime to runtime. In the normal form the weights are
//! ±1, so every runtime gets the same n in any order of summation; where the output goes to a
//! binariser alone, everything in between becomes one threshold (`Conv(±1) → Add(-t)`), elsewhere
//! the scale is a division behind the layer (`Conv(±1) → Div(1/α)`), which ONNX Runtime does not
//! fold back into the weights as it does a multiplication.

mod path;
mod threshold;

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::graph::edit::{Editor, used_names};
use crate::graph::{Facts, Graph, TensorId};
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{DataType, Tensor};
use crate::recognize::{Layer, LayerOp};
use path::{End, Path, channel_shape};
use threshold::{Affine, Thresholds};

/// What became of a binary layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// ±1 weights and a threshold in front of the binariser.
    Threshold,
    /// ±1 weights and a division.
    Divided,
    /// As it was, and why.
    Unchanged(&'static str),
}

/// A model in normal form.
#[derive(Debug)]
pub struct Normalised {
    /// The model.
    pub model: ModelProto,
    /// Its binary layers, in the order of execution.
    pub layers: Vec<(String, Form)>,
    /// Outputs of binarisers that are decided by integer thresholds now.
    pub rescaled: Vec<String>,
}

/// A layer's integer form, planned.
struct Plan<'a> {
    layer: &'a Layer,
    /// ±1 and 0, in the layout of the layer's weight; flipped filters included.
    weight: ArrayD<f32>,
    /// Shape of a channel vector in the layer's output.
    shape: Vec<usize>,
    behind: Behind,
}

enum Behind {
    Threshold {
        path: Path,
        found: Thresholds,
    },
    Divide {
        by: Vec<f32>,
        /// Added behind; empty if there is nothing to add.
        bias: Vec<f32>,
    },
}

/// Brings every binary layer of a graph into the integer form.
pub fn normalise(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Normalised {
    let ends = End::all(graph, facts);
    let mut notes = Vec::new();
    let mut plans = Vec::new();
    for layer in layers.iter().filter(|l| l.is_binary()) {
        let planned = plan(graph, facts, layer, &ends);
        notes.push((
            layer.name.clone(),
            match &planned {
                Ok(Plan {
                    behind: Behind::Threshold { .. },
                    ..
                }) => Form::Threshold,
                Ok(_) => Form::Divided,
                Err(why) => Form::Unchanged(why),
            },
        ));
        plans.extend(planned);
    }
    let mut model = graph.model().clone();
    if !plans.is_empty() {
        let was_used = model.graph.as_ref().map(used_names).unwrap_or_default();
        let mut editor = Editor::new(&mut model);
        // From the back, so that what is inserted moves nothing that is still to be edited.
        plans.sort_by_key(|p| std::cmp::Reverse(p.layer.node));
        for plan in &plans {
            plan.apply(graph, &mut editor);
        }
        editor.remove_unused(&was_used);
    }
    let rescaled = plans.iter().filter_map(|p| match &p.behind {
        Behind::Threshold { path, .. } => Some(graph.name(path.end.output).to_owned()),
        Behind::Divide { .. } => None,
    });
    Normalised {
        model,
        layers: notes,
        rescaled: rescaled.collect(),
    }
}

fn plan<'a>(
    graph: &Graph<'_>,
    facts: &Facts,
    layer: &'a Layer,
    ends: &BTreeMap<TensorId, End>,
) -> Result<Plan<'a>, &'static str> {
    if graph.opset() < 9 {
        return Err("opsets below 9 have no Sign");
    }
    if facts.element(layer.weight) != Some(DataType::F32.to_onnx()) {
        return Err("it does not compute in float32");
    }
    if !graph.order().is_sorted() {
        return Err("the file's nodes are not in the order of execution");
    }
    let weights = layer.binary_weights.as_ref().ok_or("has no ±1 weights")?;
    let unit = |v: &f32| [-1.0, 0.0, 1.0].contains(v);
    if !(layer.binarizer.as_ref()).is_some_and(|b| b.values.iter().all(unit)) {
        return Err("its input is not ±1 but ±a scale");
    }
    if layer.factor != 1.0 {
        return Err("its input is scaled behind the binariser");
    }
    let output = graph.output_of(layer.node, 0).ok_or("has no output")?;
    let rank = facts.shape(output).ok_or("has an unknown shape")?.len();
    let shape = channel_shape(graph, rank, layer);
    let node = graph.node(layer.node);
    let (alpha, beta) = match layer.op {
        LayerOp::Gemm => (node.float("alpha", 1.0), node.float("beta", 1.0)),
        _ => (1.0, 1.0),
    };
    if alpha == 0.0 {
        return Err("its alpha is 0");
    }
    let scale: Vec<f32> = weights.scale.iter().map(|s| s * alpha.abs()).collect();
    let bias = bias_of(graph, facts, layer, beta)?;
    if scale.iter().chain(&bias).any(|v| !v.is_finite()) {
        return Err("has a scale or a bias that is not finite");
    }
    let turn = if alpha < 0.0 { -1.0 } else { 1.0 };
    let weight = layer.values.mapv(|w| turn * crate::graph::scalar::sign(w));
    let plan = Plan {
        layer,
        weight,
        shape,
        behind: divided(&scale, &bias),
    };
    if let Some(path) = Path::of(graph, facts, layer, ends) {
        let area: usize = layer.kernel.iter().product();
        let affine = Affine {
            scale: &scale,
            bias: &bias,
            shape: &plan.shape,
        };
        if let Some(found) = threshold::find(graph, &path, &affine, layer.inputs * area) {
            return Ok(plan.with_threshold(path, found));
        }
    }
    let plain = scale.iter().all(|&s| s == 1.0) && bias.iter().all(|&b| b == 0.0);
    // A division by 1 keeps what is behind out of the weights.
    if plain && !is_scaled_behind(graph, facts, output) {
        return Err("its weights are ±1 already");
    }
    Ok(plan)
}

/// What a layer adds to each filter's sums, `beta` of a Gemm times its own input.
fn bias_of(
    graph: &Graph<'_>,
    facts: &Facts,
    layer: &Layer,
    beta: f32,
) -> Result<Vec<f32>, &'static str> {
    let Some(t) = graph.input_of(layer.node, 2) else {
        return Ok(vec![0.0; layer.filters]);
    };
    let value = facts.constant(t).and_then(Tensor::as_f32);
    let value = value.ok_or("its bias is computed")?;
    match value.len() {
        1 => Ok(vec![beta * value.iter().sum::<f32>(); layer.filters]),
        n if n == layer.filters && value.shape().last() == Some(&n) => {
            Ok(value.iter().map(|b| beta * b).collect())
        }
        _ => Err("its bias is not one value per filter"),
    }
}

/// The scale as a division, and the bias where there is one.
fn divided(scale: &[f32], bias: &[f32]) -> Behind {
    // A filter of zeros has no scale.
    let by = scale.iter().map(|&s| if s > 0.0 { 1.0 / s } else { 1.0 });
    Behind::Divide {
        by: by.collect(),
        bias: match bias.iter().all(|&b| b == 0.0) {
            true => Vec::new(),
            false => bias.to_vec(),
        },
    }
}

/// Whether ONNX Runtime would fold what reads a tensor into the weights of the layer that writes it:
/// `Mul` with a constant or `BatchNormalization`, perhaps behind `Add` with a constant.
fn is_scaled_behind(graph: &Graph<'_>, facts: &Facts, mut t: TensorId) -> bool {
    loop {
        let [reader] = graph.consumers(t) else {
            return false;
        };
        let inputs = graph.inputs_of(reader.node);
        let mut others = inputs.iter().flatten().filter(|&&i| i != t);
        match graph.node(reader.node).op() {
            "BatchNormalization" => return true,
            "Mul" => return others.all(|&i| facts.constant(i).is_some()),
            "Add" if others.all(|&i| facts.constant(i).is_some()) => {}
            _ => return false,
        }
        match graph.output_of(reader.node, 0) {
            Some(out) => t = out,
            None => return false,
        }
    }
}

impl Plan<'_> {
    /// The plan with everything up to the binariser as one threshold.
    fn with_threshold(mut self, path: Path, mut found: Thresholds) -> Self {
        if path.pools().next().is_none() {
            // Nothing but the layer itself has to be turned around.
            let axis = ndarray::Axis(self.layer.filter_axis);
            let filters = self.weight.axis_iter_mut(axis);
            for (mut filter, direction) in filters.zip(&mut found.direction) {
                filter.mapv_inplace(|w| w * *direction);
                *direction = 1.0;
            }
        }
        self.behind = Behind::Threshold { path, found };
        self
    }

    fn apply(&self, graph: &Graph<'_>, editor: &mut Editor<'_>) {
        let index = self.layer.node.0;
        let name = &self.layer.name;
        let weight = Tensor::F32(self.weight.clone());
        let weight = editor.add_initializer(&format!("{name}.sign"), &weight);
        editor.set_input(index, self.layer.weights_at.weight_input(), &weight);
        if self.layer.op == LayerOp::Gemm {
            editor.remove_attribute(index, "alpha");
            editor.remove_attribute(index, "beta");
        }
        let sums = editor.fresh_name(&format!("{name}.sums"));
        // Up to opset 10 a Gemm has to have a bias.
        let no_bias = (self.layer.op == LayerOp::Gemm && graph.opset() < 11).then(|| {
            let zeros = Tensor::F32(ArrayD::zeros(vec![self.layer.filters]));
            editor.add_initializer(&format!("{name}.no_bias"), &zeros)
        });
        let Some(node) = editor.node_mut(index) else {
            return;
        };
        node.input.truncate(2);
        node.input.extend(no_bias);
        // Masks files go by the node's name, or else by its output's, which changes now.
        node.name = Some(name.clone());
        let output = std::mem::replace(&mut node.output, vec![sums.clone()]);
        let output = output.into_iter().next().unwrap_or_default();
        match &self.behind {
            Behind::Threshold { path, found } => {
                let new = self.thresholded(graph, editor, sums, path, found);
                insert_behind(editor, index, new);
            }
            Behind::Divide { by, bias } => {
                let divided = match bias.is_empty() {
                    true => output.clone(),
                    false => editor.fresh_name(&format!("{name}.scaled")),
                };
                let by = self.vector(editor, "divisor", by);
                let mut new = vec![step("Div", name, "scale", [&sums, &by], &divided)];
                if !bias.is_empty() {
                    let bias = self.vector(editor, "bias", bias);
                    new.push(step("Add", name, "bias", [&divided, &bias], &output));
                }
                insert_behind(editor, index, new);
            }
        }
    }

    /// Pools as they were, on integers; the filters that could not be flipped in front of them;
    /// the threshold; and a Sign, which takes the binariser's place and is never asked what becomes
    /// of 0 unless that stays 0.
    fn thresholded(
        &self,
        graph: &Graph<'_>,
        editor: &mut Editor<'_>,
        mut at: String,
        path: &Path,
        found: &Thresholds,
    ) -> Vec<NodeProto> {
        let name = &self.layer.name;
        let mut new = Vec::new();
        for n in path.pools() {
            let pooled = editor.fresh_name(&format!("{name}.pooled"));
            let mut pool = graph.node(n).proto().clone();
            pool.input = vec![at];
            pool.output = vec![pooled.clone()];
            new.push(pool);
            at = pooled;
        }
        if found.direction.iter().any(|&d| d < 0.0) {
            let turned = editor.fresh_name(&format!("{name}.turned"));
            let direction = self.vector(editor, "direction", &found.direction);
            new.push(step("Mul", name, "turn", [&at, &direction], &turned));
            at = turned;
        }
        let shifted = editor.fresh_name(&format!("{name}.shifted"));
        let negative: Vec<f32> = found.threshold.iter().map(|t| -t).collect();
        let threshold = self.vector(editor, "threshold", &negative);
        new.push(step("Add", name, "threshold", [&at, &threshold], &shifted));
        let binarised = graph.name(path.end.output);
        editor.remove_producer(binarised);
        let sign = NodeProto::of("Sign", [shifted], binarised);
        new.push(sign.named(format!("{name}/sign")));
        new
    }

    /// An initializer with one value per channel, where the layer's output has its channels.
    fn vector(&self, editor: &mut Editor<'_>, what: &str, values: &[f32]) -> String {
        let wish = format!("{}.{what}", self.layer.name);
        let mut values = values.iter().copied();
        // As many values as filters, and the shape has as many elements.
        let array =
            ArrayD::from_shape_simple_fn(self.shape.clone(), || values.next().unwrap_or(0.0));
        editor.add_initializer(&wish, &Tensor::F32(array))
    }
}

fn insert_behind(editor: &mut Editor<'_>, index: usize, nodes: Vec<NodeProto>) {
    for (i, node) in nodes.into_iter().enumerate() {
        editor.insert_node(index + 1 + i, node);
    }
}

fn step(op: &str, layer: &str, what: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    NodeProto::of(op, inputs, output).named(format!("{layer}/{what}"))
}
