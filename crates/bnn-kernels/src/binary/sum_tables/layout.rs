//! How an output's gradient lies in tables, tile by tile, so that what reaches a pixel of the input
//! through a position of the kernel is an offset.
//!
//! A tile has some images side by side in each row. Where the kernel has few columns there is a copy
//! of the table for each, moved by as much, so that whole vectors are read; else rows have a margin.

use super::FILTERS_PER_TABLE;
use super::entry::TableEntry;
use crate::ConvGeometry;

/// Bytes of the tables of a tile: those parts that sums of a vector read stay in the first cache.
const TABLE_BYTES: usize = 64 << 10;
/// The same, at most: beyond, nothing stays in a cache.
const MOST_TABLE_BYTES: usize = 1 << 20;
/// Columns that may have a copy each.
const MOST_COPIES: usize = 3;
/// Terms that are summed in registers, about: more are not faster.
const TERMS: usize = 24;
/// Strides beyond are left to others, and so is what reaches farther.
const MOST_STRIDE: usize = 8;
const MOST_REACH: usize = 1 << 10;
/// What a vector costs, in cycles about: all sums with signs of it and four others, and one of them
/// looked up, in one line of the cache or often across two.
const COMBINE: f64 = 30.0;
const LOOK_UP: f64 = 0.5;
const LOOK_UP_ACROSS: f64 = 0.67;

/// Pixels of the input with the same remainder of their coordinates by the strides: the same kernel
/// positions reach them.
#[derive(Debug)]
pub(in crate::binary) struct Phase {
    /// The remainders.
    pub at: [usize; 2],
    /// Kernel positions, and where in the table of their copy their pixel lies for the tile's first.
    pub taps: Vec<Tap>,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::binary) struct Tap {
    pub position: usize,
    pub copy: usize,
    pub offset: usize,
}

/// Rows and columns are those of a phase.
#[derive(Debug)]
pub(in crate::binary) struct Layout {
    pub phases: Vec<Phase>,
    /// For each copy how far the first column that it reads lies from the tile's.
    pub copies: Vec<isize>,
    /// How far the first row that is read lies from the tile's.
    pub top: isize,
    /// Images of a tile.
    pub images: usize,
    /// Rows and columns of a tile.
    pub tile: [usize; 2],
    /// Rows and columns of a phase.
    pub size: [usize; 2],
    /// Columns of an image with its margin.
    pub cell: usize,
    /// Numbers of a row.
    pub row: usize,
    /// Rows of a table.
    pub table_rows: usize,
    /// Where in a table the vectors of a tile's pixels begin, an even number of them.
    pub starts: Vec<u32>,
    /// In the order of these vectors, how far the pixels of one row lie from those of the next, and
    /// those of one image from those of the next.
    pub pitch: [usize; 2],
    /// Groups of filters whose tables are made together.
    pub groups: usize,
    /// Height and width of the output, and of the input.
    pub from: [usize; 2],
    pub to: [usize; 2],
    pub stride: [usize; 2],
}

