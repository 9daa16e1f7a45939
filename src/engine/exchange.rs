//! What parts of a batch have found, from all processes, in an order that depends on the batch alone.

use std::borrow::Cow;

use bnn_kernels::elementwise::Moments;
use bnn_kernels::parallel::update;

use super::batch::Batch;
use super::error::RunError;
use super::gradients::{Found, Target};
use crate::arrays::{array, slice};
use crate::distributed::tree::{self, Node};
use crate::distributed::{Communicator, numbers_of, share};
use crate::network::{BinaryId, ParamId};

/// The moments of all parts, in their order.
pub(super) fn moments(
    processes: &dyn Communicator,
    own: Vec<Moments>,
) -> Result<Vec<Moments>, RunError> {
    if processes.size() == 1 {
        return Ok(own);
    }
    let channels = own.first().map_or(0, |m| m.sums.len());
    let mut mine = vec![channels as f64];
    for part in &own {
        mine.push(part.count as f64);
        mine.extend(part.sums.iter().flatten());
    }
    let all = processes.gather(bytemuck::cast_slice(&mine))?;
    let mut parts = Vec::new();
    for theirs in all {
        let numbers: Cow<'_, [f64]> = numbers_of(&theirs);
        let Some((&channels, numbers)) = numbers.split_first() else {
            continue;
        };
        for part in numbers.chunks_exact(1 + 2 * channels as usize) {
            let (count, sums) = (part[0], &part[1..]);
            parts.push(Moments {
                count: count as usize,
                sums: sums.as_chunks().0.to_vec(),
            });
        }
    }
    Ok(parts)
}

/// The sums of all parts, added up in their order: two for each channel; empty where no part has any.
pub(super) fn total(
    processes: &dyn Communicator,
    own: &[Vec<[f64; 2]>],
    channels: usize,
) -> Result<Vec<[f64; 2]>, RunError> {
    let numbers: Vec<f64> = own.iter().flat_map(|s| s.as_flattened()).copied().collect();
    let numbers = processes.gather_numbers(&numbers)?;
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let mut sums = vec![[0.0; 2]; channels];
    for part in numbers.chunks_exact((2 * channels).max(1)) {
        for (sum, &[a, b]) in sums.iter_mut().zip(part.as_chunks().0) {
            *sum = [sum[0] + a, sum[1] + b];
        }
    }
    Ok(sums)
}

/// What all processes have found, stretch by stretch. Each adds up a share of all numbers, of all parts, and
/// sends the others what came of it.
pub(super) fn gradients(
    batch: &Batch<'_>,
    found: Vec<Vec<Node<Found>>>,
) -> Result<Vec<Found>, RunError> {
    let (processes, count) = (batch.processes, batch.parts.len());
    if processes.size() == 1 {
        return Ok(found.into_iter().flatten().map(|n| n.sum).collect());
    }
    let layout = Layout::of(batch, &found)?;
    let size = processes.size();
    // Of each node an even share of its numbers for each process; as many nodes for all.
    let covers: Vec<_> = (0..size)
        .map(|r| tree::cover(count, share(count, r, size)))
        .collect();
    let nodes = covers.iter().map(Vec::len).max().unwrap_or_default();
    let length = layout.numbers().div_ceil(size);
    let mut mine = vec![0f32; size * nodes * length];
    let shares = Shares { nodes, length };
    let mut at = 0;
    for stretch in found {
        let mut end = at;
        for (k, node) in stretch.into_iter().enumerate() {
            let grads = node.sum.by_target.into_values();
            end = grads.fold(at, |at, grad| {
                spread(slice(&grad), &mut mine, at, k, &shares);
                at + grad.len()
            });
        }
        at = end;
    }
    let theirs = processes.exchange(bytemuck::cast_slice(&mine))?;
    drop(mine);
    let theirs: Vec<Cow<'_, [f32]>> = theirs.iter().map(|t| numbers_of(t)).collect();
    let mut all = Vec::new();
    for (covered, theirs) in covers.into_iter().zip(&theirs) {
        let sums = theirs.chunks_exact(length.max(1));
        all.extend(covered.into_iter().zip(sums).map(|(parts, sum)| Node {
            parts,
            sum: Cow::Borrowed(sum),
        }));
    }
    let add = |a: Cow<'_, [f32]>, b: Cow<'_, [f32]>| {
        let mut sum = a.into_owned();
        update(&mut sum, &b, |a, b| a + b);
        Cow::Owned(sum)
    };
    let sum = tree::fold(count, all, add).pop();
    let sum = sum.map_or(Cow::Borrowed(&[][..]), |n| n.sum);
    let sums = processes.gather(bytemuck::cast_slice(&sum))?;
    let sums: Vec<Cow<'_, [f32]>> = sums.iter().map(|s| numbers_of(s)).collect();
    Ok(layout.unpack(&sums, length))
}

/// What each process gets of nodes' numbers.
struct Shares {
    /// Nodes, side by side for each process.
    nodes: usize,
    /// Numbers of each of them.
    length: usize,
}

/// Writes numbers of node `node`, the first of which is its number `at`, where [`gradients`] wants them.
fn spread(numbers: &[f32], to: &mut [f32], mut at: usize, node: usize, shares: &Shares) {
    let &Shares { nodes, length } = shares;
    let mut left = numbers;
    while !left.is_empty() && length > 0 {
        let (process, place) = (at / length, at % length);
        let (now, later) = left.split_at(left.len().min(length - place));
        let start = (process * nodes + node) * length + place;
        to[start..start + now.len()].copy_from_slice(now);
        at += now.len();
        left = later;
    }
}

