//! New values for constants that nodes read, without touching anything else that reads them.

use std::collections::HashSet;

use ndarray::{ArrayD, IxDyn};

use crate::graph::edit::Editor;
use crate::graph::{Graph, NodeId, TensorId, operand_name};
use crate::onnx::Tensor;

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
                    let name = if self.owns(graph, source, &r.value)
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
        let listed = graph.model().graph.as_ref().is_some_and(|g| {
            let name = graph.name(t);
            g.input.iter().any(|v| v.name() == name)
        });
        graph.initializer(t).is_some()
            && !listed
            && !graph.is_output(t)
            && graph.consumers(t).iter().all(|u| {
                u.input
                    .and_then(|k| self.requested(u.node, k))
                    .is_some_and(|v| v == value)
            })
    }
}