impl Layout {
    /// `None` if tables are not worth it.
    pub fn new<E: TableEntry>(g: &ConvGeometry) -> Option<Self> {
        let kernel = g.kernel[0].checked_mul(g.kernel[1])?;
        if g.groups != 1 || g.filters * g.out_plane() == 0 || g.channels * g.height * g.width == 0 {
            return None;
        }
        let pointwise = kernel == 1
            && g.stride == [1, 1]
            && g.pad == [0, 0]
            && [g.out_height, g.out_width] == [g.height, g.width];
        let (from, to) = match pointwise {
            // A plane is one row.
            true => ([1, g.out_plane()], [1, g.height * g.width]),
            false => ([g.out_height, g.out_width], [g.height, g.width]),
        };
        let reach = |i: usize| (g.kernel[i] - 1).saturating_mul(g.dilation[i]);
        if (0..2).any(|i| g.stride[i] > MOST_STRIDE || reach(i) > MOST_REACH) {
            return None;
        }
        let reached = [0, 1].map(|axis| reached(g, axis));
        let [rows, columns] = [&reached[0], &reached[1]].map(|r| {
            let mut all: Vec<isize> = r.iter().flatten().map(|&(_, by)| by).collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        let (top, last) = (*rows.first()?, *rows.last()?);
        let (left, right) = (*columns.first()?, *columns.last()?);
        let (span, margin) = ((last - top) as usize, (right - left) as usize);
        let size = [0, 1].map(|i| to[i].div_ceil(g.stride[i]));
        // Those that reach a pixel, on average.
        let lookups = (g.channels * kernel) as f64 / (g.stride[0] * g.stride[1]) as f64;
        let each = |copies: Vec<isize>, margin: usize| {
            let tile = Tile::new::<E>(size, margin, copies.len(), pointwise);
            let made = copies.len() * (tile.height + span) * tile.row;
            let look_up = if margin > 0 { LOOK_UP_ACROSS } else { LOOK_UP };
            let looked_up = (tile.starts.len() * E::LANES / 2) as f64 * lookups;
            let pixels = (tile.height * tile.width * tile.images) as f64;
            let cost = (made as f64 * COMBINE + looked_up * look_up) / pixels;
            (cost, copies, tile)
        };
        let one = each(vec![left], margin);
        let (_, copies, tile) = match columns.len() {
            2..=MOST_COPIES => {
                let more = each(columns, 0);
                if more.0 <= one.0 { more } else { one }
            }
            _ => one,
        };
        let bytes =
            (copies.len() << FILTERS_PER_TABLE) * (tile.height + span) * tile.row * size_of::<E>();
        if bytes > MOST_TABLE_BYTES {
            return None;
        }
        let most = g.filters.div_ceil(FILTERS_PER_TABLE);
        let groups = (TABLE_BYTES / bytes)
            .min(TERMS.div_ceil(kernel))
            .clamp(1, most);
        let mut layout = Self {
            phases: Vec::new(),
            copies,
            top,
            images: tile.images,
            tile: [tile.height, tile.width],
            size,
            cell: tile.width + tile.margin,
            row: tile.row,
            table_rows: tile.height + span,
            starts: tile.starts,
            pitch: tile.pitch,
            groups,
            from,
            to,
            stride: g.stride,
        };
        layout.phases = layout.phases(g, &reached, left);
        Some(layout)
    }

    fn phases(
        &self,
        g: &ConvGeometry,
        reached: &[Vec<Vec<(usize, isize)>>; 2],
        left: isize,
    ) -> Vec<Phase> {
        let mut phases = Vec::new();
        for (y, rows) in reached[0].iter().enumerate() {
            for (x, columns) in reached[1].iter().enumerate() {
                let mut taps = Vec::with_capacity(rows.len() * columns.len());
                for &(ky, row) in rows {
                    for &(kx, column) in columns {
                        let copy = self.copies.iter().position(|&c| c == column);
                        let within = match copy {
                            Some(_) => 0,
                            None => (column - left) as usize,
                        };
                        taps.push(Tap {
                            position: ky * g.kernel[1] + kx,
                            copy: copy.unwrap_or(0),
                            offset: (row - self.top) as usize * self.row + within,
                        });
                    }
                }
                phases.push(Phase { at: [y, x], taps });
            }
        }
        phases
    }

    /// Numbers of one table of sums: a plane for each sum.
    pub fn plane(&self) -> usize {
        self.table_rows * self.row
    }

    /// Numbers of all tables of a tile, with what vectors read beyond.
    pub fn table<E: TableEntry>(&self) -> usize {
        let margin = self.cell - self.tile[1];
        self.groups * (self.copies.len() << FILTERS_PER_TABLE) * self.plane() + margin + E::LANES
    }
}

/// The sizes of a tile; see [`Layout`].
struct Tile {
    images: usize,
    height: usize,
    width: usize,
    margin: usize,
    row: usize,
    starts: Vec<u32>,
    pitch: [usize; 2],
}

impl Tile {
    /// For planes of that size. A function of sizes alone.
    fn new<E: TableEntry>(size: [usize; 2], margin: usize, copies: usize, pointwise: bool) -> Self {
        let vector = E::LANES / 2;
        // Pixels: what is read beyond them should not be much, and the tables not too large.
        let target = match (pointwise, copies) {
            (true, _) => 8 * vector,
            (_, 1) => 128,
            _ => 64,
        };
        let width = size[1].min(target);
        let cell = width + margin;
        let images = target.div_ceil(size[0] * width);
        let height = match images {
            1 => size[0].div_ceil(size[0].div_ceil((target / width).max(1))),
            _ => size[0],
        };
        let row = (images * cell).next_multiple_of(vector);
        let mut starts = Vec::new();
        let pitch = match width.is_multiple_of(vector) {
            true => {
                for r in 0..height {
                    for n in 0..images {
                        let first = r * row + n * cell;
                        starts.extend((0..width).step_by(vector).map(|x| (first + x) as u32));
                    }
                }
                [images * width, width]
            }
            // Vectors that reach across images, margins included.
            false => {
                starts.extend((0..height * row).step_by(vector).map(|p| p as u32));
                [row, cell]
            }
        };
        if !starts.len().is_multiple_of(2) {
            starts.extend(starts.last().copied());
        }
        Self {
            images,
            height,
            width,
            margin,
            row,
            starts,
            pitch,
        }
    }
}

/// For each remainder of a coordinate of the input by the stride the kernel positions that reach it,
/// and how far from it (both in steps of the stride) the output lies that they reach it from.
fn reached(g: &ConvGeometry, axis: usize) -> Vec<Vec<(usize, isize)>> {
    let (stride, pad) = (g.stride[axis] as isize, g.pad[axis] as isize);
    let phases = (0..stride).map(|at| {
        let positions = (0..g.kernel[axis]).filter_map(|k| {
            let by = at + pad - (k * g.dilation[axis]) as isize;
            (by % stride == 0).then_some((k, by / stride))
        });
        positions.collect()
    });
    phases.collect()
}
