//! The sizes of a convolution.

/// Sizes of a convolution `[N, C, H, W] → [N, O, OH, OW]`; pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Images, N.
    pub batch: usize,
    /// Input channels, C.
    pub channels: usize,
    /// Input height, H.
    pub height: usize,
    /// Input width, W.
    pub width: usize,
    /// Filters, O.
    pub filters: usize,
    /// Output height, OH.
    pub out_height: usize,
    /// Output width, OW.
    pub out_width: usize,
    /// Kernel size.
    pub kernel: [usize; 2],
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Zero padding at the top and at the left. That below and at the right follows from the sizes.
    pub pad: [usize; 2],
    /// Groups; they divide both C and O.
    pub groups: usize,
}

impl ConvGeometry {
    pub(crate) fn out_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    pub(crate) fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    /// Channel within the group, and position in the kernel, of a row of the column matrix.
    pub(crate) fn kernel_position(&self, row: usize) -> (usize, usize, usize) {
        let area = self.kernel[0] * self.kernel[1];
        let within = row % area;
        (row / area, within / self.kernel[1], within % self.kernel[1])
    }

    pub(crate) fn filters_per_group(&self) -> usize {
        self.filters / self.groups
    }

    /// Rows of the column matrix: weights of one filter.
    pub(crate) fn patch(&self) -> usize {
        self.channels_per_group() * self.kernel[0] * self.kernel[1]
    }

    pub(crate) fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub(crate) fn out_image(&self) -> usize {
        self.filters * self.out_plane()
    }
}
