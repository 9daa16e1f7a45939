//! What a chain reads.

use super::element::Identity;
use super::loops::{self, Scaled};
use crate::binary::Sums;
use crate::parallel::Planes;

/// The tensor `[N, C, …]` that a chain reads.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// In single precision, row-major.
    Floats(&'a [f32]),
    /// As a binary layer gives it; each element is computed as it is read.
    Sums(&'a Sums),
}

/// Some elements of one channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plane<'a> {
    Floats(&'a [f32]),
    Sums(Scaled<'a>),
}

impl<'a> Source<'a> {
    /// Image `n`'s elements of channel `c`.
    pub(super) fn plane(self, planes: Planes, n: usize, c: usize) -> Plane<'a> {
        match self {
            Self::Floats(x) => Plane::Floats(planes.of(x, n, c)),
            Self::Sums(x) => {
                let start = (n * planes.channels + c) * planes.inner;
                Plane::Sums(Scaled {
                    sums: &x.sums[start..start + planes.inner],
                    scale: x.scale[c],
                    bias: x.bias[c],
                })
            }
        }
    }
}

impl Plane<'_> {
    /// Writes the elements.
    pub fn load(self, to: &mut [f32]) {
        match self {
            Self::Floats(x) => to.copy_from_slice(x),
            Self::Sums(x) => loops::forward(x, Identity, to),
        }
    }
}
