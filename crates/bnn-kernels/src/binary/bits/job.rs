//! A convolution of bits on some images, as tasks.

use std::ops::Range;

use super::convolution::BitConv;
use super::disjoint::{Claims, Disjoint};
use super::level::Level;
use super::tile::{LANES, Mask, ROWS, Tile};
use super::windows::{Places, Windows};
use super::{Bits, PER_BYTE, bytes_of};

/// Pixels that are computed together: their windows stay in the nearest cache.
pub(super) const STRIP: usize = 32;
/// Products that a task computes at least, where there are so many: a few microseconds.
const GRAIN: usize = 6_000_000;
/// Planes with fewer pixels are not worth a vector of pixels.
const LEAST_PLANE: usize = 8;
/// Most tasks.
const MOST_TASKS: usize = 64;

/// A convolution on some images.
#[derive(Debug)]
pub struct Job<'a> {
    pub(super) conv: &'a BitConv,
    pub(super) x: Bits<'a>,
    out: [usize; 2],
    pub(super) places: Places,
    pub(super) level: Level,
}

/// What strips of pixels are of.
#[derive(Clone, Copy)]
pub(super) enum Strips {
    /// All images, one behind the other.
    OfBatch,
    /// One image.
    OfImage,
}

/// How a job is cut: into strips, and parts of the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Strips of all images.
    strips: usize,
    /// Strips of a task.
    together: usize,
    /// Parts that the filters are cut into.
    parts: usize,
}

/// What says where each task of a job writes: images, pixels and filters, and how they are cut.
pub(super) type Work = ([usize; 3], Cut);

/// Where signs go.
#[derive(Debug)]
pub struct Signs<'a> {
    /// A threshold for each filter, filled up to whole blocks.
    thresholds: Vec<[i32; LANES]>,
    out: Disjoint<'a, u8>,
    claims: Claims<Work>,
}

impl<'a> Job<'a> {
    /// Plans a convolution of these activations; `None` if they have other channels, or no window fits in.
    ///
    /// # Panics
    /// If the activations have other sizes than they say.
    pub fn new(conv: &'a BitConv, x: Bits<'a>) -> Option<Self> {
        Self::with(conv, x, Level::detect())
    }

    /// With these instructions.
    pub fn with(conv: &'a BitConv, x: Bits<'a>, level: Level) -> Option<Self> {
        x.check();
        let out = conv.g.out_size([x.height, x.width])?;
        (x.channels == conv.g.channels).then(|| Self {
            conv,
            x,
            out,
            places: Places::new(&conv.g, &x, out),
            level,
        })
    }

    /// Height and width of the output.
    pub fn out_size(&self) -> [usize; 2] {
        self.out
    }

    pub(super) fn plane(&self) -> usize {
        self.out[0] * self.out[1]
    }

    pub(super) fn filters(&self) -> usize {
        self.conv.g.filters
    }

    /// Whether floats are computed with filters side by side.
    pub(super) fn filters_in_lanes(&self) -> bool {
        self.plane() < LEAST_PLANE
    }

    pub(super) fn cut(&self, strips: Strips) -> Cut {
        let pixels = self.x.batch * self.plane();
        let strips = match strips {
            Strips::OfImage => self.x.batch * self.plane().div_ceil(STRIP),
            Strips::OfBatch => pixels.div_ceil(STRIP),
        };
        let products = pixels.saturating_mul(self.filters() * self.conv.words * 32);
        let tasks = (products / GRAIN).clamp(1, MOST_TASKS);
        let together = strips.div_ceil(tasks.min(strips.max(1))).max(1);
        let blocks = self.filters().div_ceil(LANES);
        let parts = tasks.div_ceil(strips.max(1)).clamp(1, blocks);
        Cut {
            strips,
            together,
            parts,
        }
    }

    /// How many tasks there are for [`Job::signs`].
    pub fn sign_tasks(&self) -> usize {
        let cut = self.cut(Strips::OfBatch);
        cut.strips.div_ceil(cut.together) * cut.parts
    }

    /// How many tasks there are for [`Job::floats`].
    pub fn float_tasks(&self) -> usize {
        let cut = self.cut_of_floats();
        cut.strips.div_ceil(cut.together) * cut.parts
    }

