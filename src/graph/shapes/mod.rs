//! Output shapes of operators, at a concrete batch size.
//!
//! A function `(node, input shapes, input values) -> output shapes` for each way in which shapes
//! follow, which the rows of [`crate::operators`] name; `None` where that is unknown or the inputs do
//! not fit. What is not inferred is treated as unknown
//! further on, never guessed.

mod axes;
mod parts;
mod resize;
mod window;

use super::Node;
use crate::onnx::Tensor;
use crate::operators::Shape;

pub(crate) use parts::{Stretch, split_sizes, stretches};
pub(crate) use resize::scaled_axes;
pub use window::Window;
use window::{conv, conv_transpose, pool};

/// Shapes of the inputs, `None` where unknown or left out, and their values where known.
pub(super) struct Inputs<'a> {
    pub shapes: &'a [Option<&'a [usize]>],
    pub values: &'a [Option<&'a Tensor>],
}

impl<'a> Inputs<'a> {
    fn shape(&self, k: usize) -> Option<&'a [usize]> {
        self.shapes.get(k).copied().flatten()
    }

    fn ints(&self, k: usize) -> Option<Vec<i64>> {
        self.values.get(k).copied().flatten()?.to_ints()
    }

    fn present(&self, k: usize) -> bool {
        self.values.get(k).copied().flatten().is_some() || self.shape(k).is_some()
    }

    /// A list given as an attribute in old opsets and as input `k` in new ones.
    fn attr_or_input(&self, node: &Node<'_>, name: &str, k: usize) -> Option<Vec<i64>> {
        match node.ints(name) {
            Some(v) => Some(v.to_vec()),
            None => self.ints(k),
        }
    }
}

/// Shapes of the node's outputs, as far as they are needed: the first ones.
pub(super) fn infer(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<Vec<usize>>> {
    let first = || x.shape(0).map(<[usize]>::to_vec);
    let one = |s: Vec<usize>| Some(vec![s]);
    match node.operator().map_or(Shape::Unknown, |row| row.shape) {
        Shape::Unknown => None,
        Shape::First => one(first()?),
        Shape::Broadcast => {
            let mut out = Vec::new();
            for s in x.shapes {
                out = broadcast(&out, (*s)?)?;
            }
            one(out)
        }
        Shape::Conv => one(conv(node, x.shape(0)?, x.shape(1)?)?),
        Shape::ConvTranspose => one(conv_transpose(node, x.shape(0)?, x.shape(1)?)?),
        Shape::Windows => one(pool(node, x.shape(0)?)?),
        Shape::Global => {
            let mut s = first()?;
            s.iter_mut().skip(2).for_each(|d| *d = 1);
            one(s)
        }
        Shape::Gemm => one(gemm(node, x.shape(0)?, x.shape(1)?)?),
        Shape::MatMul => one(matmul(x.shape(0)?, x.shape(1)?)?),
        Shape::Flatten => one(axes::flatten(node, x.shape(0)?)?),
        Shape::Reshape => one(reshape(
            x.shape(0)?,
            &x.ints(1)?,
            node.int("allowzero", 0) != 0,
        )?),
        Shape::Transpose => one(axes::transpose(node, x.shape(0)?)?),
        Shape::Squeeze => one(axes::squeeze(node, x)?),
        Shape::Unsqueeze => one(axes::unsqueeze(node, x)?),
        Shape::Concat => one(parts::concat(node, x)?),
        Shape::Pad => one(parts::pad(node, x)?),
        Shape::Slice => one(parts::slice(node, x)?),
        Shape::Split => parts::split(node, x),
        Shape::Tile => one(parts::tile(x.shape(0)?, &x.ints(1)?)?),
        Shape::DepthToSpace => one(parts::depth_to_space(node, x.shape(0)?)?),
        Shape::SpaceToDepth => one(parts::space_to_depth(node, x.shape(0)?)?),
        Shape::Resize => one(resize::resize(node, x)?),
        Shape::Expand => one(broadcast(x.shape(0)?, &sizes(&x.ints(1)?)?)?),
        Shape::OfValue => one(sizes(&x.ints(0)?)?),
        Shape::Shape => one(vec![x.shape(0)?.len()]),
        Shape::Number => one(vec![]),
        Shape::Gather => one(parts::gather(node, x.shape(0)?, x.shape(1)?)?),
        Shape::Reduce => one(reduce(node, x)?),
    }
}

/// The common shape of two, by ONNX's multidirectional broadcasting.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Number of elements; `None` beyond what can be addressed.
pub(super) fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d))
}

fn sizes(v: &[i64]) -> Option<Vec<usize>> {
    v.iter().map(|&d| usize::try_from(d).ok()).collect()
}

fn gemm(node: &Node<'_>, a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (&[a0, a1], &[b0, b1]) = (a, b) else {
        return None;
    };
    let turned = |name| node.int(name, 0) != 0;
    let (m, k) = if turned("transA") { (a1, a0) } else { (a0, a1) };
    let (k2, n) = if turned("transB") { (b1, b0) } else { (b0, b1) };
    (k == k2).then(|| vec![m, n])
}

fn matmul(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (&k, batch_a) = a.split_last()?;
    match b {
        [n] => (k == *n).then(|| batch_a.to_vec()),
        [batch_b @ .., k2, n] if k == *k2 => match batch_a {
            [] => Some([batch_b, &[*n]].concat()),
            [outer @ .., m] => Some([&broadcast(outer, batch_b)?[..], &[*m, *n]].concat()),
        },
        _ => None,
    }
}

/// The shape that `Reshape` with `target` gives a tensor of shape `s`.
pub(super) fn reshape(s: &[usize], target: &[i64], allow_zero: bool) -> Option<Vec<usize>> {
    let total = product(s)?;
    let mut out = Vec::with_capacity(target.len());
    let mut free = None;
    for (i, &t) in target.iter().enumerate() {
        out.push(match t {
            0 if !allow_zero => *s.get(i)?,
            -1 if free.is_none() => {
                free = Some(i);
                1
            }
            t => usize::try_from(t).ok()?,
        });
    }
    let known = product(&out)?;
    if let Some(i) = free {
        out[i] = total.checked_div(known).filter(|q| q * known == total)?;
    }
    (product(&out)? == total).then_some(out)
}

fn reduce(node: &Node<'_>, x: &Inputs<'_>) -> Option<Vec<usize>> {
    let s = x.shape(0)?;
    let keep = node.int("keepdims", 1) != 0;
    if x.shape(1).is_some() && x.ints(1).is_none() {
        return None;
    }
    let axes = node.reduced_axes(x.attr_or_input(node, "axes", 1), s.len())?;
    Some(
        s.iter()
            .enumerate()
            .filter_map(|(i, &d)| match axes.contains(&i) {
                true => keep.then_some(1),
                false => Some(d),
            })
            .collect(),
    )
}

/// The value of a `Shape` (with its `start` and `end`) or `Size` node that reads this shape.
pub(super) fn value(node: &Node<'_>, shape: &[usize]) -> Option<Tensor> {
    use ndarray::{Array1, arr0};
    let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
    if node.op() == "Size" {
        let count = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d))?;
        return Some(Tensor::I64(arr0(count).into_dyn()));
    }
    let rank = dims.len() as i64;
    let place = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank) as usize;
    let (start, end) = (place(node.int("start", 0)), place(node.int("end", rank)));
    let part = dims.get(start..end.max(start))?.to_vec();
    Some(Tensor::I64(Array1::from(part).into_dyn()))
}
