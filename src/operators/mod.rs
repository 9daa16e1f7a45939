//! What is known of each ONNX operator: one row an operator.
//!
//! Shapes, evaluation, elimination, recognition, normalisation and verification read these rows
//! instead of asking for operators by name. A new function of one number is one row in `unary.rs`:
//! it then has a shape, is evaluated, passes channels in elimination, and the difference that
//! rounding makes behind it is bounded.
//!
//! Nothing here knows of graphs: attributes come in through [`Attributes`].

mod binary;
mod facts;
mod functions;
mod layers;
mod movement;
mod normalisation;
mod reductions;
mod unary;
pub(crate) mod versions;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use facts::{
    Arithmetic, Attributes, Function, Function2, How, Jump, Kind, Pool, Range, Reduction, Shape,
    Slope, Smoothness, Statistics, Trend, Unary,
};
pub use functions::{erf, sign};

/// What is known of one operator.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    /// Its name: that of ONNX's default domain, or `qonnx.Quant` and the like.
    pub name: &'static str,
    /// What it computes.
    pub kind: Kind,
    /// How the shapes of its outputs follow.
    pub shape: Shape,
    /// How it treats rounding; of functions of one number.
    pub smoothness: fn(&dyn Attributes) -> Smoothness,
    /// Where it goes as its input increases; of functions of one number.
    pub trend: fn(&dyn Attributes) -> Trend,
    /// When its output is never negative.
    pub range: fn(&dyn Attributes) -> Range,
    /// Whether it only moves, selects or repeats values of its first input.
    pub moves: bool,
    /// Whether its result is a decision, which two correct models may take differently where its
    /// input lies within rounding of a jump.
    pub decides: bool,
    /// Whether it mixes channels without having columns that could be cut.
    pub mixes: bool,
    /// Why nothing bounds how far rounding moves its result, where nothing does.
    pub unbounded: Option<&'static str>,
}

impl Operator {
    /// An operator of which nothing is known but its structure and its shape.
    const fn new(name: &'static str, kind: Kind, shape: Shape) -> Self {
        Self {
            name,
            kind,
            shape,
            smoothness: |_| Smoothness::Rounded,
            trend: |_| Trend::Turns,
            range: |_| Range::Any,
            moves: false,
            decides: false,
            mixes: false,
            unbounded: None,
        }
    }

    const fn smooth(mut self, smoothness: fn(&dyn Attributes) -> Smoothness) -> Self {
        self.smoothness = smoothness;
        self
    }

    const fn exact(self) -> Self {
        self.smooth(|_| Smoothness::Exact)
    }

    const fn rising(self) -> Self {
        self.trend(|_| Trend::Rises)
    }

    const fn trend(mut self, trend: fn(&dyn Attributes) -> Trend) -> Self {
        self.trend = trend;
        self
    }

    const fn range(mut self, range: fn(&dyn Attributes) -> Range) -> Self {
        self.range = range;
        self
    }

    const fn not_negative(self) -> Self {
        self.range(|_| Range::NotNegative)
    }

    /// Not negative where its first input is not.
    const fn like_input(self) -> Self {
        self.range(|_| Range::Inputs(&[0]))
    }

    /// Not negative where none of its inputs is.
    const fn like_inputs(self) -> Self {
        self.range(|_| Range::All)
    }

    const fn moving(mut self) -> Self {
        self.moves = true;
        self.like_input()
    }

    const fn deciding(mut self) -> Self {
        self.decides = true;
        self.smooth(|_| Smoothness::Jumps)
    }

    const fn mixing(mut self) -> Self {
        self.mixes = true;
        self
    }

    const fn unbounded(mut self, why: &'static str) -> Self {
        self.unbounded = Some(why);
        self
    }

    /// The function of one number, if it is one.
    pub fn unary(&self) -> Option<Unary> {
        match self.kind {
            Kind::Unary(f) => Some(f),
            _ => None,
        }
    }

    /// The arithmetic, if it is one.
    pub fn arithmetic(&self) -> Option<Arithmetic> {
        match self.kind {
            Kind::Arithmetic(arithmetic) => Some(arithmetic),
            _ => None,
        }
    }

    /// What it reduces many values to, if it is a reduction.
    pub fn reduction(&self) -> Option<Reduction> {
        match self.kind {
            Kind::Reduction(reduction) => Some(reduction),
            _ => None,
        }
    }
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Operator> {
    let families = [
        unary::ROWS,
        binary::ROWS,
        layers::ROWS,
        normalisation::ROWS,
        reductions::ROWS,
        movement::ROWS,
    ];
    families.into_iter().flatten()
}

/// The row of an operator, by the name that [`Node::op`](crate::graph::Node::op) gives.
pub fn operator(name: &str) -> Option<&'static Operator> {
    static ROWS: LazyLock<HashMap<&'static str, &'static Operator>> =
        LazyLock::new(|| all().map(|row| (row.name, row)).collect());
    ROWS.get(name).copied()
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
