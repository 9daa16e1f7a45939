//! A tensor of a run, in the form in which it takes least memory.

use std::sync::{Arc, OnceLock};

use bnn_kernels::binary::{Codes, Sums};
use bnn_kernels::buffers::recycle;
use bnn_kernels::elementwise::Source;
use bnn_kernels::lazy::get_or_compute;
use ndarray::ArrayD;

use super::arrays::{array, recycle_array, slice};
use super::cut::Held;

/// The form of a [`Value`].
#[derive(Debug)]
pub(super) enum Form {
    Held(Held),
    /// Of a binary layer.
    Sums(Sums),
}

/// A tensor: in one form, and as floats once somebody has asked for them.
#[derive(Debug)]
pub(super) struct Value {
    form: Form,
    float: OnceLock<ArrayD<f32>>,
}

impl From<Form> for Value {
    fn from(form: Form) -> Self {
        Self {
            form,
            float: OnceLock::new(),
        }
    }
}

impl From<Held> for Value {
    fn from(x: Held) -> Self {
        Form::Held(x).into()
    }
}

impl From<ArrayD<f32>> for Value {
    fn from(x: ArrayD<f32>) -> Self {
        Held::from(x).into()
    }
}

impl Value {
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// As chains of elementwise operators read it: sums as they are, all else as floats.
    pub fn source(&self) -> Source<'_> {
        match &self.form {
            Form::Sums(sums) => Source::Sums(sums),
            Form::Held(_) => Source::Floats(slice(self.float())),
        }
    }

    pub fn shape(&self) -> &[usize] {
        match &self.form {
            Form::Held(x) => x.shape(),
            Form::Sums(sums) => &sums.shape,
        }
    }

    /// As floats.
    pub fn float(&self) -> &ArrayD<f32> {
        match &self.form {
            Form::Held(Held::Float(x)) => x,
            Form::Held(Held::Codes(codes, shape)) => {
                get_or_compute(&self.float, || array(shape, codes.unpack()))
            }
            Form::Sums(sums) => {
                get_or_compute(&self.float, || array(&sums.shape, sums.to_floats()))
            }
        }
    }

    /// As others may hold it too.
    pub fn hold(&self) -> Held {
        match &self.form {
            Form::Held(x) => x.clone(),
            Form::Sums(_) => self.float().clone().into(),
        }
    }

    /// The codes, if the value has that form.
    pub fn codes(&self) -> Option<&Arc<Codes>> {
        match &self.form {
            Form::Held(Held::Codes(codes, _)) => Some(codes),
            _ => None,
        }
    }

    /// Gives the memory back that nobody else holds.
    pub fn recycle(self) {
        match self.form {
            Form::Held(x) => x.recycle(),
            Form::Sums(sums) => recycle(sums.sums),
        }
        if let Some(x) = self.float.into_inner() {
            recycle_array(x);
        }
    }
}
