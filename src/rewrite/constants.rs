//! New values for constants that nodes read, without touching anything else that reads them.

use std::collections::HashSet;

use ndarray::{ArrayD, IxDyn};

use crate::graph::edit::Editor;
use crate::graph::{Graph, Node, NodeId, TensorId, Use, evaluate, operand_name};
use crate::onnx::Tensor;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// Values wanted at node inputs.
#[derive(Debug, Default)]
pub(super) struct ConstantWriter {
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Request {
    node: NodeId,
    input: usize,
    value: Tensor,
}

/// Whether a tensor is listed as an input of the graph.
fn is_listed(graph: &Graph<'_>, t: TensorId) -> bool {
    graph.model().graph.as_ref().is_some_and(|g| {
        let name = graph.name(t);
        g.input.iter().any(|v| v.name() == name)
    })
}

impl ConstantWriter {
    /// Input `input` of `node` shall read `value`; replaces an earlier request for it.
    pub fn request(&mut self, node: NodeId, input: usize, value: Tensor) {
        self.requests.retain(|r| r.node != node || r.input != input);
        self.requests.push(Request { node, input, value });
    }

    /// Takes a request back.
    pub fn withdraw(&mut self, node: NodeId, input: usize) -> Option<Tensor> {
        let found = |r: &Request| r.node == node && r.input == input;
        let at = self.requests.iter().position(found)?;
        Some(self.requests.remove(at).value)
    }

    /// What was requested for an input.
    pub fn requested(&self, node: NodeId, input: usize) -> Option<&Tensor> {
        self.requests
            .iter()
            .find(|r| r.node == node && r.input == input)
            .map(|r| &r.value)
    }

    /// Whether nothing was requested.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Writes all values: in place where every reader of an initializer wants the same, else as
    /// copies under fresh names (one for equal values of one source). Returns the tensors that were
    /// changed in place: what value_info says of their shapes is stale.
    pub fn write(mut self, graph: &Graph<'_>, editor: &mut Editor<'_>) -> HashSet<String> {
        let mut in_place = HashSet::new();
        let mut written: Vec<(TensorId, usize, String)> = Vec::new();
        for k in 0..self.requests.len() {
            let r = &self.requests[k];
            let Some(source) = graph.input_of(r.node, r.input) else {
                let what = match r.value {
                    ref v if v.data_type().is_float() => "bias",
                    _ => "sizes",
                };
                let wish = format!("{}.{what}", graph.label(r.node));
                let name = editor.add_initializer(&wish, &r.value);
                editor.set_input(r.node.0, r.input, &name);
                continue;
            };
            let known = written
                .iter()
                .find(|(t, i, _)| *t == source && self.requests[*i].value == r.value)
                .map(|(.., name)| name.clone());
            let name = match known {
                Some(name) => name,
                None => {
                    let own = graph.name(source);
                    let quantised = self.quantised(graph, source, &r.value);
                    let name = if let Some((integers, value)) = quantised {
                        let held = graph.name(integers);
                        editor.set_initializer(held, &value);
                        in_place.extend([held.to_owned(), own.to_owned()]);
                        own.to_owned()
                    } else if self.owns(graph, source, &r.value)
                        && editor.set_initializer(own, &r.value)
                    {
                        in_place.insert(own.to_owned());
                        own.to_owned()
                    } else {
                        let wish = match graph.producer(source) {
                            Some(_) => operand_name(graph, r.node, r.input),
                            None => format!("{own}.cut"),
                        };
                        editor.add_initializer(&wish, &r.value)
                    };
                    written.push((source, k, name.clone()));
                    name
                }
            };
            editor.set_input(r.node.0, r.input, &name);
            // Nothing compares with these values any more: models are large.
            let of_source = |r: &Request| graph.input_of(r.node, r.input) == Some(source);
            if !self.requests[k + 1..].iter().any(of_source) {
                let done = self.requests[..=k].iter_mut().filter(|r| of_source(r));
                done.for_each(|r| r.value = Tensor::Bool(ArrayD::default(IxDyn(&[0]))));
            }
        }
        in_place
    }

    /// Whether an initializer has no reader but those that want this very value, and is listed
    /// nowhere else.
    fn owns(&self, graph: &Graph<'_>, t: TensorId, value: &Tensor) -> bool {
        graph.initializer(t).is_some() && !is_listed(graph, t) && self.all_want(graph, t, value)
    }

    /// Whether a tensor has no reader but those that want this very value.
    fn all_want(&self, graph: &Graph<'_>, t: TensorId, value: &Tensor) -> bool {
        let wants = |u: &Use| u.input.and_then(|k| self.requested(u.node, k)) == Some(value);
        !graph.is_output(t) && graph.consumers(t).iter().all(wants)
    }

    /// The integers, and what they are to be, of which the `DequantizeLinear` that writes `t` makes this value to the
    /// bit: what came in eight bits stays in eight bits. `None` where that cannot be, or others read them.
    fn quantised(
        &self,
        graph: &Graph<'_>,
        t: TensorId,
        value: &Tensor,
    ) -> Option<(TensorId, Tensor)> {
        let n = graph.producer(t)?;
        let node = graph.node(n);
        let (integers, scale) = (graph.input_of(n, 0)?, graph.input_of(n, 1)?);
        let alone = graph.consumers(integers).len() == 1 && !is_listed(graph, integers);
        if node.op() != "DequantizeLinear" || !alone || !self.all_want(graph, t, value) {
            return None;
        }
        let (held, scale) = (
            graph.initializer_value(integers)?,
            graph.initializer_value(scale)?,
        );
        let zero = match graph.input_of(n, 2) {
            Some(zero) => graph.initializer_value(zero)?,
            None => Tensor::of(held.data_type(), &ArrayD::zeros(scale.shape())),
        };
        let axis = node.axis(1, held.shape().len())?;
        let same = |axis: usize| held.shape().get(axis) == value.shape().get(axis);
        // Of a scale for each place on an axis, none went.
        if scale.len() != 1 && !same(axis) {
            return None;
        }
        let inputs = [t, integers, t].map(|t| graph.name(t).to_owned());
        let back = NodeProto::of("QuantizeLinear", inputs, "")
            .with(AttributeProto::int("axis", axis as i64));
        let new = evaluate(
            &Node::new(&back, graph.opset()),
            &[Some(value), Some(&scale), Some(&zero)],
        )?;
        let again = evaluate(&node, &[Some(&new), Some(&scale), Some(&zero)])?;
        (again == *value && new.data_type() == held.data_type()).then_some((integers, new))
    }
}
