//! The sizes of a convolution.

/// The sizes of a convolution `[N, C, H, W] → [N, O, OH, OW]`; pairs are (vertical, horizontal).
///
/// Output position `o` along an axis reads, for kernel position `k`, input position
/// `o · stride + k · dilation - pad`; what lies outside of the input is 0. The output's size is given, not
/// computed: it may be anything, as all that lies behind the input is 0 too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Images, N.
    pub batch: usize,
    /// Input channels, C, of all groups.
    pub channels: usize,
    /// Input height, H.
    pub height: usize,
    /// Input width, W.
    pub width: usize,
    /// Filters, O, of all groups.
    pub filters: usize,
    /// Output height, OH.
    pub out_height: usize,
    /// Output width, OW.
    pub out_width: usize,
    /// Kernel size, at least 1.
    pub kernel: [usize; 2],
    /// Input positions from one output to the next, at least 1.
    pub stride: [usize; 2],
    /// Input positions from one kernel position to the next, at least 1.
    pub dilation: [usize; 2],
    /// Zero padding at the top and at the left. That below and at the right follows from the sizes.
    pub pad: [usize; 2],
    /// Groups, at least 1; they divide both C and O. Each filter reads the channels of its group.
    pub groups: usize,
}

impl ConvGeometry {
    /// A matrix that mixes the channels of each of so many places: a convolution with a kernel of one.
    pub fn of_matrix(batch: usize, channels: usize, filters: usize, places: usize) -> Self {
        Self {
            batch,
            channels,
            height: 1,
            width: places,
            filters,
            out_height: 1,
            out_width: places,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
            groups: 1,
        }
    }

    /// Elements of one filter's output for one image, OH · OW.
    pub fn out_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Channels that each filter reads.
    pub(crate) fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    /// Channel within the group, and position in the kernel, of a row of the column matrix.
    pub(crate) fn kernel_position(&self, row: usize) -> (usize, usize, usize) {
        let area = self.kernel[0] * self.kernel[1];
        let within = row % area;
        (row / area, within / self.kernel[1], within % self.kernel[1])
    }

    /// Filters that read the same channels.
    pub(crate) fn filters_per_group(&self) -> usize {
        self.filters / self.groups
    }

    /// Rows of the column matrix: weights of one filter.
    pub(crate) fn patch(&self) -> usize {
        self.channels_per_group() * self.kernel[0] * self.kernel[1]
    }

    /// Elements of one image of the input.
    pub(crate) fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Elements of one image of the output.
    pub(crate) fn out_image(&self) -> usize {
        self.filters * self.out_plane()
    }
}
