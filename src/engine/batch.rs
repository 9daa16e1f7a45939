//! How a batch is divided: into parts, whose sizes depend on the network alone, and those among the processes
//! of a run.

use std::ops::Range;

use super::boundary::Boundary;
use super::plan::Plan;
use crate::distributed::{Alone, Communicator};
use crate::network::Network;

/// How large a part is: a function of the sizes alone, so that sums have a fixed order. What a part of some
/// images computes stays in the cache on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartSize {
    /// Elements at the boundary, about.
    elements: usize,
    /// Images, at most.
    images: usize,
}

impl PartSize {
    /// Of a training step, which keeps what it computes for the way back.
    const TRAINING: Self = Self {
        elements: 1 << 19,
        images: 32,
    };
    /// Of an inference.
    pub const INFERENCE: Self = Self {
        elements: 1 << 15,
        images: 64,
    };

    /// The parts of a batch of so many images, by their rows, each image having so many elements.
    pub fn parts(self, batch: usize, elements: usize) -> Vec<Range<usize>> {
        let images = self.elements / elements.max(1);
        let images = images.clamp(1, self.images);
        let part = |i: usize| i * images..((i + 1) * images).min(batch);
        (0..batch.div_ceil(images)).map(part).collect()
    }
}

/// Parts of a batch that wait for each other's statistics: at most, and images of each at least.
const MOST_IN_LOCKSTEP: usize = 32;
const LEAST_IN_LOCKSTEP: usize = 16;

/// A batch in parts, of which a process has some.
#[derive(Debug, Clone)]
pub struct Batch<'c> {
    /// Rows of each part.
    pub(super) parts: Vec<Range<usize>>,
    /// The parts of this process.
    pub(super) mine: Range<usize>,
    /// The processes.
    pub(super) processes: &'c dyn Communicator,
}

impl<'c> Batch<'c> {
    /// A batch that this process has alone, as one part.
    pub(super) fn whole(from: &Boundary) -> Batch<'static> {
        Batch {
            parts: std::iter::once(0..from.batch()).collect(),
            mine: 0..1,
            processes: &Alone,
        }
    }

    /// The rows of this process.
    pub fn rows(&self) -> Range<usize> {
        match self.parts.get(self.mine.clone()) {
            Some([first, .., last]) => first.start..last.end,
            Some([only]) => only.clone(),
            _ => 0..0,
        }
    }

    /// Images of the whole batch.
    pub(super) fn images(&self) -> usize {
        self.parts.last().map_or(0, |p| p.end)
    }
}

impl Plan {
    /// A batch of so many images for this plan, shared out over processes.
    pub fn batch<'c>(
        &self,
        network: &Network,
        images: usize,
        processes: &'c dyn Communicator,
    ) -> Batch<'c> {
        let sizes = network.boundary(self.range.start).into_iter().map(|v| {
            let sample = network.sample_shape(v);
            sample.map_or(0, |s| s.iter().product::<usize>())
        });
        let size = match self.mode.batch_statistics_from {
            // All parts are there until the end, each with gradients of weights: few large ones.
            Some(_) => PartSize {
                elements: usize::MAX,
                images: images.div_ceil(MOST_IN_LOCKSTEP).max(LEAST_IN_LOCKSTEP),
            },
            None => PartSize::TRAINING,
        };
        let parts = size.parts(images, sizes.sum());
        let mine = processes.share(parts.len());
        Batch {
            parts,
            mine,
            processes,
        }
    }
}
