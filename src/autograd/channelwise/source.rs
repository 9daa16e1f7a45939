//! What a chain reads.

use super::element::{self, Same, Scaled};
use crate::autograd::parallel::{Planes, slice};
use crate::autograd::value::{Form, Sums, Value};

/// A tensor `[N, C, …]`.
#[derive(Debug, Clone, Copy)]
pub(in crate::autograd) enum Source<'a> {
    Floats(&'a [f32]),
    Sums(&'a Sums),
}

/// Some elements of one channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plane<'a> {
    Floats(&'a [f32]),
    Sums(Scaled<'a>),
}

impl<'a> Source<'a> {
    /// A value in its own form, where chains read it, else as floats.
    pub fn of(x: &'a Value) -> Self {
        match x.form() {
            Form::Sums(sums) => Self::Sums(sums),
            _ => Self::Floats(slice(x.float())),
        }
    }

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
            Self::Sums(x) => element::forward(x, Same, to),
        }
    }
}
