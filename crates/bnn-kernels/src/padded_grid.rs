//! Images whose padded rows lie one behind the other.

use crate::ConvGeometry;

/// The sizes of such an image, and where the image itself begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PaddedGrid {
    pub height: usize,
    pub width: usize,
    pub top: usize,
    pub left: usize,
}

impl PaddedGrid {
    /// For the input: what all windows read.
    pub fn of_input(g: &ConvGeometry) -> Self {
        let size = |i: usize| {
            let (size, out) = ([g.height, g.width][i], [g.out_height, g.out_width][i]);
            let extent = (g.kernel[i] - 1).saturating_mul(g.dilation[i]);
            let windows = out.saturating_sub(1).saturating_mul(g.stride[i]);
            let read = windows.saturating_add(extent).saturating_add(1);
            read.max(size.saturating_add(g.pad[i]))
        };
        Self {
            height: size(0),
            width: size(1),
            top: g.pad[0],
            left: g.pad[1],
        }
    }

    /// For the output's gradient, of a convolution without strides: all that reaches a pixel of the
    /// input.
    pub fn of_output(g: &ConvGeometry) -> Self {
        let margin = |i: usize| {
            let extent = (g.kernel[i] - 1).saturating_mul(g.dilation[i]);
            extent.saturating_sub(g.pad[i])
        };
        let size = |i: usize| {
            let (size, out) = ([g.height, g.width][i], [g.out_height, g.out_width][i]);
            let read = size.saturating_add(g.pad[i]);
            read.max(out).saturating_add(margin(i))
        };
        Self {
            height: size(0),
            width: size(1),
            top: margin(0),
            left: margin(1),
        }
    }

    /// Pixels.
    pub fn area(self) -> usize {
        self.height * self.width
    }

    /// For each kernel position how far its pixel lies behind that of the first in the grid of the
    /// input.
    pub fn taps(self, g: &ConvGeometry) -> Vec<usize> {
        let rows = (0..g.kernel[0]).map(|y| y * g.dilation[0] * self.width);
        let columns = move |row| (0..g.kernel[1]).map(move |x| row + x * g.dilation[1]);
        rows.flat_map(columns).collect()
    }

    /// For each kernel position where in the grid of the output the gradient lies that the input's
    /// first pixel gets through it.
    pub fn sources(self, g: &ConvGeometry) -> Vec<usize> {
        let at = |i: usize, k: usize| {
            // Never negative, as the margin is what the kernel reaches beyond the padding.
            g.pad[i] + [self.top, self.left][i] - k * g.dilation[i]
        };
        let rows = (0..g.kernel[0]).map(|y| at(0, y) * self.width);
        let columns = move |row| (0..g.kernel[1]).map(move |x| row + at(1, x));
        rows.flat_map(columns).collect()
    }
}
