//! Shapes of what an `If` gives, from its branches.

use std::collections::HashMap;

use super::budget::Budget;
use super::shapes::{Inputs, infer};
use super::{Graph, Node, TensorId};
use crate::onnx::proto::GraphProto;
use crate::onnx::{Tensor, element_count};

/// Longest constant of a branch that is read: sizes, axes and the like.
const SMALL: usize = 64;

/// The shapes of the outputs of an `If`, up to the first on which its branches do not agree: `shape`
/// and `value` say what is known outside.
pub(super) fn shapes<'f>(
    graph: &Graph<'_>,
    node: &Node<'_>,
    shape: &impl Fn(TensorId) -> Option<&'f [usize]>,
    value: &impl Fn(TensorId) -> Option<&'f Tensor>,
    budget: &mut Budget,
) -> Vec<Vec<usize>> {
    let around = Around {
        opset: node.opset(),
        shape: &|name| Some(shape(graph.find(name)?)?.to_vec()),
        value: &|name| {
            let found = value(graph.find(name)?)?;
            (found.len() <= SMALL).then(|| found.clone())
        },
    };
    around.of_if(node, budget)
}

/// What is known of the tensors that a branch reads from outside.
struct Around<'a> {
    opset: i64,
    shape: &'a dyn Fn(&str) -> Option<Vec<usize>>,
    /// Of small tensors.
    value: &'a dyn Fn(&str) -> Option<Tensor>,
}

impl Around<'_> {
    fn of_if(&self, node: &Node<'_>, budget: &mut Budget) -> Vec<Vec<usize>> {
        let mut branch = |name: &str| {
            let mut all = node.proto().attribute.iter();
            let graph = all.find(|a| a.name() == name)?.g.as_ref()?;
            Some(self.outputs(graph, budget))
        };
        let (Some(one), Some(other)) = (branch("then_branch"), branch("else_branch")) else {
            return Vec::new();
        };
        let both = one.into_iter().zip(other);
        let agreed = both.map_while(|(a, b)| a.filter(|a| Some(a) == b.as_ref()));
        agreed.collect()
    }

    /// The shapes of a graph's outputs.
    fn outputs(&self, graph: &GraphProto, budget: &mut Budget) -> Vec<Option<Vec<usize>>> {
        let mut shapes: HashMap<&str, Option<Vec<usize>>> = HashMap::new();
        let mut values: HashMap<&str, Option<Tensor>> = HashMap::new();
        for t in &graph.initializer {
            let counted = element_count(&t.dims);
            let small = counted.as_ref().is_some_and(|(_, n)| *n <= SMALL);
            let value = small.then(|| Tensor::from_proto(t).ok()).flatten();
            values.insert(t.name(), value);
            shapes.insert(t.name(), counted.map(|(shape, _)| shape));
        }
        for proto in &graph.node {
            let node = Node::new(proto, self.opset);
            let constant = node.constant().filter(|v| v.len() <= SMALL);
            let known_shape = |name: &str| match shapes.get(name) {
                Some(own) => own.clone(),
                None => (self.shape)(name),
            };
            let known_value = |name: &str| match values.get(name) {
                Some(own) => own.clone(),
                None if shapes.contains_key(name) => None,
                None => (self.value)(name),
            };
            let found = if let Some(value) = &constant {
                vec![value.shape().to_vec()]
            } else if node.op() == "If" {
                let inner = Around {
                    opset: self.opset,
                    shape: &known_shape,
                    value: &known_value,
                };
                inner.of_if(&node, budget)
            } else {
                let read = proto.input.iter();
                let given: Vec<_> = read
                    .map(|name| (known_shape(name), known_value(name)))
                    .collect();
                let of_shape: Vec<_> = given.iter().map(|(s, _)| s.as_deref()).collect();
                let of_value: Vec<_> = given.iter().map(|(_, v)| v.as_ref()).collect();
                let inputs = Inputs {
                    shapes: &of_shape,
                    values: &of_value,
                };
                infer(&node, &inputs).unwrap_or_default()
            };
            let mut found = found.into_iter().map(|s| budget.admit(&s).then_some(s));
            for output in proto.output.iter().filter(|o| !o.is_empty()) {
                shapes.insert(output, found.next().flatten());
            }
            if let (Some(output), Some(_)) = (proto.output.first(), &constant) {
                values.insert(output, constant);
            }
        }
        let outputs = graph.output.iter().map(|v| match shapes.get(v.name()) {
            Some(shape) => shape.clone(),
            // Handed through from outside.
            None => (self.shape)(v.name()),
        });
        outputs.collect()
    }
}
