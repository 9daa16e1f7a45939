//! Sums over the parts of a batch in an order that depends on their number alone: up a binary tree, whose left
//! subtrees are as large as powers of two. Whoever has some neighbouring parts adds up the subtrees that lie
//! within; what is left are a few sums, which anybody can add up to the total, in the same order.

use std::ops::Range;

/// A sum over some neighbouring parts: a node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<T> {
    /// The parts.
    pub parts: Range<usize>,
    /// Their sum.
    pub sum: T,
}

/// Adds up, among nodes of the tree over `count` parts (in order, not within each other), what belongs
/// together: the parts themselves at first.
pub fn fold<T>(
    count: usize,
    nodes: impl IntoIterator<Item = Node<T>>,
    mut add: impl FnMut(T, T) -> T,
) -> Vec<Node<T>> {
    let mut nodes = nodes.into_iter().peekable();
    let mut next = |parts: &Range<usize>| nodes.next_if(|n| n.parts == *parts);
    let mut found = Vec::new();
    below(0..count, &mut next, &mut add, &mut found);
    found
}

/// Nodes that [`fold`] leaves of those parts.
pub fn cover(count: usize, parts: Range<usize>) -> Vec<Range<usize>> {
    let leaves = parts.map(|p| Node {
        parts: p..p + 1,
        sum: (),
    });
    let nodes = fold(count, leaves, |(), ()| ());
    nodes.into_iter().map(|n| n.parts).collect()
}

fn below<T>(
    parts: Range<usize>,
    next: &mut impl FnMut(&Range<usize>) -> Option<Node<T>>,
    add: &mut impl FnMut(T, T) -> T,
    found: &mut Vec<Node<T>>,
) {
    if let Some(node) = next(&parts) {
        return found.push(node);
    }
    if parts.len() < 2 {
        return;
    }
    let left = parts.len().next_power_of_two() / 2;
    let middle = parts.start + left;
    let first = found.len();
    below(parts.start..middle, next, add, found);
    below(middle..parts.end, next, add, found);
    let whole = |side: &Node<T>, range: Range<usize>| side.parts == range;
    let complete = match &found[first..] {
        [a, b] => whole(a, parts.start..middle) && whole(b, middle..parts.end),
        _ => false,
    };
    if complete && let (Some(b), Some(a)) = (found.pop(), found.pop()) {
        let sum = add(a.sum, b.sum);
        found.push(Node { parts, sum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::share;

    fn leaf(p: usize) -> Node<String> {
        Node {
            parts: p..p + 1,
            sum: p.to_string(),
        }
    }

    fn sum(a: String, b: String) -> String {
        format!("({a}+{b})")
    }

    #[test]
    fn the_order_depends_on_the_number_of_parts_alone() {
        assert_eq!(fold(0, Vec::new(), sum), []);
        for count in 1..20 {
            let whole = fold(count, (0..count).map(leaf), sum);
            assert_eq!(whole.len(), 1);
            assert_eq!(whole[0].parts, 0..count);
            for size in 1..8 {
                let mut nodes = Vec::new();
                for rank in 0..size {
                    let mine = share(count, rank, size);
                    let own = fold(count, mine.clone().map(leaf), sum);
                    let covered: Vec<_> = own.iter().map(|n| n.parts.clone()).collect();
                    assert_eq!(covered, cover(count, mine));
                    nodes.extend(own);
                }
                assert_eq!(
                    fold(count, nodes, sum),
                    whole,
                    "{count} parts, {size} ranks"
                );
            }
        }
        assert_eq!(fold(3, (0..3).map(leaf), sum)[0].sum, "((0+1)+2)");
    }

    #[test]
    fn two_processes_with_a_power_of_two_of_parts_have_one_sum_each() {
        let only = |parts: Range<usize>| cover(8, parts.clone()) == Vec::from_iter([parts]);
        assert!(only(0..4) && only(4..8));
        assert_eq!(cover(8, 3..6), [3..4, 4..6]);
    }
}