    pub(super) fn cut_of_floats(&self) -> Cut {
        self.cut(match self.filters_in_lanes() {
            true => Strips::OfBatch,
            false => Strips::OfImage,
        })
    }

    /// The strips of a task, and its blocks of filters.
    pub(super) fn task(&self, task: usize, cut: &Cut) -> (Range<usize>, Range<usize>) {
        let (group, part) = (task / cut.parts, task % cut.parts);
        let from = (group * cut.together).min(cut.strips);
        let blocks = self.filters().div_ceil(LANES);
        let first = |part: usize| part * blocks / cut.parts;
        let to = (from + cut.together).min(cut.strips);
        (from..to, first(part)..first(part + 1))
    }

    /// Bytes of [`Job::signs`], `[N, OH, OW, ⌈O/8⌉]`.
    pub fn sign_bytes(&self) -> usize {
        self.x.batch * self.plane() * bytes_of(self.filters())
    }

    /// Where the signs of sums minus thresholds go: a 1 where the sum is not below its filter's threshold.
    ///
    /// # Panics
    /// If there is not one threshold for each filter, or another number of bytes than [`Job::sign_bytes`].
    pub fn signs_to<'o>(&self, thresholds: &[i32], out: &'o mut [u8]) -> Signs<'o> {
        assert_eq!(thresholds.len(), self.filters(), "thresholds");
        assert_eq!(out.len(), self.sign_bytes(), "signs");
        let blocks = thresholds.chunks(LANES).map(|some| {
            // Bits beyond the filters are 0: no sum is so large.
            let mut block = [i32::MAX; LANES];
            block[..some.len()].copy_from_slice(some);
            block
        });
        Signs {
            thresholds: blocks.collect(),
            out: Disjoint::new(out),
            claims: Claims::default(),
        }
    }

    pub(super) fn work(&self, cut: Cut) -> Work {
        ([self.x.batch, self.plane(), self.filters()], cut)
    }

    /// Computes a task's signs: each task once, any number of them at a time.
    ///
    /// # Panics
    /// If there is no such task or it was computed before, or if `to` is that of a job of other sizes.
    pub fn signs(&self, task: usize, to: &Signs<'_>) {
        assert_eq!(to.out.len(), self.sign_bytes(), "signs");
        let cut = self.cut(Strips::OfBatch);
        to.claims.begin(task, self.sign_tasks(), self.work(cut));
        let (strips, blocks) = self.task(task, &cut);
        let bytes = bytes_of(self.filters());
        let pixels = self.x.batch * self.plane();
        let mut windows = Windows::default();
        for strip in strips {
            let first = strip * STRIP;
            let some = first..(first + STRIP).min(pixels);
            windows.fill(self.conv, &self.x, &self.places, some.clone());
            for block in blocks.clone() {
                for (t, &all) in windows.all.iter().enumerate() {
                    let at = t * ROWS;
                    let rows = ROWS.min(some.len() - at);
                    let tile = self.filters_tile(&windows, block, at, rows, all);
                    let Some((whole, _)) = windows.whole[at..].split_first_chunk() else {
                        continue;
                    };
                    let signs = tile.signs(self.level, whole, &to.thresholds[block]);
                    let byte = block * LANES / PER_BYTE;
                    let count = (bytes - byte).min(2);
                    for (r, sign) in signs.into_iter().enumerate().take(rows) {
                        let place = (first + at + r) * bytes + byte;
                        // SAFETY: these filters of this pixel are this task's alone.
                        let out = unsafe { to.out.slice(place, count) };
                        match out {
                            [low, high] => [*low, *high] = sign.to_le_bytes(),
                            [low] => *low = sign as u8,
                            _ => {}
                        }
                    }
                }
            }
        }
    }

    /// Windows from `at` on, against sixteen filters.
    pub(super) fn filters_tile<'t>(
        &'t self,
        windows: &'t Windows,
        block: usize,
        at: usize,
        count: usize,
        all: bool,
    ) -> Tile<'t> {
        let words = self.conv.words;
        Tile {
            lanes: self.conv.block(block),
            rows: &windows.rows[at * words..],
            mask: match all {
                true => Mask::All,
                false => Mask::Rows(&windows.mask[at * words..]),
            },
            words,
            count,
        }
    }
}
