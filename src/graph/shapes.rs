//! Output shapes of operators, at a concrete batch size.
//!
//! A table of functions `(node, input shapes, input values) -> output shapes`; `None` where the
//! operator is unknown or its inputs do not fit. What is not inferred is treated as unknown
//! further on, never guessed.

use super::Node;
use super::node::normalize_axis;
use crate::onnx::Tensor;

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
    match node.op() {
        "Identity"
        | "Relu"
        | "PRelu"
        | "LeakyRelu"
        | "Elu"
        | "Selu"
        | "Celu"
        | "Sigmoid"
        | "HardSigmoid"
        | "HardSwish"
        | "Mish"
        | "Gelu"
        | "Softplus"
        | "Softsign"
        | "Tanh"
        | "Erf"
        | "Clip"
        | "Sign"
        | "Abs"
        | "Neg"
        | "Exp"
        | "Log"
        | "Sqrt"
        | "Reciprocal"
        | "Floor"
        | "Ceil"
        | "Round"
        | "Not"
        | "Cast"
        | "Softmax"
        | "LogSoftmax"
        | "LRN"
        | "InstanceNormalization"
        | "IsNaN"
        | "ThresholdedRelu" => one(first()?),
        // Mask and saved statistics follow the first output; nothing here reads them.
        "Dropout" | "BatchNormalization" => one(first()?),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Sum" | "Mean" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" | "And" | "Or" | "Xor" | "Where"
        | "Mod" => {
            let mut out = Vec::new();
            for s in x.shapes {
                out = broadcast(&out, (*s)?)?;
            }
            one(out)
        }
        "Conv" => one(conv(node, x.shape(0)?, x.shape(1)?)?),
        "MaxPool" | "AveragePool" | "LpPool" => one(pool(node, x.shape(0)?)?),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let mut s = first()?;
            s.iter_mut().skip(2).for_each(|d| *d = 1);
            one(s)
        }
        "Gemm" => {
            let (a, b) = (x.shape(0)?, x.shape(1)?);
            let (&[a0, a1], &[b0, b1]) = (a, b) else {
                return None;
            };
            let (m, k) = if node.int("transA", 0) != 0 {
                (a1, a0)
            } else {
                (a0, a1)
            };
            let (k2, n) = if node.int("transB", 0) != 0 {
                (b1, b0)
            } else {
                (b0, b1)
            };
            (k == k2).then(|| vec![vec![m, n]])
        }
        "MatMul" => one(matmul(x.shape(0)?, x.shape(1)?)?),
        "Flatten" => {
            let s = x.shape(0)?;
            let axis = node.int("axis", 1);
            let axis = if axis == s.len() as i64 {
                s.len()
            } else {
                normalize_axis(axis, s.len())?
            };
            let (outer, inner) = s.split_at(axis);
            one(vec![product(outer)?, product(inner)?])
        }
        "Reshape" => one(reshape(
            x.shape(0)?,
            &x.ints(1)?,
            node.int("allowzero", 0) != 0,
        )?),
        "Transpose" => {
            let s = x.shape(0)?;
            one(match node.ints("perm") {
                None => s.iter().rev().copied().collect(),
                Some(p) if p.len() == s.len() => p
                    .iter()
                    .map(|&p| s.get(usize::try_from(p).ok()?).copied())
                    .collect::<Option<_>>()?,
                Some(_) => return None,
            })
        }
        "Squeeze" => {
            let s = x.shape(0)?;
            let axes = axes(x.attr_or_input(node, "axes", 1), s.len())?;
            let keep = |(i, &d): (usize, &usize)| match &axes {
                Some(a) => (!a.contains(&i)).then_some(d),
                None => (d != 1).then_some(d),
            };
            one(s.iter().enumerate().filter_map(keep).collect())
        }
        "Unsqueeze" => {
            let s = x.shape(0)?;
            let list = x.attr_or_input(node, "axes", 1)?;
            let rank = s.len().checked_add(list.len())?;
            let axes = axes(Some(list), rank)??;
            let mut rest = s.iter();
            one((0..rank)
                .map(|i| {
                    if axes.contains(&i) {
                        Some(1)
                    } else {
                        rest.next().copied()
                    }
                })
                .collect::<Option<_>>()?)
        }
        "Concat" => {
            let mut out = first()?;
            let axis = node.axis(0, out.len())?;
            for s in x.shapes.iter().skip(1) {
                let s = (*s)?;
                let fits = s.len() == out.len()
                    && s.iter()
                        .zip(&out)
                        .enumerate()
                        .all(|(i, (a, b))| i == axis || a == b);
                if !fits {
                    return None;
                }
                out[axis] = out[axis].checked_add(s[axis])?;
            }
            one(out)
        }
        "Pad" => {
            let s = x.shape(0)?;
            let pads = x.attr_or_input(node, "pads", 1)?;
            if x.present(3) || pads.len() != 2 * s.len() {
                return None;
            }
            let (begin, end) = pads.split_at(s.len());
            one(s
                .iter()
                .zip(begin.iter().zip(end))
                .map(|(&d, (&b, &e))| {
                    let d = i64::try_from(d).ok()?.checked_add(b)?.checked_add(e)?;
                    usize::try_from(d).ok()
                })
                .collect::<Option<_>>()?)
        }
        "Expand" => one(broadcast(x.shape(0)?, &sizes(&x.ints(1)?)?)?),
        "ConstantOfShape" => one(sizes(&x.ints(0)?)?),
        "Shape" => one(vec![x.shape(0)?.len()]),
        "Size" => one(vec![]),
        "Gather" => {
            let (data, indices) = (x.shape(0)?, x.shape(1)?);
            let axis = node.axis(0, data.len())?;
            one([&data[..axis], indices, &data[axis + 1..]].concat())
        }
        op if op.starts_with("Reduce") => one(reduce(node, x)?),
        _ => None,
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

