//! From an ONNX graph to a [`Network`].
//!
//! Only nodes between the graph's input and its output become steps. What follows from constants
//! was evaluated before ([`Facts`]) and becomes a parameter; a binariser of several nodes becomes
//! one step; the weight of a binary layer becomes a [`super::BinaryWeight`].

mod latents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ndarray::{ArrayD, Axis, Slice, arr0};

use super::binary_weight::BinaryId;
use super::graph::{Input, Network, Step, ValueId};
use super::param::{Origin, Param, ParamId};
use crate::graph::{Facts, Graph, NodeId, TensorId};
use crate::onnx::DataType;
use crate::operators::Kind;
use crate::ops::{
    Arithmetic, Binarize, Head, ImportError, Imported, NodeView, ParamKind, import_moved_batch,
    importer,
};
use crate::recognize::{self, Layer};

/// Elements of one sample's tensor beyond which a model is refused: 1 GiB of floats.
const MAX_ELEMENTS: usize = 1 << 28;

impl Network {
    /// Imports a graph. `layers` are its layers as [`recognize::layers`] found them; those with
    /// binary weights become binary layers, on latents that the file has, or on drawn ones.
    ///
    /// # Errors
    /// If the graph has not exactly one data input, if an output beside the first has parameters of its own, or if
    /// an operator between the input and the first output is not one of the native network's, or not in a supported form.
    pub fn import(graph: &Graph<'_>, facts: &Facts, layers: &[Layer]) -> Result<Self, ImportError> {
        let &[input] = graph.inputs() else {
            let n = graph.inputs().len();
            return Err(ImportError::Graph(format!(
                "the graph has {n} inputs; only models with one can be trained"
            )));
        };
        let Some(&output) = graph.outputs().first() else {
            return Err(ImportError::Graph("the graph has no output".into()));
        };
        if !facts.is_data(output) {
            return Err(ImportError::Graph(
                "the graph's output does not depend on its input".into(),
            ));
        }
        let shape = facts.shape(input).and_then(|s| s.get(1..));
        let shape = shape.ok_or_else(|| {
            ImportError::Graph(format!(
                "graph input '{}' has no batch dimension",
                graph.name(input)
            ))
        })?;
        let (logits, head) = strip_head(graph, facts, output);
        if head.is_some_and(|head| !head.is_centred()) {
            return Err(ImportError::Graph(format!(
                "output '{}' is a HardSigmoid whose half is not at 0 (beta is not 0.5): learning tells two classes apart at a logit of 0; give it that beta, and its input the difference",
                graph.name(output)
            )));
        }
        let mut builder = Builder {
            graph,
            facts,
            layers: layers.iter().map(|l| (l.node, l)).collect(),
            values: BTreeMap::from([(input, ValueId(0))]),
            params: BTreeMap::new(),
            binaries: BTreeMap::new(),
            batch_axes: BTreeMap::new(),
            network: Self {
                params: Vec::new(),
                binary: Vec::new(),
                steps: Vec::new(),
                shapes: vec![Some(shape.to_vec())],
                batch_axes: BTreeMap::new(),
                input: ValueId(0),
                input_shape: shape.to_vec(),
                logits: ValueId(0),
                head,
                restored: Vec::new(),
                revision: 0,
            },
        };
        let sources = builder.sources(logits)?;
        builder.learned_along(&sources)?;
        for t in sources {
            builder.import_tensor(t)?;
        }
        if builder.batch_axes.contains_key(&logits) {
            return Err(ImportError::Graph(
                "the graph's output has its batch on another axis than the first".into(),
            ));
        }
        builder.network.logits = builder.value(logits)?;
        Ok(builder.network)
    }
}

