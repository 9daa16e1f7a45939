//! Convolutions and pooling.

use super::sizes;
use crate::graph::Node;

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
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                let lower = same == "SAME_LOWER";
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
            _ => return None,
        }
        Some(w)
    }

    /// The window of a ConvTranspose node with explicit padding over an input `[N, C, spatial…]`;
    /// `None` where the padding follows from the output's size instead.
    pub fn transposed(node: &Node<'_>, input: &[usize], kernel: Option<&[usize]>) -> Option<Self> {
        let explicit = matches!(node.string("auto_pad"), None | Some("NOTSET" | "VALID"));
        if !explicit || node.ints("output_shape").is_some() {
            return None;
        }
        Self::of(node, input, kernel)
    }

    /// Input positions that the window spans on spatial axis `i`.
    pub fn extent(&self, i: usize) -> Option<usize> {
        (self.kernel[i] - 1)
            .checked_mul(self.dilations[i])?
            .checked_add(1)
    }

    /// Output size on spatial axis `i` for an input of size `d`.
    pub fn output(&self, i: usize, d: usize, ceil: bool) -> Option<usize> {
        let stride = self.strides[i];
        if !ceil {
            return Some(self.span(i, d)? / stride + 1);
        }
        let counted = self.counted(i, d)?;
        // The last window must start inside the input or its front padding.
        let behind = (counted - 1).saturating_mul(stride) >= d.saturating_add(self.begin[i]);
        Some(counted - usize::from(behind))
    }

    /// How far windows can move on spatial axis `i`, padding included.
    fn span(&self, i: usize, d: usize) -> Option<usize> {
        let padded = d.checked_add(self.begin[i])?.checked_add(self.end[i])?;
        padded.checked_sub(self.extent(i)?)
    }

    /// Windows of a pooling in ceil mode, one that would start in the padding behind the input among them.
    fn counted(&self, i: usize, d: usize) -> Option<usize> {
        Some(self.span(i, d)?.div_ceil(self.strides[i]) + 1)
    }

    /// Whether a window of a pooling over an input `[N, C, spatial…]` may lie in padding altogether: where a dilation
    /// leads past the input, or a stride behind it.
    pub fn may_miss(&self, node: &Node<'_>, input: &[usize]) -> bool {
        let ceil = node.int("ceil_mode", 0) != 0;
        let mut axes = input.iter().skip(2).enumerate();
        axes.any(|(i, &d)| self.misses(i, d, ceil).unwrap_or(true))
    }

    /// The same of spatial axis `i` of size `d`; `None` where there are too many windows to look at.
    fn misses(&self, i: usize, d: usize, ceil: bool) -> Option<bool> {
        /// Windows that begin in front of the input, at most.
        const MOST: usize = 1 << 16;
        let (stride, dilation, begin) = (self.strides[i], self.dilations[i], self.begin[i]);
        let last = self.output(i, d, ceil)?.checked_sub(1)?;
        if last.checked_mul(stride)? >= begin.checked_add(d)? {
            return Some(true);
        }
        let in_front = begin.div_ceil(stride).min(last + 1);
        let meets = |window: usize| {
            // The first element that is not in front of the input.
            let short = begin - window * stride;
            let element = short.div_ceil(dilation);
            element < self.kernel[i] && element * dilation - short < d
        };
        (in_front <= MOST).then(|| !(0..in_front).all(meets))
    }

    /// Whether runtimes may disagree on the size of what a pooling makes of an input `[N, C, spatial…]`. The last window
    /// of the ceil mode that would start in the padding is left out when it runs, but it was counted by the
    /// formula of opsets before 22, which ONNX Runtime still infers shapes by.
    pub fn is_disputed(&self, node: &Node<'_>, input: &[usize]) -> bool {
        let mut axes = input.iter().skip(2).enumerate();
        node.opset() < 22
            && node.int("ceil_mode", 0) != 0
            && axes.any(|(i, &d)| self.counted(i, d) != self.output(i, d, true))
    }
}

pub(super) fn conv(node: &Node<'_>, input: &[usize], weight: &[usize]) -> Option<Vec<usize>> {
    let window = Window::of(node, input, weight.get(2..))?;
    let mut out = vec![*input.first()?, *weight.first()?];
    for (i, &d) in input.iter().skip(2).enumerate() {
        out.push(window.output(i, d, false)?);
    }
    Some(out)
}

pub(super) fn conv_transpose(
    node: &Node<'_>,
    input: &[usize],
    weight: &[usize],
) -> Option<Vec<usize>> {
    let spatial = input.get(2..)?;
    let groups = node.groups()?;
    let mut out = vec![*input.first()?, weight.get(1)?.checked_mul(groups)?];
    if let Some(sizes) = node.ints("output_shape") {
        // Older models list batch and channels as well.
        let sizes = sizes.get(sizes.len().checked_sub(spatial.len())?..)?;
        out.extend(
            sizes
                .iter()
                .map(|&d| usize::try_from(d).ok())
                .collect::<Option<Vec<_>>>()?,
        );
        return Some(out);
    }
    let window = Window::of(node, input, weight.get(2..))?;
    let extra = node.sizes("output_padding", spatial.len(), 0)?;
    let same = node
        .string("auto_pad")
        .is_some_and(|p| p.starts_with("SAME"));
    for (i, &d) in spatial.iter().enumerate() {
        if same {
            out.push(d.checked_mul(window.strides[i])?);
            continue;
        }
        let full = d
            .checked_sub(1)?
            .checked_mul(window.strides[i])?
            .checked_add(window.extent(i)?)?
            .checked_add(extra[i])?;
        out.push(full.checked_sub(window.begin[i].checked_add(window.end[i])?)?);
    }
    Some(out)
}

pub(super) fn pool(node: &Node<'_>, input: &[usize]) -> Option<Vec<usize>> {
    let window = Window::of(node, input, None)?;
    let ceil = node.int("ceil_mode", 0) != 0;
    let mut out = input.get(..2)?.to_vec();
    for (i, &d) in input.iter().skip(2).enumerate() {
        out.push(window.output(i, d, ceil)?);
    }
    Some(out)
}
