//! Operators that give the same values other axes.

use super::{Inputs, product};
use crate::graph::{Node, normalize_axis};

pub(super) fn flatten(node: &Node<'_>, s: &[usize]) -> Option<Vec<usize>> {
    let axis = node.int("axis", 1);
    let axis = match axis == s.len() as i64 {
        true => s.len(),
        false => normalize_axis(axis, s.len())?,
    };
    let (outer, inner) = s.split_at(axis);
    Some(vec![product(outer)?, product(inner)?])
}

pub(super) fn transpose(node: &Node<'_>, s: &[usize]) -> Option<Vec<usize>> {
    match node.ints("perm") {
        None => Some(s.iter().rev().copied().collect()),
        Some(perm) if perm.len() == s.len() => {
            let of = |&p: &i64| s.get(usize::try_from(p).ok()?).copied();
            perm.iter().map(of).collect()
        }
        Some(_) => None,
    }
}

pub(super) fn squeeze(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let s = x.shape(0)?;
    let axes = normalised(x.attr_or_input(node, "axes", 1), s.len())?;
    let keep = |(i, &d): (usize, &usize)| match &axes {
        Some(axes) => (!axes.contains(&i)).then_some(d),
        None => (d != 1).then_some(d),
    };
    Some(s.iter().enumerate().filter_map(keep).collect())
}

pub(super) fn unsqueeze(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let s = x.shape(0)?;
    let list = x.attr_or_input(node, "axes", 1)?;
    let rank = s.len().checked_add(list.len())?;
    let axes = normalised(Some(list), rank)??;
    let mut rest = s.iter();
    let dim = |i| match axes.contains(&i) {
        true => Some(1),
        false => rest.next().copied(),
    };
    (0..rank).map(dim).collect()
}

/// Normalised axes; the outer `None` is an invalid list, the inner one a list left out.
pub(super) fn normalised(list: Option<Vec<i64>>, rank: usize) -> Option<Option<Vec<usize>>> {
    match list {
        None => Some(None),
        Some(v) => v
            .iter()
            .map(|&a| normalize_axis(a, rank))
            .collect::<Option<Vec<_>>>()
            .map(Some),
    }
}
