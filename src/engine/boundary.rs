//! Where runs start and end: the values at a position between two steps.

use std::ops::Range;

use super::value::Value;
use crate::network::{StepId, ValueId};

/// A position between two steps, and the values there that steps behind it read
/// ([`Network::boundary`](crate::network::Network::boundary)). Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// The first step that runs from here.
    pub step: StepId,
    /// What exists here.
    pub values: Vec<(ValueId, Value)>,
}

impl Boundary {
    /// Samples of the batch.
    pub fn batch(&self) -> usize {
        self.values.first().map_or(0, |(_, x)| x.batch())
    }

    /// Elements of all values together.
    pub(super) fn elements(&self) -> usize {
        let size = |x: &Value| x.shape().iter().product::<usize>();
        self.values.iter().map(|(_, x)| size(x)).sum()
    }

    /// The samples `rows` of the batch, in that order.
    ///
    /// # Panics
    /// If a row is beyond the batch.
    pub fn select(&self, rows: &[usize]) -> Self {
        self.map(|x| x.select(rows.iter().copied()))
    }

    /// Neighbouring samples of the batch.
    pub(super) fn rows(&self, range: Range<usize>) -> Self {
        self.map(|x| x.select(range.clone()))
    }

    fn map(&self, f: impl Fn(&Value) -> Value) -> Self {
        Self {
            step: self.step,
            values: self.values.iter().map(|(v, x)| (*v, f(x))).collect(),
        }
    }

    /// One batch of several, which are at the same position.
    pub(super) fn joined(parts: &[Self]) -> Self {
        let first = parts.first();
        let values = first.map_or(&[][..], |p| &p.values).iter().enumerate();
        let joined = |i: usize| {
            let all: Vec<Value> = parts.iter().map(|p| p.values[i].1.clone()).collect();
            Value::joined(&all)
        };
        Self {
            step: first.map_or(StepId(0), |p| p.step),
            values: values
                .filter_map(|(i, (v, _))| Some((*v, joined(i)?)))
                .collect(),
        }
    }
}
