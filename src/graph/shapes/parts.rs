//! Operators that take parts of a tensor, or put further ones around it.

use super::{Inputs, product, sizes};
use crate::graph::{Node, normalize_axis};

/// What `Slice` takes of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Which axis.
    pub axis: usize,
    /// The first index; meaningless if there is none.
    pub first: usize,
    /// From one index to the next; not 0.
    pub step: i64,
    /// How many indices.
    pub count: usize,
}

impl Stretch {
    /// The indices, in order.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        let (first, step) = (self.first as i64, self.step);
        (0..self.count as i64).map(move |i| (first + i * step) as usize)
    }
}

/// What `Slice` takes of the axes that it names. Lists as in the standard: `axes` may be left out,
/// `steps` too. `None` if they do not fit the shape.
pub fn stretches(
    shape: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Option<Vec<Stretch>> {
    let n = starts.len();
    let fits = |v: Option<&[i64]>| v.is_none_or(|v| v.len() == n);
    if ends.len() != n || !fits(axes) || !fits(steps) {
        return None;
    }
    let mut list: Vec<Stretch> = Vec::with_capacity(n);
    for i in 0..n {
        let axis = axes.map_or(i64::try_from(i).ok()?, |a| a[i]);
        let axis = normalize_axis(axis, shape.len())?;
        let step = steps.map_or(1, |s| s[i]);
        let size = i64::try_from(shape[axis]).ok()?;
        if step == 0 || list.iter().any(|s| s.axis == axis) {
            return None;
        }
        let place = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        let (start, end) = (place(starts[i]), place(ends[i]));
        let (start, count) = if step > 0 {
            let (start, end) = (start.clamp(0, size), end.clamp(0, size));
            (
                start,
                (end - start)
                    .max(0)
                    .unsigned_abs()
                    .div_ceil(step.unsigned_abs()),
            )
        } else {
            let (start, end) = (start.clamp(0, (size - 1).max(0)), end.clamp(-1, size - 1));
            (
                start,
                (start - end)
                    .max(0)
                    .unsigned_abs()
                    .div_ceil(step.unsigned_abs()),
            )
        };
        list.push(Stretch {
            axis,
            first: usize::try_from(start).ok()?,
            // An index beyond the axis is never reached, so neither is an overflow.
            step: if count > 1 { step } else { step.signum() },
            count: if size == 0 {
                0
            } else {
                usize::try_from(count).ok()?
            },
        });
    }
    Some(list)
}

pub(super) fn concat(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let mut out = x.shape(0)?.to_vec();
    let axis = node.axis(0, out.len())?;
    for s in x.shapes.iter().skip(1) {
        let s = (*s)?;
        let mut both = s.iter().zip(&out).enumerate();
        if s.len() != out.len() || !both.all(|(i, (a, b))| i == axis || a == b) {
            return None;
        }
        out[axis] = out[axis].checked_add(s[axis])?;
    }
    Some(out)
}

pub(super) fn gather(node: &Node<'_>, data: &[usize], indices: &[usize]) -> Option<Vec<usize>> {
    let axis = node.axis(0, data.len())?;
    Some([&data[..axis], indices, &data[axis + 1..]].concat())
}

pub(super) fn slice(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let mut out = x.shape(0)?.to_vec();
    let starts = x.attr_or_input(node, "starts", 1)?;
    let ends = x.attr_or_input(node, "ends", 2)?;
    let list = |name: &str, k: usize| match x.present(k) || node.has(name) {
        true => x.attr_or_input(node, name, k).map(Some),
        false => Some(None),
    };
    let (axes, steps) = (list("axes", 3)?, list("steps", 4)?);
    for s in stretches(&out, &starts, &ends, axes.as_deref(), steps.as_deref())? {
        out[s.axis] = s.count;
    }
    Some(out)
}

/// How many indices of an axis of size `size` each output of a `Split` takes, of which there are
/// `outputs`; `list` is its `split`, an attribute or an input.
pub fn split_sizes(
    node: &Node<'_>,
    size: usize,
    outputs: usize,
    list: Option<&[i64]>,
) -> Option<Vec<usize>> {
    let parts = match list {
        Some(list) => sizes(list)?,
        None => {
            let count = usize::try_from(node.int("num_outputs", outputs as i64)).ok()?;
            if count != outputs {
                return None;
            }
            let each = size.div_ceil(count.max(1));
            if !node.has("num_outputs") && each * count != size {
                return None;
            }
            (0..count)
                .map(|i| each.min(size.saturating_sub(i * each)))
                .collect()
        }
    };
    let sum = parts.iter().try_fold(0usize, |a, &n| a.checked_add(n))?;
    (sum == size && parts.len() == outputs).then_some(parts)
}

pub(super) fn split(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<Vec<usize>>> {
    let shape = x.shape(0)?;
    let axis = node.axis(0, shape.len())?;
    let list = x.attr_or_input(node, "split", 1);
    if list.is_none() && x.present(1) {
        return None;
    }
    let outputs = node.proto().output.len();
    let parts = split_sizes(node, shape[axis], outputs, list.as_deref())?;
    let part = |size: usize| {
        let mut out = shape.to_vec();
        out[axis] = size;
        out
    };
    Some(parts.into_iter().map(part).collect())
}

pub(super) fn pad(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let mut out = x.shape(0)?.to_vec();
    let pads = x.attr_or_input(node, "pads", 1)?;
    let axes: Vec<usize> = match x.present(3) {
        true => super::axes::normalised(Some(x.ints(3)?), out.len())??,
        false => (0..out.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return None;
    }
    let (begin, end) = pads.split_at(axes.len());
    for (&axis, (&b, &e)) in axes.iter().zip(begin.iter().zip(end)) {
        let size = i64::try_from(out[axis])
            .ok()?
            .checked_add(b)?
            .checked_add(e)?;
        out[axis] = usize::try_from(size).ok()?;
    }
    Some(out)
}

pub(super) fn tile(shape: &[usize], repeats: &[i64]) -> Option<Vec<usize>> {
    let repeats = sizes(repeats)?;
    let each = shape.iter().zip(&repeats).map(|(d, r)| d.checked_mul(*r));
    (repeats.len() == shape.len())
        .then(|| each.collect::<Option<_>>())
        .flatten()
}

pub(super) fn depth_to_space(node: &Node<'_>, shape: &[usize]) -> Option<Vec<usize>> {
    let (&[n, c, h, w], b) = (shape, block(node)?) else {
        return None;
    };
    let square = product(&[b, b])?;
    (c % square == 0).then_some(())?;
    Some(vec![n, c / square, h.checked_mul(b)?, w.checked_mul(b)?])
}

pub(super) fn space_to_depth(node: &Node<'_>, shape: &[usize]) -> Option<Vec<usize>> {
    let (&[n, c, h, w], b) = (shape, block(node)?) else {
        return None;
    };
    (h % b == 0 && w % b == 0).then_some(())?;
    Some(vec![n, product(&[c, b, b])?, h / b, w / b])
}

fn block(node: &Node<'_>) -> Option<usize> {
    usize::try_from(node.int("blocksize", 0))
        .ok()
        .filter(|&b| b > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(starts: i64, ends: i64, step: i64) -> Vec<usize> {
        let list = stretches(&[5], &[starts], &[ends], None, Some(&[step])).unwrap();
        list[0].indices().collect()
    }

    #[test]
    fn slices_take_what_the_standard_says() {
        assert_eq!(indices(1, 4, 1), [1, 2, 3]);
        assert_eq!(indices(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(indices(0, 5, 2), [0, 2, 4]);
        assert_eq!(indices(-1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(indices(9, 0, -2), [4, 2]);
        assert_eq!(indices(3, 1, 1), [0; 0]);
        assert_eq!(indices(0, 5, i64::MAX), [0]);
        assert_eq!(stretches(&[5], &[0], &[5], None, Some(&[0])), None);
        assert_eq!(stretches(&[5], &[0, 0], &[5, 5], Some(&[0, 0]), None), None);
    }
}
