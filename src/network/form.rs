//! How a file writes a binary layer whose BatchNormalization it hides: what is done to its sums, and where
//! a value for each channel is added.

use super::binary_weight::BinaryId;
use super::graph::ValueId;
use super::param::Origin;
use super::restored::Written;
use crate::arrays::array;
use crate::graph::NodeId;
use crate::ops::Arithmetic;

/// A node input.
pub(super) type Place = (NodeId, usize);

/// `factor · n + shift` of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub factor: f64,
    pub shift: f64,
}

/// What a layer itself does to its sums n.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    /// Scales of constant weights, which are ±1 while the network is trained.
    scale: Option<Vec<f32>>,
    bias: Option<(Vec<f32>, Origin)>,
    filters: usize,
    /// Whether sums are of ±1.
    on_signs: bool,
}

impl Weights {
    /// On latents that the file has: as they are.
    pub(super) fn live(filters: usize) -> Self {
        Self {
            scale: None,
            bias: None,
            filters,
            on_signs: false,
        }
    }

    /// Constants.
    pub(super) fn constant(
        scale: Vec<f32>,
        bias: Option<(Vec<f32>, Origin)>,
        on_signs: bool,
    ) -> Self {
        Self {
            filters: scale.len(),
            scale: Some(scale),
            bias,
            on_signs,
        }
    }

    /// Whether scale and bias became part of the BatchNormalization.
    pub(super) fn absorbed(&self) -> bool {
        self.scale.is_some()
    }

    /// 1 for each filter, 0 for those of zeros.
    pub(super) fn alive(&self) -> Vec<f32> {
        let alive = |s: &f32| if *s == 0.0 { 0.0 } else { 1.0 };
        self.scale.iter().flatten().map(alive).collect()
    }

    pub(super) fn filters(&self) -> usize {
        self.filters
    }

    pub(super) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// What the file computes of the sum that is normalised.
    pub(super) fn affine(&self, f: usize) -> Affine {
        Affine {
            factor: self.scale.as_ref().map_or(1.0, |s| f64::from(s[f])),
            shift: self.bias.as_ref().map_or(0.0, |(b, _)| f64::from(b[f])),
        }
    }
}

/// An arithmetic step whose place the BatchNormalization took.
#[derive(Debug, Clone)]
pub(super) struct AbsorbedStep {
    pub op: Arithmetic,
    /// Whether the constant is the first operand.
    pub reversed: bool,
    pub output: ValueId,
    /// Whether the file has a value for each channel.
    pub by_channel: bool,
    /// The constant, one value a channel.
    pub values: Vec<f32>,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// Axes of the data.
    pub rank: usize,
    /// The node input that reads it.
    pub place: Place,
}

impl AbsorbedStep {
    /// Whether its constant is added or subtracted.
    pub(super) fn adds(&self) -> bool {
        matches!(self.op, Arithmetic::Add | Arithmetic::Sub)
    }

    /// Behind what is done already, with its constant in the file.
    pub(super) fn behind(&self, a: Affine, f: usize) -> Affine {
        self.with(a, f64::from(self.values[f]))
    }

    /// Behind what is done already, with another constant.
    fn with(&self, a: Affine, c: f64) -> Affine {
        let Affine { factor, shift } = a;
        match (self.op, self.reversed) {
            (Arithmetic::Add, _) => Affine {
                factor,
                shift: shift + c,
            },
            (Arithmetic::Sub, false) => Affine {
                factor,
                shift: shift - c,
            },
            (Arithmetic::Sub, true) => Affine {
                factor: -factor,
                shift: c - shift,
            },
            (Arithmetic::Mul, _) => Affine {
                factor: factor * c,
                shift: shift * c,
            },
            (Arithmetic::Div, _) => Affine {
                factor: factor / c,
                shift: shift / c,
            },
        }
    }

    /// The shape of a constant with a value for each channel.
    pub(super) fn shape_by_channel(&self, channels: usize) -> Vec<usize> {
        match self.by_channel {
            true => self.shape.clone(),
            false => channel_shape(self.rank, channels),
        }
    }
}

/// The shape of one value a channel that broadcasts to data `[N, C, …]` of `rank` axes.
pub(super) fn channel_shape(rank: usize, channels: usize) -> Vec<usize> {
    let mut shape = vec![1; rank];
    if let Some(d) = shape.get_mut(1) {
        *d = channels;
    }
    shape
}

/// What follows behind.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// Something to which the size matters.
    Open,
    /// A binariser: only on which side of a threshold the values lie matters.
    Binarised {
        /// For each channel.
        threshold: Vec<f32>,
        /// What becomes of a value at it: +1 as above, -1 as below, 0 neither.
        zero: i8,
    },
}

/// How the file writes a binary layer and what takes the place of its BatchNormalization.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub layer: NodeId,
    pub binary: BinaryId,
    /// Axes of the layer's output.
    pub rank: usize,
    pub weights: Weights,
    pub steps: Vec<AbsorbedStep>,
    pub ending: Ending,
}