/// The tensor in front of a softmax over all but the batch, or of a sigmoid of one number a sample, that the
/// graph ends in, but for views of the classes.
fn strip_head(graph: &Graph<'_>, facts: &Facts, output: TensorId) -> (TensorId, Option<Head>) {
    let classes = |t: TensorId| -> Option<Vec<usize>> {
        let sizes = facts.shape(t)?.iter().skip(1);
        let sizes: Vec<usize> = sizes.copied().filter(|&d| d != 1).collect();
        (sizes.len() <= 1).then_some(sizes)
    };
    let found = || {
        let mut seen = output;
        loop {
            let n = graph.producer(seen)?;
            let (node, input) = (graph.node(n), graph.input_of(n, 0)?);
            let head = match (Head::of(&node), node.op()) {
                (Some(head), _) => head,
                (None, "Cast" | "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze")
                    if classes(input)? == classes(seen)? =>
                {
                    seen = input;
                    continue;
                }
                _ => return None,
            };
            let shape = facts.shape(input)?;
            if head.is_of_one() {
                let one = shape.iter().skip(1).all(|&d| d == 1);
                return one.then_some((input, Some(head)));
            }
            let axis = node.softmax_axes(shape.len())?.start;
            let others = shape.iter().enumerate().skip(1).filter(|(i, _)| *i != axis);
            let alone = axis > 0 && others.into_iter().all(|(_, &d)| d == 1);
            return alone.then_some((input, Some(head)));
        }
    };
    found().unwrap_or((output, None))
}

struct Builder<'g, 'm> {
    graph: &'g Graph<'m>,
    facts: &'g Facts,
    layers: BTreeMap<NodeId, &'g Layer>,
    values: BTreeMap<TensorId, ValueId>,
    /// Parameters by tensor and kind; running statistics by their reader as well, as each
    /// BatchNormalization measures its own.
    params: BTreeMap<(TensorId, ParamKind, Option<NodeId>), ParamId>,
    binaries: BTreeMap<(TensorId, usize), BinaryId>,
    /// The axis of the batch, of tensors where it is not the first.
    batch_axes: BTreeMap<TensorId, usize>,
    network: Network,
}

impl<'g, 'm> Builder<'g, 'm> {
    /// The tensors that the logits are computed through, in the order of execution; the steps that
    /// write them are the network's.
    fn sources(&self, logits: TensorId) -> Result<Vec<TensorId>, ImportError> {
        let mut needed = BTreeSet::from([logits]);
        let mut found = Vec::new();
        for &n in self.graph.order().iter().rev() {
            let outputs = self.graph.outputs_of(n).into_iter().flatten();
            let wanted: Vec<TensorId> = outputs.filter(|t| needed.contains(t)).collect();
            for t in wanted.into_iter().rev() {
                found.push(t);
                match recognize::binarizer_of(self.graph, self.facts, t) {
                    Some(b) => {
                        needed.insert(b.input);
                    }
                    None => {
                        let inputs = self.graph.inputs_of(n).into_iter().flatten();
                        needed.extend(inputs.filter(|t| self.facts.is_data(*t)));
                    }
                }
            }
        }
        found.reverse();
        Ok(found)
    }

