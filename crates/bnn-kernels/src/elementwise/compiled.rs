//! The chains that loops are made for, and those loops: each is compiled for every one of them.

use super::chain::KnownMap;
use super::element::{Affine, Element, Identity, Relu, SignStep, Then, Zero};
use super::loops::{self, Load};
use super::source::Plane;

/// Functions in front of a normalisation, and behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompiledChain {
    before: Before,
    after: After,
}

#[derive(Debug, Clone, Copy)]
enum Before {
    Identity,
    Relu,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Identity,
    Sign(SignStep),
    /// A sign that is masked.
    Zero(SignStep),
}

/// A loop, on a chain and a source.
pub(super) trait Loop {
    /// What it gives.
    type Found;

    /// Runs it.
    fn run(self, x: impl Load, before: impl Element, after: impl Element) -> Self::Found;
}

impl CompiledChain {
    /// Of those maps, if there are loops for them.
    pub fn of(
        mut before: impl Iterator<Item = Option<KnownMap>>,
        mut after: impl Iterator<Item = Option<KnownMap>>,
    ) -> Option<Self> {
        let before = match [before.next(), before.next()] {
            [None, _] => Before::Identity,
            [Some(Some(KnownMap::Relu)), None] => Before::Relu,
            _ => return None,
        };
        let after = match [after.next(), after.next(), after.next()] {
            [None, ..] => After::Identity,
            [Some(Some(KnownMap::Sign(step))), mask, None] => match mask {
                None | Some(Some(KnownMap::Identity)) => After::Sign(step),
                Some(Some(KnownMap::Zero)) => After::Zero(step),
                _ => return None,
            },
            _ => return None,
        };
        Some(Self { before, after })
    }

    /// The chain up to its last map, if that is a mask.
    pub fn unmasked(self) -> Option<Self> {
        match self.after {
            After::Identity => None,
            After::Sign(step) | After::Zero(step) => Some(Self {
                after: After::Sign(step),
                ..self
            }),
        }
    }

    /// Runs a loop on it.
    pub fn visit<L: Loop>(self, x: Plane<'_>, f: L) -> L::Found {
        match x {
            Plane::Floats(x) => self.visit_from(x, f),
            Plane::Sums(x) => self.visit_from(x, f),
        }
    }

    fn visit_from<L: Loop>(self, x: impl Load, f: L) -> L::Found {
        match self.before {
            Before::Identity => self.visit_after(x, Identity, f),
            Before::Relu => self.visit_after(x, Relu, f),
        }
    }

    fn visit_after<L: Loop>(self, x: impl Load, before: impl Element, f: L) -> L::Found {
        match self.after {
            After::Identity => f.run(x, before, Identity),
            After::Sign(step) => f.run(x, before, step),
            After::Zero(step) => f.run(x, before, Then(step, Zero)),
        }
    }
}

/// The output.
pub(super) struct Forward<'a> {
    pub norm: Affine,
    pub out: &'a mut [f32],
}

impl Loop for Forward<'_> {
    type Found = ();

    fn run(self, x: impl Load, before: impl Element, after: impl Element) {
        loops::forward(x, Then(Then(before, self.norm), after), self.out);
    }
}

/// See [`loops::dot`].
pub(super) struct Dot<'a> {
    pub norm: Affine,
    pub grad: &'a [f32],
}

impl Loop for Dot<'_> {
    type Found = f64;

    fn run(self, x: impl Load, before: impl Element, after: impl Element) -> f64 {
        loops::dot(x, Then(Then(before, self.norm), after), self.grad)
    }
}

/// The sum of the normalisation's input, or of the squares of how far it is away from something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    pub away: Option<f32>,
}

impl Loop for Sum {
    type Found = f64;

    fn run(self, x: impl Load, before: impl Element, _: impl Element) -> f64 {
        match self.away {
            None => loops::sum(x, before, |u| u),
            Some(mean) => loops::sum(x, before, move |u| (u - mean) * (u - mean)),
        }
    }
}

/// See [`loops::gate`].
pub(super) struct Gate<'a> {
    pub norm: Affine,
    pub grad: &'a mut [f32],
}

impl Loop for Gate<'_> {
    type Found = [f64; 2];

    fn run(self, x: impl Load, before: impl Element, after: impl Element) -> [f64; 2] {
        loops::gate(x, before, self.norm, after, self.grad)
    }
}

/// See [`loops::through`].
pub(super) struct Through<'a> {
    pub norm: Affine,
    pub means: [f32; 2],
    pub grad: &'a mut [f32],
}

impl Loop for Through<'_> {
    type Found = ();

    fn run(self, x: impl Load, before: impl Element, _: impl Element) {
        loops::through(x, before, self.norm, self.means, self.grad);
    }
}

/// The gradient from the output to the input, where nothing depends on the batch.
pub(super) struct Backward<'a> {
    pub norm: Affine,
    pub grad: &'a mut [f32],
}

impl Loop for Backward<'_> {
    type Found = ();

    fn run(self, x: impl Load, before: impl Element, after: impl Element) {
        loops::backward(x, Then(Then(before, self.norm), after), self.grad);
    }
}