/// Where a value for each channel is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// By that one of the absorbed steps.
    Step(usize),
    /// By the layer's bias.
    Bias,
    /// By nothing yet: an `Add` has to be put behind the layer.
    New,
}

impl Affine {
    /// The identity.
    pub(super) const ONE: Self = Self {
        factor: 1.0,
        shift: 0.0,
    };
}

impl Form {
    pub(super) fn place(&self) -> Added {
        match self.steps.iter().rposition(AbsorbedStep::adds) {
            Some(i) => Added::Step(i),
            None if self.weights.has_bias() => Added::Bias,
            None => Added::New,
        }
    }

    /// What is done before a place of addition, and behind it, on channel `f`; in the file, but with
    /// `layer` for the layer itself, and `factor` for the constant of one of the steps.
    pub(super) fn around(
        &self,
        place: Added,
        layer: Affine,
        f: usize,
        factor: Option<(usize, f64)>,
    ) -> [Affine; 2] {
        let constant = |i: usize, s: &AbsorbedStep| match factor {
            Some((at, c)) if at == i => c,
            _ => f64::from(s.values[f]),
        };
        let run = |from: usize, to: usize, start: Affine| {
            let steps = self.steps.iter().enumerate().take(to).skip(from);
            steps.fold(start, |a, (i, s)| s.with(a, constant(i, s)))
        };
        let all = self.steps.len();
        match place {
            Added::Step(i) => {
                let mut before = run(0, i, layer);
                if self.steps[i].reversed && self.steps[i].op == Arithmetic::Sub {
                    before = Affine {
                        factor: -before.factor,
                        shift: -before.shift,
                    };
                }
                [before, run(i + 1, all, Affine::ONE)]
            }
            Added::Bias => [
                Affine {
                    shift: 0.0,
                    ..layer
                },
                run(0, all, Affine::ONE),
            ],
            Added::New => [layer, run(0, all, Affine::ONE)],
        }
    }

    /// The constants that add `values` at a place.
    pub(super) fn add(&self, written: &mut Written, place: Added, values: Vec<f32>) {
        match place {
            Added::Step(i) => {
                let step = &self.steps[i];
                let subtracts = step.op == Arithmetic::Sub && !step.reversed;
                let values = values.into_iter().map(|v| if subtracts { -v } else { v });
                let shape = step.shape_by_channel(self.weights.filters);
                written
                    .constants
                    .push((array(&shape, values.collect()), vec![step.place]));
            }
            Added::Bias => {
                if let Some((_, origin)) = &self.weights.bias {
                    let value = array(origin.initial.shape(), values);
                    written.constants.push((value, origin.uses.clone()));
                }
            }
            Added::New => {
                let shape = channel_shape(self.rank, self.weights.filters);
                written.added = Some(array(&shape, values));
            }
        }
    }

    /// What a place adds in the file on channel `f`.
    pub(super) fn added_now(&self, place: Added, f: usize) -> f64 {
        match place {
            Added::Step(i) => {
                let step = &self.steps[i];
                let c = f64::from(step.values[f]);
                match step.op == Arithmetic::Sub && !step.reversed {
                    true => -c,
                    false => c,
                }
            }
            Added::Bias => self.weights.affine(f).shift,
            Added::New => 0.0,
        }
    }

    /// Whether the file compares whole sums with whole or half numbers.
    pub(super) fn counts_integers(&self, place: Added) -> bool {
        let Added::Step(i) = place else {
            return false;
        };
        let unit = self.weights.scale.as_ref();
        let unit = unit.is_some_and(|s| s.iter().all(|&s| s == 1.0 || s == 0.0));
        let constants = self.steps[i].values.iter();
        let whole = constants.into_iter().all(|c| (2.0 * c).fract() == 0.0);
        self.weights.on_signs && unit && i == 0 && !self.weights.has_bias() && whole
    }

    /// Whether some of the file's constants lie between whole numbers.
    pub(super) fn halves(&self, place: Added) -> bool {
        match place {
            Added::Step(i) => self.steps[i].values.iter().any(|c| c.fract() != 0.0),
            Added::Bias | Added::New => false,
        }
    }

    /// The sum at which the binariser turns where its input turns at `t`. Where the file compares whole
    /// sums with a whole number, half a unit to the side that this number itself is not on.
    pub(super) fn crossing(&self, f: usize, t: f64) -> f64 {
        let layer = self.weights.affine(f);
        let all = self.steps.iter().fold(layer, |a, s| s.behind(a, f));
        let crossing = (t - all.shift) / all.factor;
        let whole = self.counts_integers(self.place()) && crossing.fract() == 0.0;
        match &self.ending {
            Ending::Binarised { zero, .. } if whole => {
                crossing - 0.5 * f64::from(*zero) * all.factor.signum()
            }
            _ => crossing,
        }
    }

    /// Whether the file has nothing yet that adds a value for each channel.
    pub(super) fn is_bare(&self) -> bool {
        self.place() == Added::New
    }
}
