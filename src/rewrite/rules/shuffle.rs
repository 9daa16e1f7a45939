//! Channel shuffle: `Reshape` → `Transpose` → `Reshape` that as a whole permutes channels.
//!
//! In between the channels lie on two axes, which only a cut of the same count in each row would
//! keep rectangular. As a whole they are permuted, and any of them can go: the three nodes then
//! become one `Gather`.

use ndarray::{ArrayD, IxDyn};

use super::{Behaviour, Channels, Context, Output};
use crate::graph::{Facts, Graph, NodeId, TensorId};

/// Elements of a tensor that is followed one by one.
const MOST_ELEMENTS: usize = 1 << 22;

/// Where the nodes of a shuffle are: what it reads, and its last node.
struct Shuffle {
    source: TensorId,
    last: NodeId,
}

/// The nodes between, if this `Reshape` is the first of three.
fn from_first(graph: &Graph<'_>, first: NodeId) -> Option<Shuffle> {
    let only = |n: NodeId, op: &str| -> Option<NodeId> {
        let out = graph.output_of(n, 0)?;
        match graph.consumers(out) {
            [u] if u.input == Some(0) && !graph.is_output(out) => {
                (graph.node(u.node).op() == op).then_some(u.node)
            }
            _ => None,
        }
    };
    (graph.node(first).op() == "Reshape").then_some(())?;
    let middle = only(first, "Transpose")?;
    Some(Shuffle {
        source: graph.input_of(first, 0)?,
        last: only(middle, "Reshape")?,
    })
}

/// Whether a `Reshape` begins a shuffle, which its last node answers for.
pub(super) fn begins(ctx: &Context<'_, '_>) -> bool {
    let found = from_first(ctx.graph, ctx.id);
    found.is_some_and(|s| permutation(ctx, &s).is_some())
}

/// The behaviour of the last `Reshape` of a shuffle.
pub(super) fn ends(ctx: &Context<'_, '_>) -> Option<Behaviour> {
    let graph = ctx.graph;
    let middle = graph.producer(graph.input_of(ctx.id, 0)?)?;
    let first = graph.producer(graph.input_of(middle, 0)?)?;
    let shuffle = from_first(graph, first).filter(|s| s.last == ctx.id)?;
    let (index, x) = permutation(ctx, &shuffle)?;
    let mut output = Output::rearranged(x, x.axis, &index);
    output
        .sources
        .iter_mut()
        .for_each(|s| s.via = Some(shuffle.source));
    Some(Behaviour::of(output))
}

/// For each channel of the shuffle's output the channel of its source that it is, if that is all
/// that happens.
fn permutation<'a>(ctx: &Context<'a, '_>, s: &Shuffle) -> Option<(Vec<usize>, &'a Channels)> {
    let graph = ctx.graph;
    let x = ctx.tensors.get(s.source.0)?.as_ref()?;
    let shape = ctx.facts.shape(s.source)?;
    let out = graph.output_of(s.last, 0)?;
    if ctx.facts.shape(out) != Some(shape) || shape.get(x.axis) != Some(&x.states.len()) {
        return None;
    }
    let middle = graph.producer(graph.input_of(s.last, 0)?)?;
    let inner = shape_of(graph, ctx.facts, middle)?;
    let perm: Vec<usize> = match graph.node(middle).ints("perm") {
        Some(p) => p
            .iter()
            .map(|&a| usize::try_from(a).ok())
            .collect::<Option<_>>()?,
        None => (0..inner.len()).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if sorted != (0..inner.len()).collect::<Vec<_>>() || count == 0 || count > MOST_ELEMENTS {
        return None;
    }
    let places = ArrayD::from_shape_vec(IxDyn(inner), (0..count).collect()).ok()?;
    let moved: Vec<usize> = places.permuted_axes(IxDyn(&perm)).iter().copied().collect();
    let below: usize = shape[x.axis + 1..].iter().product();
    let channel = |place: usize| place / below % x.states.len();
    let mut index = vec![None; x.states.len()];
    for (to, &from) in moved.iter().enumerate() {
        let (j, i) = (channel(to), channel(from));
        // All else stays where it is.
        if to - j * below != from.wrapping_sub(i * below) || *index[j].get_or_insert(i) != i {
            return None;
        }
    }
    Some((index.into_iter().collect::<Option<_>>()?, x))
}

/// The shape that the `Transpose` reads.
fn shape_of<'f>(graph: &Graph<'_>, facts: &'f Facts, transpose: NodeId) -> Option<&'f [usize]> {
    facts.shape(graph.input_of(transpose, 0)?)
}
