//! Shapes and values at one batch size, and what a node adds to them.

use std::sync::Arc;

use crate::graph::TensorId;
use crate::graph::budget::Budget;
use crate::onnx::Tensor;

/// Shapes and values at one batch size.
#[derive(Debug, Clone)]
pub(in crate::graph) struct World {
    pub(super) shapes: Vec<Option<Vec<usize>>>,
    /// Shared by the facts of one model at several sizes.
    pub(in crate::graph) values: Vec<Option<Arc<Tensor>>>,
    pub(super) budget: Budget,
}

impl World {
    pub(super) fn new(count: usize) -> Self {
        Self {
            shapes: vec![None; count],
            values: vec![None; count],
            budget: Budget::new(),
        }
    }

    /// A value within the budget.
    pub(super) fn set_value(&mut self, t: TensorId, value: Tensor) {
        self.shapes[t.0] = Some(value.shape().to_vec());
        self.values[t.0] = Some(Arc::new(value.row_major()));
    }

    /// A shape without a value, if it is believed.
    pub(super) fn set_shape(&mut self, t: TensorId, shape: Vec<usize>) {
        self.shapes[t.0] = self.budget.admit(&shape).then_some(shape);
    }

    pub(super) fn set(&mut self, outputs: &[Option<TensorId>], found: Found) {
        match (found, outputs.first()) {
            (Found::Value(value), Some(Some(out))) => self.set_value(*out, value),
            (Found::Value(_), _) => {}
            (Found::Shapes(shapes), _) => {
                for (t, s) in outputs.iter().zip(shapes) {
                    if let Some(t) = t {
                        self.set_shape(*t, s);
                    }
                }
            }
        }
    }
}

/// What is known of a node's outputs.
pub(super) enum Found {
    /// The first one's value.
    Value(Tensor),
    /// Shapes, as far as they are known.
    Shapes(Vec<Vec<usize>>),
}
