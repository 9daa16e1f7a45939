//! Constants that a program repeats to the shape of data: `bias.expand_as(x)`, `ones_like(x)`.
//!
//! Where they meet data of that very shape, broadcasting does the same without the copies, of which a network
//! of images of usual size would have hundreds of millions of numbers. So they are known by one number for all
//! that are the same.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array1;

use super::Facts;
use crate::graph::{Graph, Node, NodeId, TensorId, broadcast, eval};
use crate::onnx::Tensor;
use crate::operators::Kind;

/// Functions of one number, or of constants, between a constant and the data that it meets.
const MOST_BETWEEN: usize = 4;

/// The tensors that may be known by what is repeated in them, `None` where there are none. `facts` are those of the
/// whole graph, whatever they know of these.
pub(super) fn repeated(graph: &Graph<'_>, facts: &Facts) -> Option<Vec<bool>> {
    let mut readers = Readers {
        graph,
        facts,
        known: BTreeMap::new(),
    };
    let mut found = vec![false; graph.tensor_count()];
    for &n in graph.order() {
        let repeats = matches!(graph.node(n).op(), "Expand" | "ConstantOfShape");
        let out = graph.output_of(n, 0);
        if let Some(t) = out.filter(|&t| repeats && !facts.is_data(t)) {
            found[t.0] = readers.meet_data(t, MOST_BETWEEN);
        }
    }
    found.contains(&true).then_some(found)
}

/// What reads constants.
struct Readers<'a, 'g> {
    graph: &'a Graph<'g>,
    facts: &'a Facts,
    /// What was found out of a tensor, and so many nodes between: a tensor may be reached on many ways.
    known: BTreeMap<(TensorId, usize), bool>,
}

impl Readers<'_, '_> {
    /// Whether all that reads a constant combines it, number by number, with data of at least its shape; so many
    /// nodes may stand between.
    fn meet_data(&mut self, t: TensorId, between: usize) -> bool {
        if let Some(&known) = self.known.get(&(t, between)) {
            return known;
        }
        let uses = self.graph.consumers(t);
        let inputs: Option<BTreeSet<(NodeId, usize)>> =
            uses.iter().map(|u| Some((u.node, u.input?))).collect();
        let found = inputs.is_some_and(|inputs| {
            let read = !inputs.is_empty() && !self.graph.is_output(t);
            read && inputs
                .iter()
                .all(|&(n, k)| self.meets_data(n, k, t, between))
        });
        self.known.insert((t, between), found);
        found
    }

    /// Whether a node does, of which the constant is input `k`.
    fn meets_data(&mut self, n: NodeId, k: usize, t: TensorId, between: usize) -> bool {
        let reader = reader_kind(&self.graph.node(n), k);
        if matches!(reader, Reader::Other) {
            return false;
        }
        let inputs = self.graph.inputs_of(n);
        let mut inputs = inputs.iter().flatten();
        if matches!(reader, Reader::Combines) && inputs.any(|&x| fills(self.facts, x, t)) {
            return true;
        }
        let out = self.graph.output_of(n, 0);
        let out = out.filter(|&out| between > 0 && !self.facts.is_data(out));
        out.is_some_and(|out| self.meet_data(out, between - 1))
    }
}

/// Whether data have all positions of a constant, at any batch size.
fn fills(facts: &Facts, data: TensorId, constant: TensorId) -> bool {
    let fits = |data: Option<&[usize]>, constant: Option<&[usize]>| {
        let (Some(data), Some(constant)) = (data, constant) else {
            return false;
        };
        broadcast(data, constant).as_deref() == Some(data)
    };
    facts.is_data(data)
        && fits(facts.shape(data), facts.shape(constant))
        && fits(
            facts.shape_at_larger_batch(data),
            facts.shape_at_larger_batch(constant),
        )
}

/// What a node does with one of its operands.
enum Reader {
    /// Combines it with the others, number by number, with broadcasting.
    Combines,
    /// Computes a number of each number.
    EachNumber,
    Other,
}

fn reader_kind(node: &Node<'_>, input: usize) -> Reader {
    match node.operator().map(|row| row.kind) {
        Some(Kind::Arithmetic(_) | Kind::Comparison(_) | Kind::Logic | Kind::Choice) => {
            Reader::Combines
        }
        // What has a slope gives the output its shape.
        Some(Kind::Slope) if input == 1 => Reader::Combines,
        Some(Kind::Unary(_) | Kind::Cast | Kind::Same) => Reader::EachNumber,
        _ => Reader::Other,
    }
}

/// What a node repeats, with as many axes as the tensor that it fills has.
pub(super) fn one_for_all(
    node: &Node<'_>,
    values: &[Option<&Tensor>],
    rank: usize,
) -> Option<Tensor> {
    match node.op() {
        "Expand" => {
            let value = (*values.first()?)?;
            let ones = rank.checked_sub(value.shape().len())?;
            let shape = [&vec![1; ones][..], value.shape()].concat();
            eval::to_shape(value, &shape)
        }
        "ConstantOfShape" => {
            let sizes = Tensor::I64(Array1::from_elem(rank, 1i64).into_dyn());
            eval::evaluate(node, &[Some(&sizes)])
        }
        _ => None,
    }
}
