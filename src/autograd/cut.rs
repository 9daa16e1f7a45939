//! Where runs start: the values at a position between two steps.

use std::ops::Range;
use std::sync::Arc;

use super::arrays::{array, recycle_array, slice};
use super::network::{StepId, ValueId};
use bnn_kernels::binary::Codes;
use ndarray::ArrayD;

/// A tensor `[N, …]`, in the form in which it takes least memory. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Held {
    /// As floats, in row-major order.
    Float(Arc<ArrayD<f32>>),
    /// -1, 0 and +1 alone, of a tensor of that shape: `[N, C, H, W]`, or `[N, C]`.
    Codes(Arc<Codes>, Vec<usize>),
}

impl From<ArrayD<f32>> for Held {
    fn from(x: ArrayD<f32>) -> Self {
        Self::Float(Arc::new(match x.is_standard_layout() {
            true => x,
            false => x.as_standard_layout().into_owned(),
        }))
    }
}

impl Held {
    /// The tensor's shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(x) => x.shape(),
            Self::Codes(_, shape) => shape,
        }
    }

    /// As floats.
    pub fn float(&self) -> Arc<ArrayD<f32>> {
        match self {
            Self::Float(x) => Arc::clone(x),
            Self::Codes(codes, shape) => Arc::new(array(shape, codes.unpack())),
        }
    }

    /// Gives the memory back if nobody else holds it.
    pub(super) fn recycle(self) {
        if let Self::Float(x) = self
            && let Some(x) = Arc::into_inner(x)
        {
            recycle_array(x);
        }
    }

    /// The samples `rows` of the batch, in that order.
    fn select(&self, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Self {
        let mut shape = self.shape().to_vec();
        if let Some(count) = shape.first_mut() {
            *count = rows.len();
        }
        match self {
            Self::Float(x) => {
                let size = shape[1..].iter().product::<usize>();
                let mut data = Vec::with_capacity(rows.len() * size);
                for row in rows {
                    data.extend_from_slice(&slice(x)[row * size..(row + 1) * size]);
                }
                Self::Float(Arc::new(array(&shape, data)))
            }
            Self::Codes(codes, _) => Self::Codes(Arc::new(codes.select(rows)), shape),
        }
    }

    /// One batch of several; at least one, of one shape but for the batch.
    fn joined(parts: &[Self]) -> Self {
        let mut shape = parts[0].shape().to_vec();
        shape[0] = parts.iter().map(|p| p.shape()[0]).sum();
        let codes = parts.iter().map(|part| match part {
            Self::Codes(codes, _) => Some(&**codes),
            Self::Float(_) => None,
        });
        if let Some(codes) = codes
            .collect::<Option<Vec<_>>>()
            .and_then(|c| Codes::joined(&c))
        {
            return Self::Codes(Arc::new(codes), shape);
        }
        let mut data = Vec::with_capacity(shape.iter().product());
        for part in parts {
            data.extend_from_slice(slice(&part.float()));
        }
        Self::Float(Arc::new(array(&shape, data)))
    }
}

/// Where a run starts: a position, and the values of [`super::Network::cut`] there. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The first step that runs.
    pub step: StepId,
    /// What exists there.
    pub values: Vec<(ValueId, Held)>,
}

impl Cut {
    /// The samples `rows` of the batch, in that order.
    ///
    /// # Panics
    /// If a row is beyond the batch.
    pub fn select(&self, rows: &[usize]) -> Self {
        self.each(|x| x.select(rows.iter().copied()))
    }

    /// Some samples of the batch.
    pub(super) fn rows(&self, range: Range<usize>) -> Self {
        self.each(|x| x.select(range.clone()))
    }

    fn each(&self, f: impl Fn(&Held) -> Held) -> Self {
        Self {
            step: self.step,
            values: self.values.iter().map(|(v, x)| (*v, f(x))).collect(),
        }
    }

    /// One batch of several, which are at the same position.
    pub(super) fn joined(parts: &[Self]) -> Self {
        let first = parts.first();
        let values = first.map_or(&[][..], |p| &p.values).iter().enumerate();
        Self {
            step: first.map_or(StepId(0), |p| p.step),
            values: values
                .map(|(i, (v, _))| {
                    let all: Vec<Held> = parts.iter().map(|p| p.values[i].1.clone()).collect();
                    (*v, Held::joined(&all))
                })
                .collect(),
        }
    }
}
