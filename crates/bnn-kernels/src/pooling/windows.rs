//! Where the windows of a pooling lie.

/// The windows along one axis. All sizes are at least 1, but paddings.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Input positions.
    pub size: usize,
    /// Output positions.
    pub out: usize,
    /// Positions of a window.
    pub kernel: usize,
    /// Input positions from one window to the next.
    pub stride: usize,
    /// Input positions from one position of a window to the next.
    pub dilation: usize,
    /// Padding in front of the input.
    pub begin: usize,
    /// Padding behind the input.
    pub end: usize,
}

impl Axis {
    /// An axis of one element, for one-dimensional pooling.
    pub const UNIT: Self = Self {
        size: 1,
        out: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        begin: 0,
        end: 0,
    };

    /// For each output the positions of its window that lie inside the input.
    pub fn spans(self) -> Vec<Span> {
        let span = |o: usize| {
            let start = o * self.stride;
            let skipped = self.begin.saturating_sub(start).div_ceil(self.dilation);
            let end = match (self.size + self.begin).checked_sub(start) {
                Some(room) => room.div_ceil(self.dilation).min(self.kernel),
                None => 0,
            };
            Span {
                first: (start + skipped * self.dilation).saturating_sub(self.begin),
                count: end.saturating_sub(skipped),
                step: self.dilation,
            }
        };
        (0..self.out).map(span).collect()
    }

    /// Window positions of output `o` inside the padded input: in ceil mode the last window may
    /// reach beyond it.
    fn counted(self, o: usize) -> usize {
        let room = (self.size + self.begin + self.end).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }
}

/// The part of a window along one axis that lies inside of the input.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    first: usize,
    count: usize,
    step: usize,
}

impl Span {
    /// The positions, in their order.
    pub fn positions(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |k| self.first + k * self.step)
    }
}

/// The windows of a plane, row-major: all of the first output row come first.
pub struct Windows {
    rows: Vec<Span>,
    columns: Vec<Span>,
    width: usize,
}

impl Windows {
    /// Of a plane of those axes.
    pub fn new([y, x]: [Axis; 2]) -> Self {
        Self {
            rows: y.spans(),
            columns: x.spans(),
            width: x.size,
        }
    }

    /// The positions in the plane of each window, in row-major order of the output.
    pub fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        self.rows.iter().flat_map(move |row| {
            self.columns.iter().map(move |column| {
                row.positions()
                    .flat_map(move |y| column.positions().map(move |x| y * self.width + x))
            })
        })
    }

    /// What the mean of each window divides by: the positions inside the input or, with
    /// `count_pads`, inside the padded input.
    pub fn divisors(&self, count_pads: bool, [y, x]: [Axis; 2]) -> Vec<f32> {
        let count = |axis: Axis, span: &Span, o: usize| match count_pads {
            true => axis.counted(o),
            false => span.count,
        };
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(oy, row)| {
            let columns = self.columns.iter().enumerate();
            columns
                .map(move |(ox, column)| (count(y, row, oy) * count(x, column, ox)).max(1) as f32)
        })
        .collect()
    }
}

/// Where the largest element of a window lies that is in the padding altogether: nowhere.
pub const NOWHERE: u32 = u32::MAX;