    /// That no output but the first needs parameters of its own: learning goes by the first
    /// alone and would leave it behind. `sources` are what the first is computed through.
    fn learned_along(&self, sources: &[TensorId]) -> Result<(), ImportError> {
        let graph = self.graph;
        let mut seen: BTreeSet<TensorId> = sources.iter().copied().collect();
        for &output in graph.outputs().iter().skip(1) {
            let mut open = vec![output];
            while let Some(t) = open.pop() {
                let Some(n) = graph.producer(t) else { continue };
                if !self.facts.is_data(t) || !seen.insert(t) {
                    continue;
                }
                if self.has_parameters(n) {
                    let first = graph.outputs().first().map_or("", |&t| graph.name(t));
                    return Err(ImportError::Graph(format!(
                        "output '{}' is computed by node '{}', which the first output, '{first}', does without: learning \
                         goes by the first and would leave it behind; give the filters with --masks, or take the \
                         output out of the model",
                        graph.name(output),
                        graph.label(n),
                    )));
                }
                open.extend(graph.inputs_of(n).into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Whether a node computes with numbers that training may have made: more than one number that is no data.
    fn has_parameters(&self, n: NodeId) -> bool {
        let several = |t: TensorId| {
            let shape = self.facts.shape(t).or_else(|| self.facts.weights_shape(t));
            let floats = matches!(
                self.facts.element(t).and_then(DataType::from_onnx),
                Some(DataType::F32)
            );
            floats && shape.is_some_and(|s| s.iter().product::<usize>() > 1)
        };
        let mut inputs = self.graph.inputs_of(n).into_iter().flatten();
        self.layers.contains_key(&n) || inputs.any(|t| !self.facts.is_data(t) && several(t))
    }

    fn import_tensor(&mut self, t: TensorId) -> Result<(), ImportError> {
        let Some(id) = self.graph.producer(t) else {
            return Ok(());
        };
        let view = NodeView::new(self.graph, self.facts, id);
        if let Some(b) = recognize::binarizer_of(self.graph, self.facts, t) {
            if self.batch_axes.contains_key(&b.input) {
                return Err(view.reject("it binarises a tensor whose batch is not its first axis"));
            }
            let mut input = Input::Value(self.value(b.input)?);
            let mut threshold = self.free_batch(&view, &b.threshold)?;
            if let Some(place) = b.threshold_at
                && threshold.iter().any(|t| *t != 0.0)
            {
                // x > t is x - t > 0, and t can be learned.
                let held = std::mem::replace(&mut threshold, arr0(0.0).into_dyn());
                input = self.subtracted(&view, b.input, held, place)?;
            }
            let op = Arc::new(Binarize {
                values: b.values,
                threshold,
            });
            self.push(
                Step {
                    op,
                    inputs: vec![input],
                    output: ValueId(self.network.value_count()),
                    node: id,
                    name: self.graph.label(id).to_owned(),
                },
                t,
            );
            return Ok(());
        }
        let mut outputs = self.graph.outputs_of(id).into_iter();
        let output = outputs.position(|o| o == Some(t)).unwrap_or(0);
        if output > 0 && view.node.op() != "Split" {
            return Err(view.reject("only its first output is supported"));
        }
        let view = view.of_output(output);
        let Some(import) = importer(view.node.op()) else {
            return Err(ImportError::Operator {
                node: self.graph.label(id).to_owned(),
                op: view.node.full_op(),
            });
        };
        if let Some((imported, batch)) = self.view_of_moved_batch(&view)? {
            return self.push_imported(&view, imported, t, batch);
        }
        let mut elements = view.output_shape()?.iter().skip(1);
        let elements = elements.try_fold(1usize, |n, d| n.checked_mul(*d));
        if elements.is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(view.reject("its output is too large"));
        }
        let imported = import(&view)?;
        self.push_imported(&view, imported, t, 0)
    }

    /// A view of a tensor whose batch is moved, or that moves it; any other reader of such a tensor is refused.
    fn view_of_moved_batch(
        &self,
        view: &NodeView<'_, '_>,
    ) -> Result<Option<(Imported, usize)>, ImportError> {
        let batch_of = |t: Option<TensorId>| t.and_then(|t| self.batch_axes.get(&t)).copied();
        let inputs = self.graph.inputs_of(view.id);
        let mut others = inputs.iter().skip(1);
        if others.any(|&t| batch_of(t).is_some()) {
            return Err(view.reject("an operand has its batch on another axis than the first"));
        }
        match (batch_of(inputs.first().copied().flatten()), view.node.op()) {
            (None, op) if op != "Transpose" => Ok(None),
            (batch, _) => import_moved_batch(view, batch.unwrap_or(0)),
        }
    }

    /// Adds the step of a node, of whose output `t` the batch is on axis `batch`.
    fn push_imported(
        &mut self,
        view: &NodeView<'_, '_>,
        imported: Imported,
        t: TensorId,
        batch: usize,
    ) -> Result<(), ImportError> {
        let Imported { op, operands } = imported;
        let mut inputs = Vec::with_capacity(operands.len());
        for (k, kind) in operands {
            inputs.push(self.operand(view, k, kind)?);
        }
        let step = Step {
            op,
            inputs,
            output: ValueId(self.network.value_count()),
            node: view.id,
            name: self.graph.label(view.id).to_owned(),
        };
        if batch > 0 {
            self.batch_axes.insert(t, batch);
            self.network.batch_axes.insert(step.output, batch);
        }
        self.push(step, t);
        Ok(())
    }

    /// A tensor minus the constant that a comparison holds at `place`.
    fn subtracted(
        &mut self,
        view: &NodeView<'_, '_>,
        t: TensorId,
        constant: ArrayD<f32>,
        place: (NodeId, usize),
    ) -> Result<Input, ImportError> {
        let source = self.value(t)?;
        let name = self.graph.label(view.id).to_owned();
        let param = self.network.push_param(Param {
            name: format!("{name}.threshold"),
            origin: Some(Origin {
                initial: constant.clone(),
                uses: vec![place],
            }),
            value: constant,
            kind: ParamKind::Constant,
        });
        let output = ValueId(self.network.value_count());
        let shape = self.network.shapes.get(source.0).cloned().flatten();
        self.network.shapes.push(shape);
        self.network.steps.push(Step {
            op: Arc::new(Arithmetic::Sub),
            inputs: vec![Input::Value(source), Input::Param(param)],
            output,
            node: view.id,
            name,
        });
        Ok(Input::Value(output))
    }

    fn push(&mut self, step: Step, t: TensorId) {
        self.values.insert(t, step.output);
        let batch = self.batch_axes.get(&t).copied().unwrap_or(0);
        let sample = self.facts.shape(t).map(|shape| {
            let axes = shape.iter().enumerate();
            axes.filter(|(axis, _)| *axis != batch).map(|(_, &d)| d)
        });
        self.network.shapes.push(sample.map(Iterator::collect));
        self.network.steps.push(step);
    }

    fn value(&self, t: TensorId) -> Result<ValueId, ImportError> {
        self.values.get(&t).copied().ok_or_else(|| {
            let name = self.graph.name(t);
            ImportError::Graph(format!(
                "tensor '{name}' is not computed by a supported operator"
            ))
        })
    }

    /// Input `k` of a node: data, a binary weight, or a parameter of that kind.
    fn operand(
        &mut self,
        view: &NodeView<'_, '_>,
        k: usize,
        kind: ParamKind,
    ) -> Result<Input, ImportError> {
        let missing = || view.reject(format!("its input {k} is missing"));
        let t = self.graph.input_of(view.id, k).ok_or_else(missing)?;
        if self.facts.is_data(t) {
            return Ok(Input::Value(self.value(t)?));
        }
        let layer = self.layers.get(&view.id).copied();
        if let Some(layer) = layer.filter(|l| l.weight == t && k == l.weights_at.weight_input())
            && layer.binary_weights.is_some()
        {
            return Ok(Input::Binary(self.binary(layer)));
        }
        let value = self
            .facts
            .value(t)
            .and_then(|v| v.as_f32())
            .ok_or_else(missing)?;
        let per_reader = matches!(kind, ParamKind::RunningMean | ParamKind::RunningVariance);
        let key = (t, kind, per_reader.then_some(view.id));
        if let Some(&p) = self.params.get(&key) {
            if let Some(origin) = &mut self.network.params[p.0].origin {
                origin.uses.push((view.id, k));
            }
            return Ok(Input::Param(p));
        }
        let value = match kind {
            ParamKind::Constant => self.free_batch(view, value)?,
            _ => value.clone(),
        };
        // Integers in the file stay what they are.
        let kind = match self.is_dequantized(t) {
            true => ParamKind::Constant,
            false => kind,
        };
        let p = self.network.push_param(Param {
            name: self.graph.name(t).to_owned(),
            origin: Some(Origin {
                initial: value.clone(),
                uses: vec![(view.id, k)],
            }),
            value,
            kind,
        });
        self.params.insert(key, p);
        Ok(Input::Param(p))
    }

    /// Whether a constant comes of integers by `DequantizeLinear`, moved or cast perhaps.
    fn is_dequantized(&self, mut t: TensorId) -> bool {
        while let Some(n) = self.graph.producer(t) {
            let node = self.graph.node(n);
            let kind = node.operator().map(|row| row.kind);
            let moves = matches!(kind, Some(Kind::View | Kind::Cast | Kind::Same));
            match self.graph.input_of(n, 0) {
                _ if matches!(kind, Some(Kind::Dequantize)) => return true,
                Some(input) if moves || node.op() == "Identity" => t = input,
                _ => return false,
            }
        }
        false
    }

    /// A constant operand that was repeated to the batch size of the facts, once.
    fn free_batch(
        &self,
        view: &NodeView<'_, '_>,
        value: &ArrayD<f32>,
    ) -> Result<ArrayD<f32>, ImportError> {
        let batch = self.facts.batch();
        let rank = view.output_shape()?.len();
        if batch <= 1 || value.ndim() != rank || value.shape().first() != Some(&batch) {
            return Ok(value.clone());
        }
        let first = value.slice_axis(Axis(0), Slice::from(..1));
        if value
            .axis_iter(Axis(0))
            .any(|row| row.insert_axis(Axis(0)) != first)
        {
            return Err(view.reject("a constant operand differs between the images of a batch"));
        }
        Ok(first.to_owned())
    }
}
