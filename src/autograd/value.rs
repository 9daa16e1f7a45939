//! A tensor of a run, in the form in which it takes least memory.

use std::sync::{Arc, OnceLock};

use ndarray::ArrayD;

use super::cut::Held;
use super::kernels::packed::Codes;
use super::memory::{recycle, recycle_array};
use super::once::once;
use super::parallel::{Planes, array};

/// What a binary layer gives, before its scale: `scale · sum + bias`, with one of each for every
/// channel (axis 1).
#[derive(Debug)]
pub(super) struct Sums {
    /// In the layout of the tensor.
    pub sums: Vec<i16>,
    pub shape: Vec<usize>,
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Sums {
    fn float(&self) -> ArrayD<f32> {
        let planes = Planes::around(&self.shape, 1);
        let values = planes.map_from(&self.sums, |c, sums, out| {
            let (scale, bias) = (self.scale[c], self.bias[c]);
            let pairs = out.iter_mut().zip(sums);
            pairs.for_each(|(out, &n)| *out = scale * f32::from(n) + bias);
        });
        array(&self.shape, values)
    }
}

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
                once(&self.float, || array(shape, codes.unpack()))
            }
            Form::Sums(sums) => once(&self.float, || sums.float()),
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
