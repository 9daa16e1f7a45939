//! Dimensions that a file leaves free: sizes for them while a model is worked on.
//!
//! The working copy has a size in place of each free height and width; what is written of it has
//! the file's own declaration again ([`Model::save_edited`]).

mod follow;
mod input;
mod larger;

use std::collections::BTreeMap;

use thiserror::Error;

pub(crate) use self::follow::from_weights;
use self::input::{free_inputs, inputs, shape_of, shown};
pub use self::larger::{Declared, STEPS, enlarged};
use crate::onnx::Model;
use crate::onnx::proto::{ModelProto, tensor_shape_proto::dimension::Value};

/// Sizes of dimensions by their names in the model (`--dim NAME=SIZE`).
pub type Dims = BTreeMap<String, usize>;

/// What a user says of free dimensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// By the dimension's name.
    pub dims: Dims,
    /// By the input's name: its whole shape (`--input-shape NAME=1,3,224,224`).
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// Sizes that do not fit the model.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizesError {
    /// No such dimension.
    #[error("--dim {0}: no input has a free dimension of that name{1}")]
    NoDim(String, String),
    /// No such input.
    #[error("--input-shape {0}: there is no such input; the model has {1}")]
    NoInput(String, String),
    /// Another number of dimensions, or another size than the file fixes.
    #[error("--input-shape {input}={given:?}: the file declares {declared}")]
    Contradiction {
        /// The input.
        input: String,
        /// As given.
        given: Vec<usize>,
        /// As declared.
        declared: String,
    },
}

impl Sizes {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.dims.is_empty() && self.shapes.is_empty()
    }

    /// Fills in free dimensions of `model`'s inputs: those that were given, and those that follow
    /// from the weights that read them. The batch stays free unless it was given.
    ///
    /// # Errors
    /// If a name is not the model's, or a size contradicts the file.
    pub fn apply(&self, model: &mut Model) -> Result<(), SizesError> {
        let follows = from_weights(&model.proto);
        self.check(&model.proto)?;
        for (name, shape) in &self.shapes {
            model.shape_input(name, shape);
        }
        let inputs = free_inputs(&model.proto);
        for name in inputs {
            let known = |axis: usize, dim: &str| {
                let shape = self.shapes.get(&name).and_then(|s| s.get(axis)).copied();
                // A free batch of 1 is what it is anyway.
                let shape = shape.filter(|&n| axis > 0 || n > 1);
                let given = shape.or_else(|| self.dims.get(dim).copied());
                let own = follows.get(&(name.clone(), axis)).copied();
                given.or(own.filter(|_| axis > 0))
            };
            model.size_input(&name, known);
        }
        Ok(())
    }

    /// Whether these are sizes of that model.
    ///
    /// # Errors
    /// If a name is not the model's, or a size contradicts the file.
    pub fn check(&self, model: &ModelProto) -> Result<(), SizesError> {
        let inputs = || inputs(model);
        for (input, given) in &self.shapes {
            let Some(value) = inputs().find(|v| v.name() == input) else {
                let names: Vec<&str> = inputs().map(|v| v.name()).collect();
                return Err(SizesError::NoInput(input.clone(), names.join(", ")));
            };
            let Some(shape) = shape_of(value) else {
                continue;
            };
            let fits = shape.dim.len() == given.len()
                && shape.dim.iter().zip(given).all(|(d, &g)| match d.value {
                    Some(Value::DimValue(n)) if n > 0 => usize::try_from(n) == Ok(g),
                    _ => true,
                });
            if !fits {
                return Err(SizesError::Contradiction {
                    input: input.clone(),
                    given: given.clone(),
                    declared: shown(shape),
                });
            }
        }
        let names: Vec<String> = inputs()
            .filter_map(shape_of)
            .flat_map(|s| &s.dim)
            .filter_map(|d| match &d.value {
                Some(Value::DimParam(name)) if !name.is_empty() => Some(name.clone()),
                _ => None,
            })
            .collect();
        match self.dims.keys().find(|d| !names.contains(d)) {
            None => Ok(()),
            Some(dim) => {
                let hint = match names.is_empty() {
                    true => "; give --input-shape NAME=1,3,224,224".to_owned(),
                    false => format!("; it has {}", names.join(", ")),
                };
                Err(SizesError::NoDim(dim.clone(), hint))
            }
        }
    }
}