/// Which gradients there are, stretch by stretch, and their shapes.
#[derive(Debug, PartialEq)]
struct Layout(Vec<Vec<(Target, Vec<usize>)>>);

impl Layout {
    /// That of all processes. One without a part takes it from the first, which has one.
    fn of(batch: &Batch<'_>, found: &[Vec<Node<Found>>]) -> Result<Self, RunError> {
        let of = |nodes: &Vec<Node<Found>>| {
            let first = nodes.first().into_iter();
            let each = first.flat_map(|n| &n.sum.by_target);
            each.map(|(target, grad)| (*target, grad.shape().to_vec()))
                .collect()
        };
        let own = Self(found.iter().map(of).collect());
        if batch.parts.len() >= batch.processes.size() {
            return Ok(own);
        }
        let all = batch.processes.gather_numbers(&own.as_numbers())?;
        Ok(Self::from_numbers(&all))
    }

    /// Numbers of all gradients.
    fn numbers(&self) -> usize {
        let shapes = self.0.iter().flatten();
        shapes
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// The gradients from all numbers, `length` of them in each piece.
    fn unpack(&self, pieces: &[Cow<'_, [f32]>], length: usize) -> Vec<Found> {
        let mut at = 0;
        let mut next = |(target, shape): &(Target, Vec<usize>)| {
            let end = at + shape.iter().product::<usize>();
            let mut numbers = Vec::with_capacity(end - at);
            while at < end && length > 0 {
                let (piece, place) = (at / length, at % length);
                let count = (end - at).min(length - place);
                numbers.extend_from_slice(&pieces[piece][place..place + count]);
                at += count;
            }
            (*target, array(shape, numbers))
        };
        let stretch = |s: &Vec<_>| Found {
            by_target: s.iter().map(&mut next).collect(),
        };
        self.0.iter().map(stretch).collect()
    }

    /// As numbers, its length first.
    fn as_numbers(&self) -> Vec<u64> {
        let mut numbers = vec![self.0.len() as u64];
        for stretch in &self.0 {
            numbers.push(stretch.len() as u64);
            for (target, shape) in stretch {
                let (kind, index) = match target {
                    Target::Param(p) => (0, p.0),
                    Target::Binary(b) => (1, b.0),
                };
                numbers.extend([kind, index as u64, shape.len() as u64]);
                numbers.extend(shape.iter().map(|&d| d as u64));
            }
        }
        numbers
    }

    fn from_numbers(numbers: &[u64]) -> Self {
        let mut numbers = numbers.iter().map(|&n| n as usize);
        let mut next = || numbers.next().unwrap_or_default();
        let mut stretches = Vec::new();
        for _ in 0..next() {
            let mut stretch = Vec::new();
            for _ in 0..next() {
                let target = match (next(), next()) {
                    (0, index) => Target::Param(ParamId(index)),
                    (_, index) => Target::Binary(BinaryId(index)),
                };
                let axes = next();
                stretch.push((target, (0..axes).map(|_| next()).collect()));
            }
            stretches.push(stretch);
        }
        Self(stretches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_survive_being_sent() {
        let layout = Layout(vec![
            vec![
                (Target::Param(ParamId(7)), vec![3, 1, 2]),
                (Target::Binary(BinaryId(0)), vec![5]),
            ],
            Vec::new(),
            vec![(Target::Param(ParamId(2)), Vec::new())],
        ]);
        assert_eq!(Layout::from_numbers(&layout.as_numbers()), layout);
        assert_eq!(layout.numbers(), 6 + 5 + 1);
    }

    #[test]
    fn numbers_come_back_from_where_they_were_spread() {
        let shapes = [vec![2, 3], vec![1], vec![7], vec![4]];
        let layout = Layout(vec![
            (0..shapes.len())
                .map(|i| (Target::Param(ParamId(i)), shapes[i].clone()))
                .collect(),
        ]);
        let count = layout.numbers();
        for (size, nodes) in [(1, 1), (2, 1), (3, 2), (5, 3), (30, 2)] {
            let length = count.div_ceil(size);
            let shares = Shares { nodes, length };
            let mut all = vec![-1.0; size * nodes * length];
            for node in 0..nodes {
                let mut at = 0;
                for shape in &shapes {
                    let many: usize = shape.iter().product();
                    let numbers: Vec<f32> =
                        (at..at + many).map(|i| (100 * node + i) as f32).collect();
                    spread(&numbers, &mut all, at, node, &shares);
                    at += many;
                }
            }
            for node in 0..nodes {
                let piece = |process: usize| {
                    let start = (process * nodes + node) * length;
                    Cow::Borrowed(&all[start..start + length])
                };
                let pieces: Vec<_> = (0..size).map(piece).collect();
                let found = layout.unpack(&pieces, length);
                let found = found[0].by_target.values().flat_map(|g| g.iter().copied());
                let expected = (0..count).map(|i| (100 * node + i) as f32);
                assert!(
                    found.eq(expected),
                    "{size} processes, node {node} of {nodes}"
                );
            }
        }
    }
}
