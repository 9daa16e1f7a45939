//! A tensor of a run, in the form in which it takes least memory.

use std::sync::{Arc, OnceLock};

use bnn_kernels::binary::{Codes, Sums};
use bnn_kernels::buffers::recycle;
use bnn_kernels::lazy::get_or_compute;
use ndarray::ArrayD;

use crate::arrays::{array, recycle_array, slice};

/// A tensor `[N, …]` in one of three forms, and as floats once somebody has asked for them. Cloning
/// is cheap: clones share the elements.
#[derive(Debug, Clone)]
pub struct Value {
    form: Form,
    /// The elements of a value in another form, once they were asked for.
    float: Arc<OnceLock<ArrayD<f32>>>,
}

/// How the elements are held.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As they are, in row-major order.
    Float(Arc<ArrayD<f32>>),
    /// -1, 0 and +1 alone, four channels a byte, of a tensor of that shape: `[N, C, (H,) W]`, or
    /// `[N, C]`.
    Codes(Arc<Codes>, Vec<usize>),
    /// What a binary layer has counted, before its scale.
    Sums(Arc<Sums>),
}

impl From<Form> for Value {
    fn from(form: Form) -> Self {
        Self {
            form,
            float: Arc::default(),
        }
    }
}

impl From<ArrayD<f32>> for Value {
    fn from(x: ArrayD<f32>) -> Self {
        Form::Float(Arc::new(match x.is_standard_layout() {
            true => x,
            false => x.as_standard_layout().into_owned(),
        }))
        .into()
    }
}

impl Value {
    /// A tensor of -1, 0 and +1 alone. `shape` is `[N, C, (H,) W]`, or `[N, C]` where the codes' planes
    /// have one element.
    pub fn of_codes(codes: Codes, shape: Vec<usize>) -> Self {
        Form::Codes(Arc::new(codes), shape).into()
    }

    /// What a binary layer has counted.
    pub(super) fn of_sums(sums: Sums) -> Self {
        Form::Sums(Arc::new(sums)).into()
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// The tensor's shape, the batch first.
    pub fn shape(&self) -> &[usize] {
        match &self.form {
            Form::Float(x) => x.shape(),
            Form::Codes(_, shape) => shape,
            Form::Sums(sums) => &sums.shape,
        }
    }

    /// Samples of the batch.
    pub fn batch(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    /// The elements.
    pub fn float(&self) -> &ArrayD<f32> {
        match &self.form {
            Form::Float(x) => x,
            Form::Codes(codes, shape) => {
                get_or_compute(&self.float, || array(shape, codes.unpack()))
            }
            Form::Sums(sums) => {
                get_or_compute(&self.float, || array(&sums.shape, sums.to_floats()))
            }
        }
    }

    /// The codes, if the value has that form.
    pub fn codes(&self) -> Option<&Arc<Codes>> {
        match &self.form {
            Form::Codes(codes, _) => Some(codes),
            Form::Float(_) | Form::Sums(..) => None,
        }
    }

    /// The elements, taken out if nobody else holds them.
    pub(super) fn into_float(self) -> ArrayD<f32> {
        match self.form {
            Form::Float(x) => Arc::unwrap_or_clone(x),
            Form::Codes(..) | Form::Sums(..) => self.float().clone(),
        }
    }

    /// In a form that may be kept for long: sums become floats.
    pub(super) fn settled(self) -> Self {
        match self.form {
            Form::Sums(..) => self.float().clone().into(),
            Form::Float(_) | Form::Codes(..) => self,
        }
    }

    /// Gives the memory back that nobody else holds.
    pub(super) fn recycle(self) {
        match self.form {
            Form::Float(x) => Arc::into_inner(x).into_iter().for_each(recycle_array),
            Form::Codes(..) => {}
            Form::Sums(sums) => Arc::into_inner(sums)
                .into_iter()
                .for_each(|s| recycle(s.sums)),
        }
        if let Some(float) = Arc::into_inner(self.float).and_then(OnceLock::into_inner) {
            recycle_array(float);
        }
    }

    /// The samples `rows` of the batch, in that order.
    ///
    /// # Panics
    /// If a row is beyond the batch.
    pub(super) fn select(&self, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Self {
        let mut shape = self.shape().to_vec();
        if let Some(count) = shape.first_mut() {
            *count = rows.len();
        }
        if let Form::Codes(codes, _) = &self.form {
            return Self::of_codes(codes.select(rows), shape);
        }
        let data = slice(self.float());
        let size = shape.iter().skip(1).product::<usize>();
        let mut selected = Vec::with_capacity(rows.len() * size);
        for row in rows {
            selected.extend_from_slice(&data[row * size..(row + 1) * size]);
        }
        array(&shape, selected).into()
    }

    /// One batch of several, which have one shape but for the batch. `None` without any.
    pub(super) fn joined(parts: &[Self]) -> Option<Self> {
        let mut shape = parts.first()?.shape().to_vec();
        *shape.first_mut()? = parts.iter().map(Self::batch).sum();
        let codes: Option<Vec<&Codes>> = parts.iter().map(|p| Some(&**p.codes()?)).collect();
        if let Some(codes) = codes.and_then(|c| Codes::joined(&c)) {
            return Some(Self::of_codes(codes, shape));
        }
        let mut data = Vec::with_capacity(shape.iter().product());
        for part in parts {
            data.extend_from_slice(slice(part.float()));
        }
        Some(array(&shape, data).into())
    }
}
