//! Constants that a program repeats to the shape of data: `bias.expand_as(x)`, `ones_like(x)`.
//!
//! Where they meet data of that very shape, broadcasting does the same without the copies, of which a network
//! of images of usual size would have hundreds of millions of numbers. So they are known by one number for all
//! that are the same.

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
    let mut found = vec![false; graph.tensor_count()];
    for &n in graph.order() {
        let repeats = matches!(graph.node(n).op(), "Expand" | "ConstantOfShape");
        let out = graph
            .output_of(n, 0)
            .filter(|&t| repeats && !facts.is_data(t));
        let Some(t) = out else {
            continue;
        };
        found[t.0] = meets_data(graph, facts, t, MOST_BETWEEN);
    }
    found.contains(&true).then_some(found)
}

/// Whether all that reads a constant combines it, number by number, with data of at least its shape.
fn meets_data(graph: &Graph<'_>, facts: &Facts, t: TensorId, left: usize) -> bool {
    let readers = graph.consumers(t);
    let of_node = |n: NodeId| {
        let out = graph.output_of(n, 0);
        match reader_kind(&graph.node(n)) {
            Reader::Combines
                if graph
                    .inputs_of(n)
                    .iter()
                    .flatten()
                    .any(|&x| fills(facts, x, t)) =>
            {
                true
            }
            Reader::Combines | Reader::EachNumber => {
                left > 0
                    && out.is_some_and(|out| {
                        !facts.is_data(out) && meets_data(graph, facts, out, left - 1)
                    })
            }
            Reader::Other => false,
        }
    };
    !graph.is_output(t)
        && !readers.is_empty()
        && readers.iter().all(|u| u.input.is_some() && of_node(u.node))
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

fn reader_kind(node: &Node<'_>) -> Reader {
    match node.operator().map(|row| row.kind) {
        Some(
            Kind::Arithmetic(_) | Kind::Comparison(_) | Kind::Logic | Kind::Choice | Kind::Slope,
        ) => Reader::Combines,
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