/// Normalised axes; the outer `None` is an invalid list, the inner one a list left out.
fn axes(list: Option<Vec<i64>>, rank: usize) -> Option<Option<Vec<usize>>> {
    match list {
        None => Some(None),
        Some(v) => v
            .iter()
            .map(|&a| normalize_axis(a, rank))
            .collect::<Option<Vec<_>>>()
            .map(Some),
    }
}

/// Geometry of a convolution or pooling window over the spatial axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Kernel size per spatial axis.
    pub kernel: Vec<usize>,
    /// Stride per spatial axis.
    pub strides: Vec<usize>,
    /// Dilation per spatial axis.
    pub dilations: Vec<usize>,
    /// Padding before each spatial axis.
    pub begin: Vec<usize>,
    /// Padding after each spatial axis.
    pub end: Vec<usize>,
}

impl Window {
    /// The window of a Conv or pooling node over an input `[N, C, spatial…]`; `kernel` is the
    /// weight's spatial shape for Conv. `None` if the attributes contradict each other.
    pub fn of(node: &Node<'_>, input: &[usize], kernel: Option<&[usize]>) -> Option<Self> {
        let n = input.len().checked_sub(2)?;
        let kernel = match kernel {
            Some(k) if k.len() == n => k.to_vec(),
            Some(_) => return None,
            None => node.ints("kernel_shape").and_then(sizes)?,
        };
        let strides = node.sizes("strides", n, 1)?;
        let dilations = node.sizes("dilations", n, 1)?;
        if kernel.len() != n
            || [&kernel, &strides, &dilations]
                .iter()
                .any(|v| v.contains(&0))
        {
            return None;
        }
        let mut w = Self {
            kernel,
            strides,
            dilations,
            begin: vec![0; n],
            end: vec![0; n],
        };
        match node.string("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => {
                let pads = node.sizes("pads", 2 * n, 0)?;
                w.begin.copy_from_slice(&pads[..n]);
                w.end.copy_from_slice(&pads[n..]);
            }
            "VALID" => {}
            upper_or_lower => {
                let lower = upper_or_lower == "SAME_LOWER";
                for i in 0..n {
                    let d = input[i + 2];
                    let out = d.div_ceil(w.strides[i]);
                    let covered = out
                        .checked_sub(1)?
                        .checked_mul(w.strides[i])?
                        .checked_add(w.extent(i)?)?;
                    let total = covered.saturating_sub(d);
                    let (small, large) = (total / 2, total - total / 2);
                    (w.begin[i], w.end[i]) = if lower {
                        (large, small)
                    } else {
                        (small, large)
                    };
                }
            }
        }
        Some(w)
    }

    /// Input positions that the window spans on spatial axis `i`.
    pub fn extent(&self, i: usize) -> Option<usize> {
        (self.kernel[i] - 1)
            .checked_mul(self.dilations[i])?
            .checked_add(1)
    }

    /// Output size on spatial axis `i` for an input of size `d`.
    pub fn output(&self, i: usize, d: usize, ceil: bool) -> Option<usize> {
        let padded = d.checked_add(self.begin[i])?.checked_add(self.end[i])?;
        let span = padded.checked_sub(self.extent(i)?)?;
        let stride = self.strides[i];
        let mut out = if ceil {
            span.div_ceil(stride)
        } else {
            span / stride
        } + 1;
        // The last window of a ceil-mode pooling must start inside the input or its front padding.
        if ceil && (out - 1).checked_mul(stride)? >= d + self.begin[i] {
            out -= 1;
        }
        Some(out)
    }
}

fn conv(node: &Node<'_>, input: &[usize], weight: &[usize]) -> Option<Vec<usize>> {
    let window = Window::of(node, input, weight.get(2..))?;
    let mut out = vec![*input.first()?, *weight.first()?];
    for (i, &d) in input.iter().skip(2).enumerate() {
        out.push(window.output(i, d, false)?);
    }
    Some(out)
}

fn pool(node: &Node<'_>, input: &[usize]) -> Option<Vec<usize>> {
    let window = Window::of(node, input, None)?;
    let ceil = node.int("ceil_mode", 0) != 0;
    let mut out = input.get(..2)?.to_vec();
    for (i, &d) in input.iter().skip(2).enumerate() {
        out.push(window.output(i, d, ceil)?);
    }
    Some(out)
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
    let list = x.attr_or_input(node, "axes", 1).filter(|v| !v.is_empty());
    if list.is_none() && node.int("noop_with_empty_axes", 0) != 0 {
        return Some(s.to_vec());
    }
    let axes = axes(list, s.len())?;
    let hit = |i: usize| axes.as_ref().is_none_or(|a| a.contains(&i));
    Some(
        s.iter()
            .enumerate()
            .filter_map(|(i, &d)| match hit(i) {
                true => keep.then_some(1),
                false => Some(d),
            })
            .collect(),
    )
}
